"""A configuration of transformers made small: the sizes that its class names, by what their names say.

No list of architectures: a rule is a kind of name ("…_heads", "hidden_size") and the small number for it.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from attnscope.coverage.fill import fill


@dataclass(frozen=True)
class Sizes:
    """The small numbers: `width` of a vector, `heads`, key/value heads (`groups`), and so on. `fill`: give a number to what the class
    leaves open, keep the stages of a backbone, and see that some layer attends. `wide`: only counts get small (of layers, words, positions,
    experts), as widths that hang together in a way of their own stay together; `whole`: nothing does."""

    width: int = 32
    heads: int = 4
    groups: int = 2
    inner: int = 48
    layers: int = 2
    vocabulary: int = 256
    positions: int = 128
    image: int = 32
    patch: int = 8
    sections: bool = False
    fill: bool = False
    wide: bool = False
    whole: bool = False

    @property
    def head(self) -> int:
        return self.width // self.heads


_COUNTED = ("layers", "vocabulary", "positions", "four")  # of the sizes, what is no width
_COUNTS = ("num_hidden_layers", "n_layer", "num_layers", "n_layers")
# In the order in which they are asked; the first that fits the whole name decides.
_RULES: tuple[tuple[str, str], ...] = (
    (r"qk_head_dim|mamba_d_head", "two_heads"),
    (
        r"(num_)?(key_value|kv)_heads|num_key_value_heads|n_kv_heads?|.*num_key_value_heads|num_global_key_value_heads",
        "groups",
    ),
    (
        r".*((attention|attn|mamba_n|mamba_num|linear_num_(key|value))_heads|num_heads|n_heads?|heads|n_head)|nhead|n_head",
        "heads",
    ),
    (
        r"(.*_)?(head_dim|head_size|d_kv|kv_channels|attention_head_dim|dim_head|d_head|qk_nope_head_dim|qk_rope_head_dim|v_head_dim)",
        "head",
    ),
    (r"mamba_d_ssm", "double"),
    (r"upsample_groups", "width"),
    (r"num_groups", "one"),
    (r"(q|kv|qk|o)_lora_rank|.*lora_rank|.*lora_dim", "half"),
    (r"rotary_dim", "head"),
    (r"mamba_n_heads|mamba_num_heads", "eight"),
    (r"image_embedding_size", "grid"),
    (r"block_size|num_global_tokens", "patch"),
    (r"coordinate_size", "six"),
    (r"shape_size", "four"),
    (r"moe_k|window_size", "two"),
    (r"num_pos_feats", "half"),
    (r"mask_decoder_hidden_size|prompt_hidden_size", "width"),
    (
        r"(num_|n_)?.*(hidden_layers|encoder_layers|decoder_layers|_layers|n_layers?)|n_layer|depth|num_layers|layers|num_blocks|num_stages_x",
        "layers",
    ),
    (
        r".*(intermediate|ffn|feed_?forward|d_ff|ff_dim|ffn_dim|mlp_dim|n_inner|inner_dim|ffn_hidden|moe_intermediate).*(size|dim)?",
        "inner",
    ),
    (
        r"(.*_)?(hidden_size|d_model|n_embd|dim|hidden_dim|embed_dim|embedding_size|embedding_dim|embed_size|hidden_channels|output_channels|projection_size|.*bottleneck_size|projection_dim|output_dim|proj_dim|emb_dim|width|d_embed|latent_dim|d_latents|n_embed|model_dim|channels_x|vision_output_dim|output_hidden_size|out_hidden_size|projector_hidden_size|.*_hidden_size|.*hidden_dim|.*embed_dim|conv_dim_x|dims)",
        "width",
    ),
    (r".*vocab(ulary)?_size.*|.*hash.*vocab", "vocabulary"),
    (
        r"(num_|n_|moe_num_|num_local_|.*routed_|.*shared_)?experts|n_routed_experts|num_local_experts|.*num_experts",
        "four",
    ),
    (r".*(experts_per_tok(en)?|top_?k|experts_top_k|num_selected_experts)", "two"),
    (r"n_groups?|topk_group|num_expert_groups?", "one"),
    (
        r"(max|n)_(position.*|positions|seq.*|source_positions|target_positions|sequence_length|ctx|context)|n_positions|n_ctx|max_seq_len(gth)?|seq_length|max_length",
        "positions",
    ),
    (r"(.*_)?image_size|img_size|input_size|image_resolution|crop_size|size_x", "image"),
    (r"(.*_)?patch_size", "patch"),
    (r"(.*_)?(num_queries|num_latents|num_query_tokens|query_length|n_queries)", "seven"),
)
_LISTS: tuple[tuple[str, str], ...] = (
    (
        r"depths|.*_depths|num_blocks|layers_per_.*|num_conv_layers|blocks|encoder_depths|stage_.*blocks|num_layers_per.*",
        "one",
    ),
    (r".*heads", "heads"),
    (
        r".*(hidden_sizes|embed_dims|dims|hidden_channels|embed_dim|encoder_hidden|decoder_hidden|feature_channels|widths|neck_hidden_sizes|intermediate_channel_sizes)",
        "width",
    ),
    (r".*image_size|img_size|input_size", "image"),
    (r"embed_dim_per_stage|backbone_channel_list", "width"),
    (r"axial_pos_embds_dim", "half"),
)


def shrink(config_class: Any, sizes: Sizes = Sizes()) -> Any:
    """A small configuration of this class. Raises whatever the class does where the small numbers do not fit together."""
    if sizes.whole:
        return config_class()
    plain = config_class().to_dict()
    small = _small(plain, sizes, {})
    if sizes.fill:
        fill(plain, small, lambda name: _named(name, _RULES, sizes), 4 * sizes.patch)
    for name in (
        "transformers_version",
        "model_type",
        "architectures",
        "_name_or_path",
        "dtype",
        "torch_dtype",
        "id2label",
        "label2id",
    ):
        small.pop(name, None)
    return config_class(**small)


def _small(given: Mapping[str, Any], sizes: Sizes, ids: dict[int, int]) -> dict[str, Any]:
    made = {name: _value(name, value, sizes, ids) for name, value in given.items()}
    _kinds_of_layers(given, made)
    for name in ("stage_names", "out_features", "out_indices", "_out_features", "_out_indices", "per_layer_config"):
        made.pop(name, None)  # of layers that are gone
    if made.get("rope_theta", 0) is None:
        made["rope_theta"] = 1e4
    if sizes.sections and isinstance(rope := made.get("rope_parameters"), dict) and "rope_theta" in rope:
        rope["mrope_section"] = _sections(sizes)
    if "vocab_size" in made and made["vocab_size"] is None:
        made |= {"vocab_size": sizes.vocabulary, "pad_token_id": 1, "mask_token_id": 2}
    for name, size in (("num_key_value_heads", sizes.groups), ("head_dim", sizes.head)):
        if name in made and made[name] is None:
            made[name] = size
    if (
        isinstance(made.get("expand"), int) and {"hidden_size", "num_heads", "head_dim"} <= made.keys()
    ):  # of a recurrence's state
        made["num_heads"] = made["expand"] * made["hidden_size"] // made["head_dim"]
    _backbone(made)
    return made


def _value(name: str, value: Any, sizes: Sizes, ids: dict[int, int]) -> Any:
    if isinstance(value, Mapping):
        named = all(isinstance(one, str) for one in value)  # not the names of classes by number
        if not named:
            return value
        small = _small(value, sizes, ids)
        if sizes.fill:
            fill(value, small, lambda name: _named(name, _RULES, sizes), 4 * sizes.patch)
        return small
    if isinstance(value, (list, tuple)) and value and all(isinstance(one, Mapping) for one in value):
        return [_small(one, sizes, ids) for one in value]
    if re.search(r"token_(id|ids|index)$|_(bos|eos|pad)_id$", name):
        one = lambda x: _token(x, sizes, ids) if isinstance(x, int) else x  # noqa: E731
        return [one(x) for x in value] if isinstance(value, (list, tuple)) else one(value)
    if name == "mrope_section":
        return _sections(sizes)
    if re.search(r"(feature|select)_layers?$", name):  # of layers that are gone: the last
        return [-1 for _ in value] if isinstance(value, (list, tuple)) else value if value is None else -1
    if (
        re.search(r"feat_extract|conv", name)
        or isinstance(value, bool)
        or value is None
        or isinstance(value, (str, float))
    ):
        return value
    if isinstance(value, int):
        found = _named(name, _RULES, sizes)
        return (
            value if found is None or value <= 0 else found if value > 1 and found == sizes.heads else min(value, found)
        )
    if (
        isinstance(value, (list, tuple))
        and value
        and all(isinstance(one, int) and not isinstance(one, bool) for one in value)
    ):
        found = _named(name, _LISTS, sizes)
        return (
            value
            if found is None
            else [found if found == sizes.heads else min(one, found) if one > 0 else one for one in value]
        )
    return value


def _sections(sizes: Sizes) -> list[int]:
    """Time, height and width of a rotary embedding in three parts: half a head in all."""
    part = sizes.head // 8
    return [sizes.head // 2 - 2 * part, part, part]


def _backbone(made: dict[str, Any]) -> None:
    """A small ResNet in place of one that another package holds (timm)."""
    inner = made.get("backbone_config")
    elsewhere = isinstance(inner, Mapping) and str(inner.get("model_type", "")).startswith("timm")
    if made.get("use_timm_backbone") or elsewhere:
        stages = {"depths": [1, 1, 1, 1], "hidden_sizes": [8, 8, 16, 16], "embedding_size": 8}
        made |= {"backbone_config": {"model_type": "resnet", **stages, "out_features": ["stage2", "stage3", "stage4"]}}
        made |= {
            n: v
            for n, v in {"use_timm_backbone": False, "backbone": None, "use_pretrained_backbone": False}.items()
            if n in made
        }


def _named(name: str, rules: tuple[tuple[str, str], ...], sizes: Sizes) -> int | None:
    for pattern, size in rules:
        if re.fullmatch(pattern, name):
            if sizes.wide and size not in _COUNTED:
                return None
            fixed = {"half": sizes.width // 2, "one": 1, "two": 2, "four": 4, "six": 6, "seven": 7, "eight": 8}
            fixed |= {"double": 2 * sizes.width}
            fixed |= {"two_heads": 2 * sizes.head, "grid": sizes.image // sizes.patch}
            return fixed[size] if size in fixed else getattr(sizes, size)
    return None


def _token(value: int, sizes: Sizes, ids: dict[int, int]) -> int:
    """An id that is in the small vocabulary: the last ones stand for those that are not."""
    if value < sizes.vocabulary - 40:
        return value
    return ids.setdefault(value, sizes.vocabulary - 1 - len(ids))


def _per_layer(value: Any) -> bool:
    """Whether this is a list with an entry for every layer: words, yes and no, or 0 and 1; numbers may be sizes of stages."""
    return isinstance(value, (list, tuple)) and all(
        one is None or isinstance(one, (str, bool)) or one in (0, 1) for one in value
    )


def _long(value: Any, count: int) -> bool:
    """A list of numbers with an entry for each of many layers, which no list of stages is as long as."""
    return isinstance(value, (list, tuple)) and len(value) == count > 8 and not _per_layer(value)


def _kinds_of_layers(given: Mapping[str, Any], made: dict[str, Any]) -> None:
    """Lists with an entry for every layer keep one of each kind, and as many layers as that."""
    count = next(
        (given[n] for n in _COUNTS if isinstance(given.get(n), int)),
        0,
    )
    lists = {n: v for n, v in given.items() if _per_layer(v) and count > 1 and len(v) == count and "window" not in n}
    for name, value in given.items():
        if _long(value, count) and not lists:
            made[name] = made[name][: next(made[n] for n in _COUNTS if isinstance(made.get(n), int))]
    if not lists:
        return
    rows = list(zip(*lists.values(), strict=True))
    first = [i for i, row in enumerate(rows) if row not in rows[:i]][:6]
    if len(first) == 1:
        first = [0, 1]
    for name, value in given.items():
        if name in lists:
            made[name] = [value[i] for i in first]
        elif _long(value, count):
            made[name] = [made[name][i] for i in first]
    for name in _COUNTS:
        if isinstance(given.get(name), int):
            made[name] = len(first)
