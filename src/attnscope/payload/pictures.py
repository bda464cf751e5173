"""Pictures of heads whose q and k a payload does not hold: the largest weight of each patch."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from attnscope.statistics.thumbnails import Thumbnails, coarser, describe_pixels


@dataclass(frozen=True)
class Pictures:
    """`heads`: of which heads, by site. `side`: patches along an axis of a picture, at most; 0: there are none. `nbytes`: what
    those of all heads take in a page, before base64."""

    side: int = 0
    nbytes: int = 0
    heads: Mapping[int, tuple[int, ...]] = field(default_factory=dict)


def put_picture(tensors: dict[str, Tensor], index: int, small: Thumbnails, pictures: Pictures) -> dict[str, Any]:
    """Add the pictures of a site to `tensors`, and return their description."""
    heads = pictures.heads.get(index)
    if not heads:
        return {}
    cells = tensors[f"p{index}"] = coarser(small.picture[list(heads)], pictures.side)
    return {"picture": describe_pixels(small, cells, f"p{index}") | {"heads": list(heads)}}
