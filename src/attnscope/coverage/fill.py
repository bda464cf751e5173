"""What a configuration leaves open, or takes from a checkpoint: numbers with which a small model can be built all the same."""

from collections.abc import Callable, Mapping
from typing import Any

# A value for a name whose default is None, or does not fit a small model.
_OPEN: dict[str, Any] = {
    "prediction_length": 4, "default_language": "en_XX", "attn_layer_period": 2, "attn_layer_offset": 1,
    "expert_layer_period": 2, "expert_layer_offset": 1, "token_budget": 8, "compress_ratio": 2, "hidden_size_per_layer_input": 0,
    "attn_layer_indices": [0], "image_token_index": 197, "image_token_id": 197, "video_token_index": 196,
    "vocabulary_map": {"<image>": 199, "<|extra_200|>": 198},
}  # fmt: skip
_COUNTS = ("num_hidden_layers", "n_layer", "num_layers", "n_layers")


def fill(given: Mapping[str, Any], made: dict[str, Any], number: Callable[[str], int | None], window: int) -> None:
    """Complete `made`, the small form of `given`. `number`: the small number for a name; `window`: of windows in pixels."""
    for name, value in given.items():
        if name in _OPEN and not isinstance(value, str) and (value is None or "_token_" not in name):
            made[name] = _OPEN[name]
        elif value is None and (found := number(name)) is not None and "token" not in name:
            made[name] = found
    layers = next((made[name] for name in _COUNTS if isinstance(made.get(name), int)), 0)
    kinds = {"layer_types": "full_attention", "mlp_layer_types": "dense"}
    made |= {name: [kind] * layers for name, kind in kinds.items() if name in given and given[name] is None}
    if "spatial_merge_size" in given and "window_size" in given:
        made["window_size"] = window
    _stages(given, made)


def _stages(given: Mapping[str, Any], made: dict[str, Any]) -> None:
    """A backbone gives as many stages as what stands on it takes."""
    if "depths" in given and given.get("out_features"):
        made |= {name: given[name] for name in ("out_features", "out_indices") if given.get(name)}
    lists = [
        value
        for name, value in given.items()
        if name in ("hidden_sizes", "depths") and isinstance(value, (list, tuple))
    ]
    if lists and isinstance(given.get("num_hidden_layers"), int) and given["num_hidden_layers"] == len(lists[0]):
        made["num_hidden_layers"] = len(lists[0])
    neck, backbone = made.get("neck_hidden_sizes"), made.get("backbone_config")
    if isinstance(neck, (list, tuple)) and isinstance(backbone, dict) and "num_hidden_layers" in backbone:
        count = len(neck)
        backbone |= {"num_hidden_layers": count, "out_indices": [*range(1, count + 1)]}
