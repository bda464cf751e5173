"""The patches of images and videos among the tokens of a text: which they are, and where in its image each lies."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

from torch import Tensor, nn

from attnscope.models.patches import patch_size
from attnscope.tracing.grids import PatchGrid, grid_from, patch_places
from attnscope.tracing.tokens import Tokens

# Models that join squares of patches into one token, and keep the rows of the image in their order.
_JOINING = frozenset({"gemma3", "idefics3", "internvl", "smolvlm"})
# Of images and of videos: what the configuration calls their tokens, and the input that tells how many patches each has.
_KINDS = ((("image_token_id", "image_token_index"), "image_grid_thw"), (("video_token_id",), "video_grid_thw"))
# Modules after which a token is no longer a place in the image.
_MIXING = ("perceiver", "qformer", "resampler")


def with_image_tokens(model: Any, named: Tokens, ready: Mapping[str, Any]) -> Tokens:
    """The tokens of a text, with the patches of its images named "patch 2,5", and those of a video "frame 1 patch 2,5", laid
    out in grids; unchanged where the inputs do not tell how many rows and columns an image has."""
    config = getattr(model, "config", None)
    found, strings = [], {}
    for markers, size in _KINDS:
        ids = {getattr(config, name, None) for name in markers} - {None}
        places = [i for i, number in enumerate(named.ids) if number in ids]
        grids = _grids(model, places, ready, size) if places else None
        for frame, grid in enumerate(grids or ()):
            before = f"frame {frame} " if size == "video_grid_thw" else ""
            names = (before + place for place in patch_places(grid.rows, grid.columns))
            strings |= dict(zip(grid.tokens, names, strict=True))
            found.append(grid)
    if not found:
        return named
    first = len(named.word_text)
    words, shown, special = list(named.words), list(named.shown), list(named.special)
    for number, (token, name) in enumerate(strings.items()):
        words[token], shown[token], special[token] = first + number, name, False
    return replace(
        named,
        words=tuple(words),
        word_text=(*named.word_text, *strings.values()),
        shown=tuple(shown),
        special=tuple(special),
        grids=tuple(found),
    )


def _grids(model: Any, places: Sequence[int], ready: Mapping[str, Any], size: str) -> list[PatchGrid] | None:
    """As many grids as there are images (or frames, or tiles), which together have all the places."""
    shapes = [*_shapes(model, len(places), ready, size)]
    if not shapes or sum(rows * columns for rows, columns in shapes) != len(places):
        return None
    grids, at = [], 0
    for rows, columns in shapes:
        tokens = places[at : at + rows * columns]
        if any(b - a != 1 for a, b in pairwise(tokens)):
            return None  # something stands between the patches of one image
        grids.append(grid_from(tokens[0], rows, columns))
        at += len(tokens)
    return grids


def _shapes(model: Any, count: int, ready: Mapping[str, Any], size_name: str) -> Iterator[tuple[int, int]]:
    """Rows and columns of tokens in each image, or in each frame of a video."""
    sizes, pixels = ready.get(size_name), ready.get("pixel_values")
    if isinstance(sizes, Tensor):  # Qwen2-VL and its kin: frames, rows and columns of patches, before they are joined
        side = getattr(getattr(model.config, "vision_config", None), "spatial_merge_size", None)
        for frames, rows, columns in sizes.tolist() if isinstance(side, int) else ():
            yield from [(rows // side, columns // side)] * frames
        return
    size = patch_size(model)
    if (
        size is None
        or size_name != "image_grid_thw"
        or not isinstance(pixels, Tensor)
        or pixels.ndim not in (4, 5)
        or _mixes(model)
    ):
        return
    images = math.prod(pixels.shape[:-3])
    rows, columns = pixels.shape[-2] // size[0], pixels.shape[-1] // size[1]
    side = math.isqrt(rows * columns * images // count)
    joins = getattr(getattr(model, "config", None), "model_type", "") in _JOINING
    if side == 1 or (joins and side > 1 and rows % side == columns % side == 0):
        yield from [(rows // side, columns // side)] * images


def _mixes(model: Any) -> bool:
    if not isinstance(model, nn.Module):
        return True
    return any(part in name for name, _ in model.named_modules() for part in _MIXING)
