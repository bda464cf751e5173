"""Site: one attention call, and everything that follows from it.

A site is its q, k, v as the model used them and the extras of that call (scaling, softcap, bias, mask, sinks). Scores
and weights are not stored; they are computed, by `attnscope.attention`, for the head and the rows that somebody looks
at. `verify` recomputes the output and compares it with what the model itself returned.
"""

import operator
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, SupportsIndex

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from attnscope.attention import AttentionSteps, attention_steps, project_output
from attnscope.errors import InputError, NotCaptured
from attnscope.tracing.head_projection import HeadProjection
from attnscope.tracing.masks import NO_MASK, BiasRule, MaskRule
from attnscope.tracing.query_blocks import query_blocks
from attnscope.tracing.receipts import SiteReceipt
from attnscope.tracing.steps import Link, links_of

# Largest |recomputed - returned| / largest |returned| that rounding explains, by the dtype the model computed in.
# fp16 and bf16 models round scores, weights and outputs on the way; the recomputation is in fp32. What rounding does
# grows with the scores: over the 17 architectures of the tests it is 3e-7 (fp32), 1.6e-3 (fp16) and 1.1e-2 (bf16) at
# scores up to 20, and twice to three times that at scores of 66, which trained models reach.
TOLERANCE = {torch.float64: 1e-6, torch.float32: 1e-4, torch.float16: 1e-2, torch.bfloat16: 4e-2}


def parse_head(head: SupportsIndex | str | None, layer: int | None = None) -> tuple[int | None, int | None]:
    """(layer, head) from a head number or a name such as "L2H8", which also names the layer. Counts start at 0."""
    if head is None:
        return layer, None
    if not isinstance(head, str):
        return layer, operator.index(head)
    match = re.fullmatch(r"[Ll](\d+)[Hh](\d+)", head.strip())
    if match and layer in (None, int(match[1])):
        return int(match[1]), int(match[2])
    if head.strip().isdigit():
        return layer, int(head)
    expected = f" of layer {layer}" if layer is not None else ""
    raise InputError(
        f'head "{head}" is not a head{expected}: give a number, or a name such as "L2H8" (layer 2, head 8).'
    )


@dataclass(frozen=True)
class Projection:
    """W_O and b_O, the model's own parameters (a reference, not a copy): output = Σ over heads z · W_O[h] + b_O.

    weight is [heads · Dv, M] seen from the heads (`transposed` tells that the parameter itself lies the other way).
    """

    parameter: Tensor
    bias: Tensor | None = None
    transposed: bool = True

    def heads(self, count: int) -> Float[Tensor, "H Dv M"]:
        """W_O cut into one [Dv, M] block per head, fp32."""
        weight = self.parameter.detach().T if self.transposed else self.parameter.detach()
        return weight.float().reshape(count, -1, weight.shape[-1])

    def blocks(self, count: int, heads: Sequence[int]) -> Float[Tensor, "h Dv M"]:
        """The blocks of some heads, in the parameter's dtype."""
        weight = self.parameter.detach().T if self.transposed else self.parameter.detach()
        return weight.reshape(count, -1, weight.shape[-1])[list(heads)]


@dataclass(frozen=True, eq=False)
class Site:
    """One attention call of one layer. q: [H, Q, D]; k: [Hkv, K, D]; v: [Hkv, K, Dv]; as the model used them (after
    rotary embedding, before key/value heads are repeated), in the model's dtype. Everything computed is fp32."""

    q: Float[Tensor, "H Q D"]
    k: Float[Tensor, "Hkv K D"]
    v: Float[Tensor, "Hkv K Dv"]
    scaling: float
    path: str = ""
    call: int = 0
    kind: str = "self"
    stack: str | None = None
    layer: int = 0
    softcap: float | None = None
    mask: MaskRule = NO_MASK
    position_bias: BiasRule | None = None
    sinks: Float[Tensor, " H"] | None = None
    z: Float[Tensor, "H R Dv"] | None = None
    z_rows: Int[Tensor, " R"] | None = None
    projection: Projection | None = field(default=None, repr=False)
    x: Float[Tensor, "Q M"] | None = field(default=None, repr=False)
    pre_rotary_q: Float[Tensor, "H Q D"] | None = field(default=None, repr=False)
    pre_rotary_k: Float[Tensor, "Hkv K D"] | None = field(default=None, repr=False)
    x_keys: Float[Tensor, "K M"] | None = field(default=None, repr=False)  # where k and v are made of something else
    w_q: HeadProjection | None = field(default=None, repr=False)
    w_k: HeadProjection | None = field(default=None, repr=False)
    w_v: HeadProjection | None = field(default=None, repr=False)
    pre_norm_q: Float[Tensor, "H Q D"] | None = field(default=None, repr=False)
    pre_norm_k: Float[Tensor, "Hkv K D"] | None = field(default=None, repr=False)
    stored_norms: Float[Tensor, "H K"] | None = field(default=None, repr=False)
    dtype: torch.dtype | None = None  # the model's, where q was stored in another
    note: str = ""

    @property
    def weights_only(self) -> bool:
        """True where nothing but the weights is known: see `attnscope.tracing.weights_site.WeightsSite`."""
        return False

    @property
    def kept(self) -> dict[str, Tensor]:
        """The tensors that take the room, by name: what a view rounds, or holds some heads of."""
        return {"q": self.q, "k": self.k, "v": self.v}

    @property
    def kept_dtype(self) -> torch.dtype:
        """What they are kept in."""
        return next(iter(self.kept.values())).dtype

    @property
    def heads(self) -> int:
        return self.q.shape[0]

    @property
    def kv_heads(self) -> int:
        return self.k.shape[0]

    @property
    def queries(self) -> int:
        return self.q.shape[1]

    @property
    def keys(self) -> int:
        return self.k.shape[1]

    @property
    def query_offset(self) -> int:
        """The position of query 0 among the keys: above 0 in a cached step, where earlier tokens are keys only."""
        return self.keys - self.queries if self.kind == "self" and self.keys > self.queries else 0

    @property
    def head_size(self) -> int:
        return self.q.shape[2]

    @property
    def value_size(self) -> int:
        return self.v.shape[2]

    @property
    def scaled_by_model(self) -> bool:
        """True where the call's scaling is 1: the model scales q before the call (OPT, Whisper) or not at all (T5)."""
        return self.scaling == 1.0 and self.head_size > 1

    @property
    def name(self) -> str:
        return f"{self.stack} layer {self.layer}" if self.stack else f"layer {self.layer}"

    @property
    def nbytes(self) -> int:
        """Bytes kept for this site, masks and biases included (sites may share those)."""
        kept = [*self.kept.values(), self.z, self.sinks, self.x, self.x_keys]
        kept += [self.pre_rotary_q, self.pre_rotary_k, self.pre_norm_q, self.pre_norm_k]
        extras = self.mask.nbytes + (self.position_bias.nbytes if self.position_bias else 0)
        return sum(tensor.nbytes for tensor in kept if tensor is not None) + extras

    def __repr__(self) -> str:
        return (
            f"Site({self.name}, {self.kind}, {self.path!r}, call {self.call}: {self.heads} heads"
            f"{f' ({self.kv_heads} key/value heads)' if self.kv_heads != self.heads else ''}, "
            f"{self.queries} queries × {self.keys} keys, head size {self.head_size}, {self.mask.describe()})"
        )

    # --- the chain, on demand -------------------------------------------------------------------------------------

    def _head(self, head: SupportsIndex | str) -> int:
        _, number = parse_head(head, self.layer)
        assert number is not None
        if not -self.heads <= number < self.heads:
            raise InputError(
                f"head {number} is out of range: {self.name} has {self.heads} heads, so head goes from 0 to {self.heads - 1}."
            )
        return number % self.heads

    def _rows(self, queries: SupportsIndex | slice | Sequence[int] | Tensor | None) -> Shaped[Tensor, " q"]:
        rows = torch.arange(self.queries)
        if queries is None:
            return rows
        wanted = queries if isinstance(queries, (slice, Tensor, Sequence)) else [operator.index(queries)]
        try:
            return rows[wanted if isinstance(wanted, (slice, Tensor)) else torch.tensor(list(wanted))]
        except (IndexError, TypeError, ValueError):
            raise InputError(
                f"query {queries} is out of range: {self.name} has {self.queries} queries, 0 to {self.queries - 1}."
            ) from None

    def chain(
        self,
        head: SupportsIndex | str | None = None,
        queries: SupportsIndex | slice | Sequence[int] | Tensor | None = None,
    ) -> AttentionSteps:
        """Every link for these queries, fp32. With `head` the tensors are [q, K] and [q, D]; without, [H, q, …]."""
        rows = self._rows(queries)
        if head is None:
            chosen: Any = slice(None)
            number = None
            group: Any = torch.arange(self.heads) // (self.heads // self.kv_heads)
        else:
            number = chosen = self._head(head)
            group = number // (self.heads // self.kv_heads)
        device = self.q.device
        sinks = (
            None
            if self.sinks is None
            else self.sinks[chosen].float().reshape(*(() if head is not None else (-1,)), 1, 1)
        )
        return attention_steps(
            self.q[chosen][..., rows.to(device), :].float(),
            self.k[group].float(),
            self.v[group].float(),
            scaling=self.scaling,
            softcap=self.softcap,
            position_bias=None
            if self.position_bias is None
            else self.position_bias.values(rows, self.queries, self.keys, number).to(device),
            allowed=None if self.mask.is_empty else self.mask.allowed(rows, self.keys, number).to(device),
            fill=self.mask.fill,
            sinks=sinks,
        )

    def dot(self, head: SupportsIndex | str | None = None, queries: Any = None) -> Float[Tensor, "*H q K"]:
        """q · k: [q, K] for one head, [H, q, K] for all."""
        return self.chain(head, queries).dot

    def scores(self, head: SupportsIndex | str | None = None, queries: Any = None) -> Float[Tensor, "*H q K"]:
        """What enters the softmax: scaled, capped, biased and masked (-inf where a key may not be seen)."""
        return self.chain(head, queries).masked

    def weights(self, head: SupportsIndex | str | None = None, queries: Any = None) -> Float[Tensor, "*H q K"]:
        """What leaves the softmax: how each query spreads its attention over the keys. Rows sum to 1 (less with sinks)."""
        return self.chain(head, queries).weights

    def output(self, head: SupportsIndex | str | None = None, queries: Any = None) -> Float[Tensor, "*H q Dv"]:
        """z = weights · v, computed in blocks of queries."""
        rows = self._rows(queries)
        heads = self.heads if head is None else 1
        parts = [self.chain(head, rows[block]).output for block in query_blocks(len(rows), self.keys, heads)]
        return torch.cat(parts, dim=-2)

    def write(self, head: SupportsIndex | str | None = None, queries: Any = None) -> Float[Tensor, "*H q M"]:
        """What the head writes into the residual stream: z · W_O[h] (b_O belongs to no head). Raises NotCaptured without W_O."""
        output = self.output(head, queries)
        blocks = self.output_projection()
        return project_output(output, blocks if head is None else blocks[self._head(head)])

    def output_projection(self) -> Float[Tensor, "H Dv M"]:
        """W_O by head. Raises NotCaptured where it was not found or not saved."""
        if self.projection is None:
            raise NotCaptured(
                f"{self.name} has no output projection W_O: either no linear layer took this site's output as it is (a gate "
                "or a norm stands between), or the trace was loaded from a file saved without it. Trace the model again, or "
                "save with trace.save(path, projections=True)."
            )
        return self.projection.heads(self.heads)

    def norms(self) -> tuple[str, Float[Tensor, "H K"]]:
        """("output", ‖v · W_O[h]‖) for every head and key, or ("value", ‖v‖) where W_O is unknown.

        weight · norm is the size of what a key adds to the head's output (Kobayashi et al. 2020, equation 2).
        """
        if self.stored_norms is not None and self.projection is None:
            return "output", self.stored_norms
        groups = self.heads // self.kv_heads
        value = self.v.float()
        if self.projection is None:
            return "value", value.norm(dim=-1).repeat_interleave(groups, dim=0)
        blocks = self.projection.heads(self.heads).to(value.device)
        return "output", torch.stack([(value[h // groups] @ blocks[h]).norm(dim=-1) for h in range(self.heads)])

    def share(self, head: SupportsIndex | str, query: int) -> Float[Tensor, " K"]:
        """Each key's share of the head's output for one query: weight · norm over the sum of these."""
        size = self.weights(head, query)[0] * self.norms()[1][self._head(head)]
        return size / size.sum().clamp_min(torch.finfo(torch.float32).tiny)

    def steps(self, head: SupportsIndex | str, query: int) -> tuple[Link, ...]:
        """The chain for one query, every link named, shaped and valued: from x where the trace kept it
        (keep={"x", "pre_rotary", "projections"}), else from q, k and v, to what the head writes."""
        return links_of(self, self._head(head), int(self._rows(operator.index(query))[0]))

    # --- proof ----------------------------------------------------------------------------------------------------

    def verify(self) -> SiteReceipt:
        """Recompute the output of the kept rows and compare it with what the implementation returned."""
        tolerance = TOLERANCE.get(self.dtype or self.q.dtype, 1e-4)
        if self.z is None or self.z_rows is None:
            return SiteReceipt("unverified", 0.0, tolerance, 0, self.queries, note=self.note)
        worst, largest, broken, no_key = 0.0, 0.0, False, 0
        for block in query_blocks(len(self.z_rows), self.keys, self.heads):
            rows = self.z_rows[block].cpu()
            returned = self.z[:, block].float()
            recomputed = self.chain(None, rows).output
            if not self.mask.is_empty:
                no_key += int((~self.mask.allowed(rows, self.keys).any(dim=-1)).reshape(-1, len(rows)).all(0).sum())
            finite = torch.isfinite(returned) & torch.isfinite(recomputed)
            broken |= not torch.equal(torch.isfinite(returned), torch.isfinite(recomputed))
            worst = max(worst, _max(finite, returned - recomputed))
            largest = max(largest, _max(finite, returned))
        error = worst / largest if largest else worst
        notes = [self.note] if self.note else []
        if broken:
            notes.append("NaN or infinite values differ between the model's output and the recomputed one")
        elif not bool(torch.isfinite(self.z).all()):
            notes.append("the model's own output has NaN or infinite values")
            if not bool(torch.isfinite(self.z).any()):
                return SiteReceipt(
                    "unverified", 0.0, tolerance, len(self.z_rows), self.queries, no_key, "; ".join(notes)
                )
        status = "failed" if broken or not error <= tolerance else "exact"
        return SiteReceipt(status, error, tolerance, len(self.z_rows), self.queries, no_key, "; ".join(notes))


def _max(where: Shaped[Tensor, "*s"], values: Float[Tensor, "*s"]) -> float:
    """Largest magnitude among the chosen values; 0 when none is."""
    return float(values[where].abs().max()) if bool(where.any()) else 0.0
