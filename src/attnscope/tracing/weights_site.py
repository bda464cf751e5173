"""A site of which only the weights are known: plain attention tensors, with no q and k behind them."""

from dataclasses import dataclass, field
from typing import Any, NoReturn

from jaxtyping import Float
from torch import Tensor

from attnscope.attention import AttentionSteps
from attnscope.errors import NotCaptured
from attnscope.tracing.at_hand import check_at_hand
from attnscope.tracing.receipts import TOLERANCE, SiteReceipt
from attnscope.tracing.site import Site


def _unknown(name: str) -> property:
    """In place of a field: reading it says that it is not there."""

    def refuse(site: "WeightsSite") -> NoReturn:
        site._refuse(name)

    return property(refuse)


@dataclass(frozen=True, eq=False, repr=False)
class WeightsSite(Site):
    """A Site that returns the weights it was given, as fp32, and raises NotCaptured for what needs q, k or v.

    `given`: [H, Q, K], in the dtype of the tensor it is from.
    """

    q: Any = field(init=False, default=_unknown("q"))
    k: Any = field(init=False, default=_unknown("k"))
    v: Any = field(init=False, default=_unknown("v"))
    scaling: Any = field(init=False, default=_unknown("scaling"))
    given: Float[Tensor, "H Q K"] = field(kw_only=True)

    @property
    def weights_only(self) -> bool:
        return True

    @property
    def kept(self) -> dict[str, Tensor]:
        return {"weights": self.given}

    @property
    def heads(self) -> int:
        return self.given.shape[0]

    @property
    def kv_heads(self) -> int:
        return self.given.shape[0]

    @property
    def queries(self) -> int:
        return self.given.shape[1]

    @property
    def keys(self) -> int:
        return self.given.shape[2]

    @property
    def head_size(self) -> int:
        """0: there are no vectors."""
        return 0

    @property
    def value_size(self) -> int:
        """0: there are no vectors."""
        return 0

    @property
    def scaled_by_model(self) -> bool:
        return False

    def __repr__(self) -> str:
        return (
            f"WeightsSite({self.name}, {self.kind}, {self.path!r}: weights only, {self.heads} heads, "
            f"{self.queries} queries × {self.keys} keys)"
        )

    def weights(self, head: Any = None, queries: Any = None) -> Float[Tensor, "*H q K"]:
        """The weights as given, fp32: [q, K] for one head, [H, q, K] for all. `head` and `queries` as in
        `Site.chain`.
        """
        check_at_hand(self)
        rows = self._rows(queries).to(self.given.device)
        return self.given[slice(None) if head is None else self._head(head)][..., rows, :].float()

    def chain(self, head: Any = None, queries: Any = None) -> AttentionSteps:
        self._refuse("the chain of dot products, scores and output")

    def norms(self, head: Any = None) -> tuple[str, Float[Tensor, "*H K"]]:
        self._refuse("the size of the values (and so each key's share of the output)")

    def output_projection(self) -> Float[Tensor, "H Dv M"]:
        self._refuse("the output projection W_O")

    def verify(self) -> SiteReceipt:
        """Nothing can be computed again from weights alone: status "weights_only"."""
        tolerance = TOLERANCE.get(self.dtype or self.given.dtype, 1e-4)
        return SiteReceipt("weights_only", 0.0, tolerance, 0, self.queries, note=self.note)

    def _refuse(self, what: str) -> NoReturn:
        raise NotCaptured(
            f"{self.name} holds attention weights only, so {what} cannot be had: many q, k and v give the same weights. "
            "To see those, trace the model itself: attnscope.trace(model, tokenizer, text)."
        )
