"""What a pass reads: ids, how many rows, how large an image, and how many tokens a cache held before."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from attnscope.tracing.signatures import parameters_of

_GRIDS = ("image_grid_thw", "video_grid_thw")  # of Qwen2-VL and its kin, whose tower reads images before videos


@dataclass
class Reads:
    """`given`: ids [B, T] that the model's own forward was given, by name. `tables`: the ids that each table of tokens
    received, with the table's path, in order. `first`, `second`: sizes of the first axis of its tensors, and of the second of
    sequences of vectors. `image`: height and width in pixels. `past`: tokens in the cache before; None: not known.
    `token_types`: the token_type_ids that the model was given, [B, T]. `frames`: how many images,
    tiles of one, or frames of a video it was given. `sizes`: frames, rows and columns of patches of each image, and after them
    of each video, of which there are `videos`. `cached`: it was given a key/value cache."""

    given: dict[str, Tensor] = field(default_factory=dict)
    tables: list[tuple[str, Tensor]] = field(default_factory=list)
    first: set[int] = field(default_factory=set)
    second: set[int] = field(default_factory=set)
    image: tuple[int, int] | None = None
    past: int | None = 0
    token_types: Tensor | None = None
    frames: int | None = None
    sizes: tuple[tuple[int, int, int], ...] = ()
    videos: int = 0
    cached: bool = False

    def padded(self, count: int) -> tuple[int, ...]:
        """The `count` ids that the model itself put behind those it was given, up to a multiple of its window (Longformer), or
        looked up alone (LED); () where it did not."""
        ids = self.given.get("input_ids")
        if ids is None or not ids.numel() or count < 1:
            return ()
        rows, length = ids.shape
        for _, read in self.tables:
            whole = read.shape == (rows, length + count) and bool((read[:, :length] == ids).all())
            behind = read[:, length:] if whole else read
            if behind.shape == (rows, count) and bool((behind == behind[0, 0]).all()):
                return tuple(behind[0].tolist())
        return ()


def _by_name(model: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a forward, by name."""
    if not args:
        return dict(kwargs)
    try:
        names = [*parameters_of(model.forward)]
    except (TypeError, ValueError):  # a forward made in C
        names = []
    names += [f"argument {i}" for i in range(len(names), len(args))]
    return {**dict(zip(names, args, strict=False)), **kwargs}


def reads_of(model: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Reads:
    """What a forward with these arguments reads."""
    found, grids = Reads(token_types=_token_types(args, kwargs)), dict[str, list[tuple[int, int, int]]]()
    for name, value in _by_name(model, args, kwargs).items():
        if isinstance(value, Tensor) and value.ndim and not value.is_nested:
            found.first.add(value.shape[0])
            if value.is_floating_point() and value.ndim == 3:
                found.second.add(value.shape[1])
            if value.is_floating_point() and value.ndim >= 4 and found.image is None:
                found.image = (value.shape[-2], value.shape[-1])
                found.frames = value.shape[value.ndim - 4]
            if name in _GRIDS and value.ndim == 2 and value.shape[1] == 3:
                grids[name] = [(frames, rows, columns) for frames, rows, columns in value.tolist()]
            if name.endswith("input_ids") and is_ids(value):
                found.given[name] = value.detach().clone()  # the caller may write into it later
        elif hasattr(value, "get_seq_length"):
            found.past, found.cached = _length(value), True
    found.sizes = tuple(size for name in _GRIDS for size in grids.get(name, ()))
    found.videos = len(grids.get(_GRIDS[1], ()))
    return found


def _token_types(args: Sequence[Any], kwargs: Mapping[str, Any]) -> Tensor | None:
    """token_type_ids as a model was given them, by name or in a dictionary of features."""
    for given in (kwargs, *args[:1]):
        if isinstance(given, Mapping) and isinstance(types := given.get("token_type_ids"), Tensor):
            return types.detach()
    return None


def is_ids(value: Any) -> bool:
    """Whether it is a batch of ids, [B, T]."""
    return isinstance(value, Tensor) and value.ndim == 2 and not value.is_floating_point() and not value.is_complex()


def _length(cache: Any) -> int | None:
    try:
        return int(cache.get_seq_length())
    except Exception:  # a cache without such a layer, or of a kind of its own
        return None
