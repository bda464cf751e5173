"""Names for what a model reads that is no text: patches of an image by row and column, of a video by frame too."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from attnscope.tracing.grids import grid_from, height_and_width, patch_places
from attnscope.tracing.tokens import Tokens

# Parameters that stand before the patches, in this order, by the last part of their name: how one of them is written.
_BEFORE = {
    "cls_token": "[CLS]",
    "class_embedding": "[CLS]",
    "class_token": "[CLS]",
    "distillation_token": "[DIST]",
    "register_tokens": "[REG]",
}


def patch_names(model: Any, ready: Mapping[str, Any]) -> Tokens:
    """Names for the positions of a model that reads no ids; none where nothing tells them."""
    pixels = ready.get("pixel_values")
    if not isinstance(pixels, Tensor):
        vectors = ready.get("inputs_embeds")
        return Tokens(tuple(map(str, range(vectors.shape[1])))) if isinstance(vectors, Tensor) else Tokens(())
    size = patch_size(model)
    if size is None or pixels.ndim not in (4, 5):
        return Tokens(())
    rows, columns = pixels.shape[-2] // size[0], pixels.shape[-1] // size[1]
    places = patch_places(rows, columns)
    before = _before(model)
    names, frames = places, 1
    if pixels.ndim == 5:  # [1, frames, channels, rows, columns]
        frames = pixels.shape[1] // frames_each(model)
        names = [f"frame {frame} {place}" for frame in range(frames) for place in places]
    special = (True,) * len(before) + (False,) * len(names)
    grids = [grid_from(len(before) + i * len(places), rows, columns) for i in range(frames)] if places else ()
    return Tokens((*before, *names), special=special, grids=tuple(grids))


def patch_size(model: Any) -> tuple[int, int] | None:
    """Height and width of a patch in pixels, as the model's configuration has them."""
    return height_and_width(getattr(_vision(model), "patch_size", None))


def frames_each(model: Any) -> int:
    """How many frames of a video become one token."""
    deep = getattr(_vision(model), "tubelet_size", 1)
    deep = deep[0] if isinstance(deep, (list, tuple)) else deep
    return deep if isinstance(deep, int) and deep > 0 else 1


def _vision(model: Any) -> Any:
    config = getattr(model, "config", None)
    return getattr(config, "vision_config", config)


def _before(model: Any) -> list[str]:
    found: dict[str, int] = {}
    for name, parameter in model.named_parameters() if isinstance(model, nn.Module) else ():
        last = name.rpartition(".")[2]
        if last in _BEFORE and last not in found:
            found[last] = parameter.shape[-2] if last == "register_tokens" and parameter.ndim > 1 else 1
    names: list[str] = []
    for last, written in _BEFORE.items():
        count = found.get(last, 0)
        names += [written] * count if last != "register_tokens" else [f"[REG {n}]" for n in range(count)]
    return names
