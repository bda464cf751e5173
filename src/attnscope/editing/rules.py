"""Rules: what is changed in the attention of which heads. Every rule changes one link of the chain.

    q, k, v -> scores -> weights -> z

Rules of the same link hold in the order in which they were written; links in the order of the chain.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Float
from torch import Tensor

from attnscope.capturing.read.stacks import Place
from attnscope.editing.positions import Position
from attnscope.editing.selection import Heads

Layer = tuple[str | None, int]  # stack and layer
INPUTS = ("q", "k", "v")
OF_KEYS = ("k", "v")  # links with one vector a key, not a query
RECOMPUTED = ("scores", "weights")


@dataclass(frozen=True, eq=False)
class Times:
    """z · `factor`; 0 is off."""

    factor: float
    link: str = "z"

    @property
    def reference(self) -> str:
        return "zero" if self.factor == 0 else f"{self.factor:g} of what the head writes"


@dataclass(frozen=True, eq=False)
class Put:
    """Vectors of a link in the place of the model's own.

    `vectors`: by stack and layer, [H, T, D], or [H, 1, D] where all positions get the same. `align`: the position there of each
    position here; None: the same one. `exact`: the text must have as many tokens as the vectors (a patch), else no more (a mean by
    position). `reference`: what they are, in words.
    """

    link: str
    vectors: Mapping[Layer, Float[Tensor, "H T D"]]
    reference: str
    align: Mapping[int, int] | None = None
    exact: bool = True

    def of(self, place: Place) -> Float[Tensor, "H T D"] | None:
        found = self.vectors.get((place.stack, place.layer))
        if found is None and place.stack is None:  # a pass that runs one stack alone has no name for it
            found = next((one for (_, layer), one in self.vectors.items() if layer == place.layer), None)
        return found


@dataclass(frozen=True, eq=False)
class Weights:
    """Other weights: `source` gives those of a place and head, [Q, K]; None: the same weight on every key that a query may see.

    `reference`: as for `Put`.
    """

    source: Callable[[Place, int], Float[Tensor, "Q K"] | None] | None
    reference: str
    link: str = "weights"


@dataclass(frozen=True, eq=False)
class Share:
    """The weight of these queries on these keys together is `weight`; the other keys share the rest in the proportions that they have, as if the scores of
    these keys alone were other. None: every query."""

    weight: float
    query: tuple[Position, ...] | None
    key: tuple[Position, ...]
    link: str = "weights"

    @property
    def reference(self) -> str:
        return f"a weight of {self.weight:g} between the two"


@dataclass(frozen=True, eq=False)
class Cut:
    """Score −inf between these queries and keys, before the softmax (attention knockout, Geva et al. 2023, "Dissecting recall of
    factual associations in auto-regressive language models"). None: every one."""

    query: tuple[Position, ...] | None
    key: tuple[Position, ...] | None
    link: str = "scores"
    reference: str = "no weight between the two"


@dataclass(frozen=True, eq=False)
class Along:
    """z = z₀ + (z − z₀) · α, where z₀ is z with the edit `toward` and α is 1: nothing changes, and ∂score/∂α is the effect of that edit to first order
    (attribution patching, Nanda 2023). `alphas`: gets a leaf of one α a head, [H], for each stack and layer that runs."""

    toward: "Times | Put"
    alphas: dict[Layer, Float[Tensor, " H"]] = field(default_factory=dict)
    link: str = "z"

    @property
    def reference(self) -> str:
        return self.toward.reference

    def at(self, place: Place, heads: int, like: Tensor) -> Float[Tensor, " H"]:
        """The α of the heads of a place. `like`: on its device."""
        alpha = self.alphas.get((place.stack, place.layer))
        if alpha is None:
            alpha = self.alphas[place.stack, place.layer] = torch.ones(heads, device=like.device, requires_grad=True)
        return alpha


Change = Times | Put | Weights | Share | Cut | Along


@dataclass(eq=False)
class Rule:
    """A `change` in `heads`. `positions`: where (of queries; of keys for k and v), None: everywhere. `name`: as it was written. `row`: the
    row of the batch, None: all. `fired`: in how many calls it changed something; `missed`: why not."""

    heads: Heads
    change: Change
    name: str
    positions: tuple[Position, ...] | None = None
    row: int | None = None
    fired: int = 0
    missed: str = ""

    def moved(self, heads: Heads, row: int | None = None) -> "Rule":
        """The same change in other heads, in one row of a batch."""
        return replace(self, heads=heads, row=row, fired=0, missed="")


def in_rows(variants: Sequence[Sequence[Rule]]) -> Iterator[Rule]:
    """The rules of each variant, for a row of a batch of its own; those of a single one for all rows."""
    for row, rules in enumerate(variants):
        for rule in rules:
            yield rule.moved(rule.heads, row if len(variants) > 1 else None)
