"""What one run of the code under test gave, and the layouts in which it takes and gives tensors."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from attnscope.doctor.code_check.run.sandbox import Outcome


@dataclass(frozen=True)
class Reading:
    """One run, understood: output as the recipes give it, weights [B, H, Q, K] where they came back."""

    outcome: Outcome
    output: Tensor | None = None
    weights: Tensor | None = None
    wrong: str = ""  # the shape that it returned instead
    as_given: bool = False  # that shape is the input's own
    exchanged: bool = False  # whether it gave the axes of heads and of tokens in the other order than it took them
    saw: tuple[Tensor, Tensor, Tensor] | None = None  # what the projections saw, where that is not the input
    twice: tuple[str, ...] = ()  # query, key, value: projections that took what another of them had made

    def by_token(self, length: int, width: bool = False) -> bool:
        """Whether a tensor with an axis of this length came back; with `width`, with one more axis beside the batch's and no more."""
        shapes = [tuple(x.shape) for x in tensors_in(self.outcome.value)]
        return any(length in shape and (not width or len(shape) == 3) for shape in shapes)


def tensors_in(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value] if value.is_floating_point() else []
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list | tuple):
        return [t for part in value for t in tensors_in(part)]
    return tensors_in(list(vars(value).values())) if hasattr(value, "__dict__") and not callable(value) else []


ONE_KEY_HEAD = "(batch, heads, length, size), keys and values without heads"
BY_ROWS = "(batch, rows, length, width)"
BY_COLUMNS = "(batch, length, columns, width)"


def to_user(x: Tensor, layout: str, keys: bool = False) -> Tensor:
    """Canonical queries, or with `keys` keys or values, as the user's code takes them."""
    match layout:
        case _ if layout == ONE_KEY_HEAD and keys:
            return x.squeeze(1)
        case _ if layout == BY_ROWS:
            return x.unflatten(0, (-1, 2))
        case _ if layout == BY_COLUMNS:
            return x.unflatten(0, (-1, 2)).transpose(1, 2)
        case "(heads, batch, length, size)":
            return x.transpose(0, 1)
        case "(length, width)":
            return x[0]
        case "(batch, width, length)":
            return x.transpose(1, 2)
        case "(batch, width, height, 1)":
            return x.transpose(1, 2).unsqueeze(-1)
        case "(batch, length, size)":
            return x.squeeze(1)
        case "(length, size)":
            return x[0, 0]
        case "(batch, length, heads, size)":
            return x.transpose(1, 2)
        case "(length, batch, size)":
            return x.squeeze(1).transpose(0, 1)
        case "(length, batch, width)":
            return x.transpose(0, 1)
    return x


def from_user(x: Tensor, layout: str, flat: bool) -> Tensor | None:
    match layout:
        case _ if layout == BY_ROWS:
            return x.flatten(0, 1) if x.ndim == 4 else None
        case _ if layout == BY_COLUMNS:
            return x.transpose(1, 2).flatten(0, 1) if x.ndim == 4 else None
        case "(heads, batch, length, size)":
            return x.transpose(0, 1) if x.ndim == 4 else x if x.ndim == 3 else None
        case "(length, width)":
            return x[None] if x.ndim == 2 else None
        case "(batch, width, length)":
            return x.transpose(1, 2) if x.ndim == 3 else None
        case "(batch, width, height, 1)":
            return x.squeeze(-1).transpose(1, 2) if x.ndim == 4 and x.shape[-1] == 1 else None
        case "(batch, length, size)":
            return x.unsqueeze(1) if x.ndim == 3 else None
        case "(length, size)":
            return x[None, None] if x.ndim == 2 else None
        case "(batch, length, heads, size)":
            return x.transpose(1, 2) if x.ndim == 4 else None
        case "(length, batch, size)":
            return x.transpose(0, 1).unsqueeze(1) if x.ndim == 3 else None
        case "(length, batch, width)":
            return x.transpose(0, 1) if x.ndim == 3 else None
    return x
