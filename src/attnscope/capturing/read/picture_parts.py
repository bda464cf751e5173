"""Names for patches that a tower reads in parts: windows at their places in the image, frames of a video, calls of a tower."""

import math
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import nn

from attnscope.capturing.listen.reads import Reads
from attnscope.tracing.grids import PatchGrid, height_and_width, patch_places
from attnscope.tracing.tokens import Tokens

_STAGES = 6  # after each of which an image is half as high and wide
_BEFORE = ("[CLS]", "[DIST]")


def names_of_parts(model: nn.Module, path: str, reads: Reads, parts: int, shown: range, each: int) -> Tokens | None:
    """The positions of those parts that are `shown`, out of `parts` of `each` positions; None where nothing tells their places."""
    return (
        _frames(model, path, reads, parts, shown, each)
        or _windows(model, path, reads, parts, shown, each)
        or _units(model, path, parts, shown, each)
    )


def names_of_calls(model: nn.Module, path: str, reads: Reads, first: int, length: int) -> Tokens | None:
    """`length` positions from `first` on of all that a tower read in several calls (Qwen2-VL and its kin: a call for each
    image, frame or window); None where nothing tells their places."""
    config = next(_configs(model, path, "spatial_merge_size"), None)
    side = getattr(config, "spatial_merge_size", None)
    if not reads.sizes or not isinstance(side, int):
        return None
    order = _in_squares(reads.sizes, side)
    if getattr(config, "fullatt_block_indexes", None) is not None:
        order = _in_windows(order, config, reads.sizes, side)
    if order is None or first + length > len(order):
        return None
    shapes = [(rows, columns) for frames, rows, columns in reads.sizes for _ in range(frames)]
    called = _called(reads)
    placed: dict[int, dict[int, int]] = {}
    names = []
    for position, (image, row, column) in enumerate(order[first : first + length]):
        names.append(f"{called[image]}patch {row},{column}")
        placed.setdefault(image, {})[row * shapes[image][1] + column] = position
    grids = [_grid(*shapes[image], places, image) for image, places in placed.items()]
    return Tokens(tuple(names), special=(False,) * length, grids=tuple(grids))


def _called(reads: Reads) -> list[str]:
    """What each image and each frame of a video is called, in order, before the names of its patches."""
    stills, films = len(reads.sizes) - reads.videos, reads.sizes[len(reads.sizes) - reads.videos :]
    images = sum(frames for frames, _, _ in reads.sizes[:stills])
    named = [f"image {number} " if images > 1 else "" for number in range(images)]
    for number, (frames, _, _) in enumerate(films):
        named += [f"{f'video {number} ' if len(films) > 1 else ''}frame {frame} " for frame in range(frames)]
    return named


def _grid(rows: int, columns: int, positions: dict[int, int], number: int | None = None) -> PatchGrid:
    """`positions`: of those places that have a token."""
    return PatchGrid(rows, columns, tuple(positions.get(i, -1) for i in range(rows * columns)), picture=number)


def _configs(model: nn.Module, path: str, name: str) -> Iterator[Any]:
    """Configurations of the modules around a path that have this entry, the nearest first."""
    for around in _around(model, path):
        config = getattr(around, "config", None)
        if getattr(config, name, None) is not None:
            yield config


def _around(model: nn.Module, path: str) -> Iterator[Any]:
    """The module at a path, and those it is a part of, the nearest first."""
    parts = path.split(".")
    for count in range(len(parts), -1, -1):
        around: Any = model
        for part in parts[:count]:
            around = getattr(around, part, None)
        yield around


def _patches(model: nn.Module, path: str, reads: Reads) -> tuple[Any, int, int] | None:
    """The tower's configuration, and rows and columns of patches in an image; what is left over counts as a patch."""
    for config in _configs(model, path, "patch_size"):
        size = height_and_width(config.patch_size)
        if size is not None and reads.image is not None:
            return config, -(-reads.image[0] // size[0]), -(-reads.image[1] // size[1])
    return None


def _frames(model: nn.Module, path: str, reads: Reads, parts: int, shown: range, each: int) -> Tokens | None:
    """Each part is a frame of a video or a tile of an image, or a place in all the frames (attention over time)."""
    found = _patches(model, path, reads)
    if found is None or reads.frames is None or reads.frames < 2:
        return None
    config, rows, columns = found
    deep = getattr(config, "tubelet_size", 1)
    frames = reads.frames // (deep if isinstance(deep, int) and deep > 0 else 1)
    what = "image" if "input_ids" in reads.given else "frame"
    places = patch_places(rows, columns)
    before = each - len(places)
    if parts == frames and 0 <= before <= len(_BEFORE):
        own = [*_BEFORE[:before], *places]
        special = ((True,) * before + (False,) * len(places)) * len(shown)
        grids = [
            _grid(rows, columns, {i: place * each + before + i for i in range(len(places))}, part)
            for place, part in enumerate(shown)
        ]
        names = [f"{what} {part} {name}" for part in shown for name in own]
        return Tokens(tuple(names), special=special, grids=tuple(grids))
    if parts == len(places) and each == frames:
        names = [f"frame {frame} {places[part]}" for part in shown for frame in range(frames)]
        grids = [
            _grid(rows, columns, {part: i * frames + frame for i, part in enumerate(shown)}, frame)
            for frame in range(frames)
        ]
        return Tokens(tuple(names), special=(False,) * len(names), grids=tuple(grids))
    return None


def _windows(model: nn.Module, path: str, reads: Reads, parts: int, shown: range, each: int) -> Tokens | None:
    """Each part is a square window of the image (Swin and its kin, SAM, ViTDet), row by row; a block may have moved the
    image by its `shift_size` before it was cut."""
    block, found, side = _block(model, path), _patches(model, path, reads), math.isqrt(each)
    if block is None or found is None or side * side != each:
        return None
    fits = {}
    for stage in range(_STAGES):
        rows, columns = (-(-length // 2**stage) for length in found[1:])
        if -(-rows // side) * -(-columns // side) == parts:
            fits[stage] = rows, columns
    told = next((int(part) for part in path.split(".") if part.isdigit()), 0)
    if not fits or (told not in fits and len(fits) > 1):
        return None
    rows, columns = fits.get(told) or next(iter(fits.values()))
    high, wide = (-(-length // side) * side for length in (rows, columns))
    shift = int(getattr(block, "shift_size", 0))
    places = torch.arange(high * wide).view(high, wide).roll((-shift, -shift), (0, 1))
    cut = (
        places.view(high // side, side, wide // side, side)
        .transpose(1, 2)
        .reshape(parts, each)[shown.start : shown.stop]
        .flatten()
    )
    return _at_places([divmod(place, wide) for place in cut.tolist()], rows, columns)


def _units(model: nn.Module, path: str, parts: int, shown: range, each: int) -> Tokens | None:
    """Each part is a mask unit of Hiera, whose positions stand `parts` apart in what it reads; its encoder lays them back."""
    encoder = next((one for one in _around(model, path) if hasattr(one, "reroll") and hasattr(one, "schedule")), None)
    stages: dict[int, tuple[Any, list[int]]] = getattr(encoder, "schedule", {})
    count = parts * each
    stage = next((number for number, (_, size) in stages.items() if math.prod(size) == count), None)
    if encoder is None or stage is None:
        return None
    rows, columns = stages[stage][1]
    place = encoder.reroll(torch.arange(count).view(1, count, 1), stage).flatten().argsort()
    read = torch.arange(count).view(each, parts).T[shown.start : shown.stop].flatten()
    return _at_places([divmod(one, columns) for one in place[read].tolist()], rows, columns)


def _at_places(places: Sequence[tuple[int, int]], rows: int, columns: int) -> Tokens:
    """Positions with the row and column of each; what lies outside of the image is padding."""
    names, positions = [], {}
    for position, (row, column) in enumerate(places):
        inside = row < rows and column < columns
        names.append(f"patch {row},{column}" if inside else "padding")
        if inside:
            positions[row * columns + column] = position
    special = tuple(name == "padding" for name in names)
    return Tokens(tuple(names), special=special, grids=(_grid(rows, columns, positions),))


def _block(model: nn.Module, path: str) -> Any:
    """The module around a path that cuts its image into windows."""
    around = [*_around(model, path)]
    shifting = next((one for one in around if hasattr(one, "shift_size")), None)
    if shifting is not None:
        return shifting
    for one in around:
        cuts = hasattr(one, "window_partition") or hasattr(sys.modules.get(type(one).__module__), "window_partition")
        if cuts and isinstance(size := getattr(one, "window_size", None), int) and size > 0:
            return one
    return None


def _in_squares(sizes: Sequence[tuple[int, int, int]], side: int) -> list[tuple[int, int, int]] | None:
    """(image, row, column) of each patch, in squares of side × side that will be joined into one token."""
    order, image = [], 0
    for frames, rows, columns in sizes:
        if rows % side or columns % side:
            return None
        places = torch.arange(rows * columns).view(rows // side, side, columns // side, side).transpose(1, 2).flatten()
        for _ in range(frames):
            order += [(image, *divmod(place, columns)) for place in places.tolist()]
            image += 1
    return order


def _in_windows(
    order: list[tuple[int, int, int]] | None, config: Any, sizes: Sequence[tuple[int, int, int]], side: int
) -> list[tuple[int, int, int]] | None:
    """The order after the tower has sorted its squares by window, as transformers itself sorts them."""
    try:
        from transformers.vision_utils import get_vision_window_index
    except ImportError:
        return None
    if order is None:
        return None
    index, _ = get_vision_window_index(torch.tensor(sizes), side, config.window_size, config.patch_size)
    each = side * side
    return [order[square * each + i] for square in index.tolist() for i in range(each)]
