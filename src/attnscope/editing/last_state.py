"""What an edit changes where a model predicts nothing: its last hidden state, in direction and in size."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

MEASURE = "cosine of the mean last state with that of the clean text"


@dataclass(frozen=True, eq=False)
class LastState:
    """The last hidden state with an edit, x', beside the clean one, x, by token.

    `cosine`: of x and x', [T]: 1 where the direction stays. `size`: ‖x'‖ / ‖x‖, [T]. `mean_cosine`, `mean_size`: the same of the mean over tokens, which
    sentence embeddings are made of.
    """

    cosine: Float[Tensor, " T"]
    size: Float[Tensor, " T"]
    mean_cosine: float
    mean_size: float

    def __str__(self) -> str:
        least = int(self.cosine.argmin())
        return (
            f"last state: cosine {self.mean_cosine:.4f}, size × {self.mean_size:.3f} (mean over tokens); "
            f"turned most at position {least}: cosine {float(self.cosine[least]):.4f}, size × {float(self.size[least]):.3f}"
        )


def last_state_of(outputs: Any) -> Float[Tensor, "B T M"] | None:
    """What a model returned last, fp32; None where it returned none."""
    state = getattr(outputs, "last_hidden_state", None)
    return state.float() if isinstance(state, Tensor) and state.ndim == 3 else None


def mean_state(state: Float[Tensor, "B T M"], inputs: Mapping[str, Any]) -> Float[Tensor, "B M"]:
    """The mean over tokens that are no padding, where the mask of `inputs` says so."""
    mask = inputs.get("attention_mask")
    if not isinstance(mask, Tensor) or mask.shape != state.shape[:2]:
        return state.mean(1)
    told = mask.to(state.dtype)[..., None]
    return (state * told).sum(1) / told.sum(1).clamp_min(1)


def beside(
    clean: Float[Tensor, "T M"], edited: Float[Tensor, "T M"], means: tuple[Float[Tensor, " M"], Float[Tensor, " M"]]
) -> LastState:
    """Both states of a text, and their means."""
    return LastState(
        torch.cosine_similarity(clean, edited, dim=-1).cpu(),
        (edited.norm(dim=-1) / clean.norm(dim=-1).clamp_min(1e-30)).cpu(),
        float(torch.cosine_similarity(*means, dim=-1)),
        float(means[1].norm() / means[0].norm().clamp_min(1e-30)),
    )
