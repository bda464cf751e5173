"""Models with several towers: each is a stack with tokens of its own, and every stack opens."""

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor, nn

import attnscope
import tiny_models as tiny
import tiny_tokenizers
from attnscope.errors import InputError

_TEXT = {
    "vocab_size": 97,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 37,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
_IMAGE = {
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 41,
    "image_size": 32,
    "patch_size": 8,
}
_MROPE = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [1, 1, 2]}


def pixels(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(5))


def ids(*parts: int) -> Tensor:
    return torch.tensor([parts])


def clip() -> tuple[nn.Module, dict[str, Any]]:
    config = transformers.CLIPConfig(text_config={**_TEXT, "max_position_embeddings": 23}, vision_config=_IMAGE)
    return transformers.CLIPModel(config), {"input_ids": ids(1, 5, 6, 7, 2), "pixel_values": pixels(1, 3, 32, 32)}


def llava(images: int = 1) -> tuple[nn.Module, dict[str, Any]]:
    config = transformers.LlavaConfig(
        vision_config=transformers.CLIPVisionConfig(**_IMAGE),
        text_config=transformers.LlamaConfig(**_TEXT),
        image_token_id=96,
        vision_feature_layer=-1,
        vision_feature_select_strategy="default",
    )
    read = ids(1, 5, *([*[96] * 16, 6] * images), 7)
    return transformers.LlavaForConditionalGeneration(config), {
        "input_ids": read,
        "pixel_values": pixels(images, 3, 32, 32),
    }


def qwen2_vl() -> tuple[nn.Module, dict[str, Any]]:
    vision = {"depth": 2, "embed_dim": 32, "num_heads": 4, "hidden_size": 32, "patch_size": 4, "mlp_ratio": 2}
    config = transformers.Qwen2VLConfig(
        text_config={**_TEXT, "num_key_value_heads": 2, "rope_parameters": _MROPE},
        vision_config=vision,
        image_token_id=96,
        vision_start_token_id=94,
        vision_end_token_id=93,
    )
    read = ids(1, 94, *[96] * 4, 93, 94, *[96] * 6, 93, 7)
    inputs = {"input_ids": read, "pixel_values": pixels(40, 96), "mm_token_type_ids": (read == 96).long()}
    return transformers.Qwen2VLForConditionalGeneration(config), {
        **inputs,
        "image_grid_thw": torch.tensor([[1, 4, 4], [1, 4, 6]]),
    }


def blip2() -> tuple[nn.Module, dict[str, Any]]:
    qformer = {**_TEXT, "encoder_hidden_size": 32, "cross_attention_frequency": 1}
    words = transformers.OPTConfig(**{**_TEXT, "word_embed_proj_dim": 32, "ffn_dim": 37, "max_position_embeddings": 61})
    config = transformers.Blip2Config(
        vision_config=_IMAGE, qformer_config=qformer, text_config=words, num_query_tokens=3, image_token_id=96
    )
    read = {"input_ids": ids(96, 96, 96, 1, 5, 6, 7), "pixel_values": pixels(1, 3, 32, 32)}
    return transformers.Blip2ForConditionalGeneration(config), read


def sam() -> tuple[nn.Module, dict[str, Any]]:
    image = {"image_size": 64, "patch_size": 8}
    config = transformers.SamConfig(
        vision_config={
            **image,
            "hidden_size": 32,
            "output_channels": 16,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "window_size": 3,
            "global_attn_indexes": [1],
            "mlp_dim": 37,
            "num_pos_feats": 8,
        },
        prompt_encoder_config={**image, "hidden_size": 16, "mask_input_channels": 4},
        mask_decoder_config={
            "hidden_size": 16,
            "mlp_dim": 19,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "iou_head_hidden_dim": 16,
        },
    )
    points = torch.tensor([[[[7.0, 11.0], [23.0, 29.0]]]])
    return transformers.SamModel(config), {"pixel_values": pixels(1, 3, 64, 64), "input_points": points}


def deepseek_v4() -> tuple[nn.Module, dict[str, Any]]:
    config = transformers.DeepseekV4Config(
        **_TEXT,
        num_key_value_heads=1,
        head_dim=16,
        moe_intermediate_size=16,
        n_routed_experts=4,
        num_experts_per_tok=2,
        q_lora_rank=16,
        o_groups=2,
        o_lora_rank=8,
        max_position_embeddings=64,
        index_n_heads=2,
        index_head_dim=8,
        index_topk=4,
        layer_types=["sliding_attention", "compressed_sparse_attention"],
    )
    config._experts_implementation = "eager"
    return transformers.DeepseekV4ForCausalLM(config), {"input_ids": ids(1, 5, 6, 7, 8, 9, 10)}


def pix2struct() -> tuple[nn.Module, dict[str, Any]]:
    config = transformers.Pix2StructConfig(
        text_config={"vocab_size": 97, "hidden_size": 32, "d_kv": 8, "d_ff": 37, "num_layers": 2, "num_heads": 4},
        vision_config={
            "hidden_size": 32,
            "patch_embed_hidden_size": 12,
            "d_ff": 37,
            "d_kv": 8,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "seq_len": 9,
        },
    )
    places = torch.arange(1, 10)[:, None] % torch.tensor([[3, 5]]) + 1.0
    read = torch.cat([places[None], pixels(1, 9, 12)], -1)
    return transformers.Pix2StructForConditionalGeneration(config), {
        "flattened_patches": read,
        "decoder_input_ids": ids(0, 5, 6, 7),
    }


class Siamese(nn.Module):
    """One encoder that reads two texts."""

    def __init__(self) -> None:
        super().__init__()
        self.bert = transformers.BertModel(transformers.BertConfig(**_TEXT))

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return self.bert(input_ids=a).pooler_output - self.bert(input_ids=b).pooler_output


def siamese() -> tuple[nn.Module, dict[str, Any]]:
    return Siamese(), {"a": ids(1, 5, 6, 7, 2), "b": ids(1, 5, 6, 7, 8, 9, 10, 2)}


def timesformer() -> tuple[nn.Module, dict[str, Any]]:
    config = transformers.TimesformerConfig(**{**_IMAGE, "image_size": 16, "num_hidden_layers": 2}, num_frames=3)
    return transformers.TimesformerModel(config), {"pixel_values": pixels(1, 3, 3, 16, 16)}


KINDS = {
    clip: {"vision": 3, "text": 2},
    llava: {"vision": 3, "language_model": 2},
    qwen2_vl: {"vision call 1": 2, "vision call 2": 2, "language_model": 2},
    blip2: {"vision": 3, "qformer": 2, "cross": 2, "language_model": 2},
    sam: {
        "vision": 2,
        "decoder": 2,
        "cross token_to_image": 2,
        "cross image_to_token": 2,
        "cross final_attn_token_to_image": 1,
    },
    deepseek_v4: {None: 2},
    pix2struct: {"encoder": 2, "decoder": 2, "cross": 2},
    siamese: {"call 1": 2, "call 2": 2},
    timesformer: {"temporal_attention": 2, "attention": 2},
}


def captured(build: Any) -> attnscope.Trace:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model, inputs = build()
        tiny.spread(model)
    with torch.no_grad(), attnscope.capture(model.eval()) as recorder:
        model(**inputs)
    return recorder.trace()


@pytest.mark.parametrize("build", KINDS, ids=lambda build: build.__name__)
def test_every_stack_opens(build: Any, tmp_path: Path) -> None:
    trace = captured(build)
    assert trace.stacks == KINDS[build]
    assert all(site.status in ("exact", "weights_only") for site in trace.verify().sites)
    for site in trace.sites:
        queries, keys = trace.query_tokens(site), trace.key_tokens(site)
        assert (len(queries), len(keys)) == (
            site.query_offset + site.queries if site.kind == "cross" else site.keys,
            site.keys,
        )
        assert site.kind == ("cross" if (site.stack or "").startswith("cross") else "self")
    for number, stack in enumerate(trace.stacks):
        level = ("head", "matrix", "model")[number % 3]
        assert "attnscope" in trace.show(level, stack=stack, static=True).html
        if number < 2:
            trace.show(level, stack=stack).save(tmp_path / "figure.svg")
        assert str(trace.show(level, stack=stack))
    trace.save(tmp_path / "t.safetensors")
    again = attnscope.load_trace(tmp_path / "t.safetensors")
    for one, other in zip(trace.sites, again.sites, strict=True):
        assert list(again.query_tokens(other)) == list(trace.query_tokens(one))
        assert list(again.key_tokens(other)) == list(trace.key_tokens(one))
        assert other.query_offset == one.query_offset
    assert attnscope.compare(trace, again).show(static=True).html
    assert len(attnscope.compare(trace, again).site_pairs) == len(trace.sites)


def test_names_stay_with_the_text() -> None:
    """Equal counts prove nothing: 17 patches are not 17 words."""
    config = transformers.CLIPConfig(text_config={**_TEXT, "max_position_embeddings": 23}, vision_config=_IMAGE)
    model = transformers.CLIPModel(config).eval()
    with torch.no_grad(), attnscope.capture(model) as recorder:
        model(input_ids=torch.arange(3, 20)[None], pixel_values=pixels(1, 3, 32, 32))
    trace = recorder.trace(tokens=[f"word{i}" for i in range(17)])
    vision, text = trace.site(0, "vision"), trace.site(0, "text")
    assert vision.keys == text.keys == 17
    assert trace.key_tokens(text)[3] == "word3"
    assert list(trace.key_tokens(vision)[:3]) == ["[CLS]", "patch 0,0", "patch 0,1"]
    with pytest.raises(InputError, match="16 tokens were given"):
        recorder.trace(tokens=[f"word{i}" for i in range(16)])


def test_what_cross_attention_reads() -> None:
    trace = captured(blip2)
    cross = trace.site(1, "cross")
    assert (cross.queries, cross.keys) == (3, 17)
    assert trace.key_tokens(cross) is trace.key_tokens(trace.site(0, "vision"))
    assert trace.query_tokens(cross) is trace.query_tokens(trace.site(0, "qformer"))
    back = captured(sam).site(0, "cross image_to_token")
    assert captured(sam).query_tokens(back)[9] == "patch 1,1"


def test_keys_behind_the_tokens_are_no_earlier_tokens() -> None:
    """DeepSeek-V4 adds an entry that sums up four tokens: query i is still token i."""
    trace = captured(deepseek_v4)
    site = trace.site(1)
    assert (site.queries, site.keys, site.query_offset) == (7, 8, 0)
    assert len(trace.tokens) == 7
    assert trace.key_tokens(site)[7] == "key 7"
    assert not site.weights()[:, 0, 1:].any(), "the first token sees itself alone"


def test_windows_are_laid_out() -> None:
    """Swin puts windows in the batch. Each is compared with the model's own weights."""
    config = transformers.SwinConfig(
        image_size=32, patch_size=4, embed_dim=14, depths=[2, 1], num_heads=[2, 7], window_size=4
    )
    config._attn_implementation = "eager"
    model = transformers.SwinModel(config).eval()
    tiny.spread(model)
    image = pixels(2, 3, 32, 32)
    with torch.no_grad(), attnscope.capture(model) as recorder:
        model(pixel_values=image)
        trace = recorder.trace(index=1)
        theirs = model(pixel_values=image, output_attentions=True).attentions[
            0
        ]  # of a stage's last block, whose windows are shifted: [2 images × 4 windows, 2, 16, 16]
    assert trace.verify().passed
    assert [site.queries for site in trace.sites] == [64, 64, 16]
    mine = trace.site(1).weights()
    for window in range(4):
        own = slice(16 * window, 16 * window + 16)
        assert torch.allclose(mine[:, own, own], theirs[4 + window], atol=1e-6)
        assert torch.allclose(mine[:, own].sum(-1), mine[:, own, own].sum(-1))
    assert trace.key_tokens(trace.site(0))[17] == "patch 0,5", "the second of the second window of 4 × 4 patches"
    assert any("windows" in note for note in trace.notes)
    with pytest.raises(InputError, match="the batch of that pass has 2 rows"):
        recorder.trace(index=2)


def test_of_too_many_windows_as_many_are_shown_as_fit_from_any_one_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("attnscope.capturing.parts._MOST", 64 * 16)  # and not 8,192, so that the image may be small
    config = transformers.SwinConfig(
        image_size=144, patch_size=4, embed_dim=14, depths=[1, 1], num_heads=[2, 7], window_size=4
    )
    config._attn_implementation = "eager"
    model = transformers.SwinModel(config).eval()
    tiny.spread(model)
    image = pixels(1, 3, 144, 144)
    with torch.no_grad(), attnscope.capture(model) as recorder:
        theirs = model(pixel_values=image, output_attentions=True).attentions[0]  # [81 windows, 2, 16, 16]
    first, late = recorder.trace(), recorder.trace(part=70)
    for trace, start, corner in ((first, 0, "patch 0,0"), (late, 17, "patch 4,32")):
        site = trace.site(0)
        assert site.queries == 64 * 16
        assert trace.key_tokens(site)[0] == corner
        assert torch.allclose(site.weights()[:, 16:32, 16:32], theirs[start + 1], atol=1e-6)
        assert trace.verify().passed
        (note,) = (note for note in trace.notes if "too many to lay out" in note)
        assert f"There are 81, too many to lay out: parts {start} to {start + 63} of 0 to 80 are shown" in note
    inputs = {"pixel_values": image}
    assert attnscope.trace(model, None, inputs=inputs, part=70).site(0).v.equal(late.site(0).v)
    for wrong, message in (
        (81, "part is 81; the parts are numbered from 0 to 80"),
        (-1, "expected part"),
    ):
        with pytest.raises(InputError, match=message):
            recorder.trace(part=wrong)


def test_chunks_of_a_text_are_laid_out() -> None:
    """Canine calls its first layer once for each chunk. Each is compared with the model's own weights."""
    config = transformers.CanineConfig(
        hidden_size=24, num_hidden_layers=1, num_attention_heads=3, intermediate_size=13, max_position_embeddings=90,
        num_hash_buckets=90, downsampling_rate=4, local_transformer_stride=16,
    )  # fmt: skip
    model = transformers.CanineModel(config).eval()
    tiny.spread(model)
    ids = torch.randint(5, 90, (2, 37), generator=torch.Generator().manual_seed(4))
    seen = torch.ones_like(ids)
    seen[1, 34:] = 0
    theirs: list[torch.Tensor] = []
    own = model.initial_char_encoder.layer[0].attention.self
    handle = own.register_forward_hook(lambda _, args, kwargs, out: theirs.append(out[1][1]), with_kwargs=True)
    with torch.no_grad():
        model(ids, attention_mask=seen, output_attentions=True)
        handle.remove()
        with attnscope.capture(model) as recorder:
            model(ids, attention_mask=seen)
    trace = recorder.trace(input_ids=ids, index=1)
    assert [site.name for site in trace.sites][:2] == ["initial_char_encoder layer 0", "encoder layer 0"]
    assert trace.verify().passed
    site = trace.sites[0]
    assert torch.allclose(
        site.weights(), torch.stack([torch.block_diag(*heads) for heads in zip(*theirs, strict=True)]), atol=1e-6
    )
    assert trace.key_tokens(site) is trace.tokens
    assert any("once for each chunk of the text" in note for note in trace.notes)
    seen[1, 32:] = 0  # the queries of the last chunk see nothing, and spread over it: it can be shown alone only
    with torch.no_grad(), attnscope.capture(model) as recorder:
        model(ids, attention_mask=seen)
    trace = recorder.trace(input_ids=ids, index=1)
    assert trace.sites[2].name == "initial_char_encoder call 3 layer 0"
    assert trace.verify().passed


@pytest.mark.parametrize("kind", ["longformer", "led"])
def test_what_a_model_puts_behind_a_text_to_fill_a_window_is_padding(kind: str) -> None:
    width = {"attention_window": 4, "vocab_size": 97}
    if kind == "longformer":
        longformer = {"hidden_size": 15, "num_attention_heads": 3, "num_hidden_layers": 1, "intermediate_size": 7}
        model: Any = transformers.LongformerModel(transformers.LongformerConfig(**longformer, **width))
    else:
        heads = {f"{part}_attention_heads": 3 for part in ("encoder", "decoder")}
        layers = {f"{part}_layers": 1 for part in ("encoder", "decoder")}
        led = {"d_model": 15, "encoder_ffn_dim": 7, "decoder_ffn_dim": 7, **heads, **layers}
        model = transformers.LEDModel(transformers.LEDConfig(**led, **width))
    trace = attnscope.trace(model.eval(), tiny_tokenizers.begins(), "the cat sat on the mat")
    assert trace.tokens.shown == ("<s>", "the", "cat", "sat", "on", "the", "mat", "[PAD]")
    assert (trace.tokens.words[-2:], trace.tokens.special[-2:]) == ((5, None), (False, True))
    assert trace.verify().passed
    assert trace.sites[0].keys == 8
    assert not trace.sites[0].weights()[..., 7].any()
    if kind == "led":
        assert trace.key_tokens(trace.site(0, "cross")).shown == trace.tokens.shown[:7]
    view = trace.show()
    assert view.state.query < 7


def test_images_of_one_text() -> None:
    trace = captured(lambda: llava(images=2))
    assert [trace.site(0, stack).keys for stack in ("vision", "language_model")] == [34, 37]
    assert trace.key_tokens(trace.site(0, "vision"))[17] == "image 1 [CLS]"


# --- names belong to the pass -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["mistral", "gemma2"])
def test_a_generation_beyond_the_window(name: str) -> None:
    """Every layer has dropped the beginning; the names of the whole output still stand at their tokens."""
    layers = {"layer_types": ["sliding_attention"] * 2} if name == "gemma2" else {}
    model = tiny.fresh_model(name, "eager", **{"sliding_window": 4, "eos_token_id": None, **layers})
    prompt = torch.arange(10, 20)[None]
    with torch.no_grad(), attnscope.capture(model) as recorder:
        out = model.generate(prompt, max_new_tokens=6, do_sample=False)
        names = [f"{i}:{n}" for i, n in enumerate(out[0].tolist())]
        whole = model(out[:, :-1], output_attentions=True).attentions
    assert recorder.passes == 7
    with torch.no_grad(), attnscope.capture(model) as recorder:
        model.generate(prompt, max_new_tokens=6, do_sample=False)
    for trace in (recorder.trace(tokens=names), recorder.trace(input_ids=out)):
        assert len(trace.tokens) == 15
        for site, theirs in zip(trace.sites, whole, strict=True):
            assert site.query_offset == 14
            assert torch.allclose(site.weights()[:, 0], theirs[0, :, -1], atol=1e-5)


class Sentences(nn.Module):
    """As the modules of sentence-transformers are called: with one mapping, and a model inside."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.auto_model = model

    def forward(self, features: dict[str, Tensor]) -> Tensor:
        return self.auto_model(**features).last_hidden_state.mean(1)


@pytest.mark.parametrize("inside", [False, True], ids=["model", "inside another"])
def test_rows_in_another_order(inside: bool) -> None:
    model: Any = tiny.model("bert")
    run = Sentences(model) if inside else model
    short, long = [2, 5, 3], [2, 7, 11, 13, 3]
    given = torch.tensor([short + [tiny.PAD] * 2, long])
    ran = given.flip(0)
    read = {"input_ids": ran, "attention_mask": ran.ne(tiny.PAD).long()}
    with torch.no_grad(), attnscope.capture(run) as recorder:
        run(read) if inside else run(**read)
    trace = recorder.trace(input_ids=given, index=0)
    assert list(trace.tokens.ids) == given[0].tolist()
    assert not trace.site(0).weights()[..., 3:].any(), "padding"
    assert any("row 1" in note for note in trace.notes)
    padded = torch.tensor([[tiny.PAD, *short], [2, 17, 3, tiny.PAD]])
    assert list(recorder.trace(input_ids=padded, index=0).tokens.ids) == given[0].tolist(), "padded in another batch"
    with pytest.raises(InputError, match="not those that this pass read: at position 1 row 1 read id 5"):
        recorder.trace(input_ids=padded, index=1)


def test_a_tokenizer_alone_names_what_was_read() -> None:
    model, tokenizer = tiny.fresh_model("bert"), tiny.tokenizer()
    model.resize_token_embeddings(len(tokenizer))
    read = tokenizer("the cat sat", return_tensors="pt")
    with torch.no_grad(), attnscope.capture(model) as recorder:
        model(**read)
    assert list(recorder.trace(tokenizer=tokenizer).tokens.ids) == read["input_ids"][0].tolist()
