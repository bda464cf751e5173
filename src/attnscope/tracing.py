"""Trace, Site and Receipt: what a forward pass left behind, and everything that follows from it.

A site is one attention call: its q, k, v as the model used them and the extras of that call (scaling, softcap, bias,
mask, sinks). Scores and weights are not stored; they are computed, by `attnscope.attention`, for the head and the
rows that somebody looks at. The receipt recomputes the output and compares it with what the model itself returned.
"""

import operator
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, SupportsIndex

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from attnscope.attention import AttentionSteps, attention_steps, project_output
from attnscope.blocks import query_blocks
from attnscope.errors import InputError, NotCaptured
from attnscope.masks import NO_MASK, BiasRule, MaskRule, bias_rule_of, causal_rule, rule_of, split_additive
from attnscope.tokens import Tokens

if TYPE_CHECKING:
    import numpy as np

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


@dataclass(frozen=True)
class SiteReceipt:
    """One site's proof. max_error: largest |recomputed z - returned z|, as a part of the largest |returned z|.

    status: "exact" (within the tolerance), "failed", "weights_only" (no q and k to recompute from) or "unverified"
    (nothing to compare with). `no_key_rows` counts checked rows in which no key is allowed.
    """

    status: str
    max_error: float
    tolerance: float
    rows: int
    of: int
    no_key_rows: int = 0
    note: str = ""

    def __str__(self) -> str:
        figures = f"largest difference {self.max_error:.1e} of the output (tolerance {self.tolerance:.0e})"
        note = f"; {self.note}" if self.note else ""
        match self.status:
            case "exact":
                return f"checked against the model: {figures}, {self.rows} of {self.of} queries{note}"
            case "failed":
                return f"DOES NOT MATCH the model: {figures}, {self.rows} of {self.of} queries{note}"
        return f"not checked: {self.note or 'there is no output to compare with'}"


@dataclass(frozen=True)
class Receipt:
    """The receipts of all sites, and their sum: passed only if every site could be checked and is exact."""

    sites: tuple[SiteReceipt, ...]

    @property
    def passed(self) -> bool:
        return bool(self.sites) and all(site.status == "exact" for site in self.sites)

    @property
    def max_error(self) -> float:
        return max((site.max_error for site in self.sites), default=0.0)

    @property
    def tolerance(self) -> float:
        return max((site.tolerance for site in self.sites), default=0.0)

    @property
    def rows(self) -> int:
        """Query rows checked, over all sites."""
        return sum(site.rows for site in self.sites)

    @property
    def of(self) -> int:
        """Query rows there are, over all sites."""
        return sum(site.of for site in self.sites)

    def __bool__(self) -> bool:
        return self.passed

    def __str__(self) -> str:
        bad = [f"site {i}: {site}" for i, site in enumerate(self.sites) if site.status != "exact"]
        failed = sum(site.status == "failed" for site in self.sites)
        exact = len(self.sites) - len(bad)
        if not exact and not failed:
            head = f"– none of {len(self.sites)} sites could be checked against a model's output"
        else:
            head = (
                f"{'✕' if failed else '✓' if self.passed else '–'} {exact} of {len(self.sites)} sites match the model's own "
                f"output: largest difference {self.max_error:.1e}, {self.rows} of {self.of} query rows checked"
            )
        return "\n".join([head, *bad[:8]])


@dataclass(frozen=True)
class Link:
    """One named link of the chain for one query: its symbol, the formula that gives it, and its value."""

    name: str
    symbol: str
    formula: str
    value: Float[Tensor, "*shape"]

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.value.shape)

    def __repr__(self) -> str:
        first = ", ".join(f"{x:.4g}" for x in self.value.flatten()[:4].tolist())
        more = ", …" if self.value.numel() > 4 else ""
        return f"Link({self.name}: {self.symbol} = {self.formula}; {list(self.shape)}: {first}{more})"


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
    stored_norms: Float[Tensor, "H K"] | None = field(default=None, repr=False)
    dtype: torch.dtype | None = None  # the model's, where q was stored in another
    note: str = ""

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
    def scaled_by_model(self) -> bool:
        """True where the call's scaling is 1: the model scales q before the call (OPT, Whisper) or not at all (T5)."""
        return self.scaling == 1.0 and self.head_size > 1

    @property
    def name(self) -> str:
        return f"{self.stack} layer {self.layer}" if self.stack else f"layer {self.layer}"

    @property
    def nbytes(self) -> int:
        """Bytes kept for this site, masks and biases included (sites may share those)."""
        kept = [self.q, self.k, self.v, self.z, self.x, self.pre_rotary_q, self.pre_rotary_k, self.sinks]
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
        if not isinstance(queries, (slice, Tensor, Sequence)):
            queries = [operator.index(queries)]
        try:
            return rows[queries if isinstance(queries, (slice, Tensor)) else torch.tensor(list(queries))]
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
        """The chain for one query, every link named, shaped and valued."""
        number = self._head(head)
        chain = self.chain(number, query)
        row = self._rows(query)
        links = []
        if self.x is not None and self.kind == "self":
            links.append(Link("x", "x", "the layer's input for this token", self.x[row[0]].float()))
        links += [
            Link("query", "q", "x · W_Q" + (", then rotary" if self.pre_rotary_q is not None else ""), chain.query[0]),
            Link("keys", "k", "x · W_K for every token", chain.key),
            Link("values", "v", "x · W_V for every token", chain.value),
            Link("products", "q × k", "q[d] · k[d], dimension by dimension", chain.query * chain.key),
            Link("dot", "q · k", "Σ over d of q[d] · k[d]", chain.dot[0]),
            Link("scaled", "q · k · scaling", f"q · k × {self.scaling:.6g}", chain.scaled[0]),
        ]
        if self.softcap is not None:
            links.append(
                Link("capped", "capped", f"{self.softcap:g} · tanh(scaled / {self.softcap:g})", chain.capped[0])
            )
        if self.position_bias is not None:
            links.append(Link("biased", "biased", "score + position bias", chain.biased[0]))
        links.append(
            Link("masked", "score", f"−∞ where the mask hides a key ({self.mask.describe()})", chain.masked[0])
        )
        sink = " (the sink's column is dropped)" if self.sinks is not None else ""
        links.append(Link("weights", "softmax", f"exp(score) / Σ over keys of exp(score){sink}", chain.weights[0]))
        links.append(Link("output", "z", "Σ over keys of weight · v", chain.output[0]))
        if self.projection is not None:
            links.append(
                Link("write", "z · W_O", "what this head adds to the residual stream", self.write(number, query)[0])
            )
        return tuple(links)

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


@dataclass(frozen=True)
class ModelInfo:
    """What was looked at: name, class, type, dtype, attention implementation, revision."""

    name: str = ""
    class_name: str = ""
    type: str = ""
    dtype: str = ""
    implementation: str = ""
    revision: str | None = None


@dataclass(frozen=True, eq=False)
class Trace:
    """One text's way through a model's attention: the sites in the order in which they ran, and the tokens.

    `tokens` are what the model read; for encoder-decoder models they are the source, and `target` what the decoder
    read. `notes` say what a reader of any view must know (text was cut, dropout was off, modules went unrecorded).
    """

    sites: tuple[Site, ...]
    tokens: Tokens
    target: Tokens | None = None
    model: ModelInfo = ModelInfo()
    notes: tuple[str, ...] = ()
    unrecorded: tuple[str, ...] = ()
    inputs: Mapping[str, Any] | None = field(default=None, repr=False)

    def __repr__(self) -> str:
        stacks = ", ".join(
            f"{count} {stack + ' ' if stack else ''}layer{'s' if count > 1 else ''}"
            for stack, count in self.stacks.items()
        )
        return f"Trace({self.model.name or self.model.class_name or 'tensors'}: {stacks}, {len(self.tokens)} tokens)"

    @property
    def stacks(self) -> dict[str | None, int]:
        """How many sites each stack has: {None: 6}, or {"encoder": 2, "decoder": 2, "cross": 2}."""
        counts: dict[str | None, int] = {}
        for site in self.sites:
            counts[site.stack] = counts.get(site.stack, 0) + 1
        return counts

    def site(self, layer: int, stack: str | None = None) -> Site:
        """The site of a layer. `stack` is needed where there are several. Raises InputError, naming what there is."""
        stacks = self.stacks
        if stack is None and len(stacks) > 1:
            raise InputError(
                f"this model has several stacks of attention: say stack={' or stack='.join(map(repr, stacks))}."
            )
        if stack is None:
            stack = next(iter(stacks))
        elif stack not in stacks:
            raise InputError(f"there is no stack {stack!r}: {', '.join(map(repr, stacks))} there is.")
        found = {site.layer: site for site in self.sites if site.stack == stack}
        wanted = layer if layer >= 0 else max(found) + 1 + layer
        if wanted not in found:
            numbers = sorted(found)
            whole = numbers == list(range(len(numbers)))
            raise InputError(
                f"layer {layer} is out of range: {'the ' + stack if stack else 'this trace'} has attention in layers "
                f"{f'0 to {numbers[-1]}' if whole else ', '.join(map(str, numbers))}."
            )
        return found[wanted]

    def query_tokens(self, site: Site) -> Tokens:
        """The tokens along the site's query axis."""
        return self.target if self.target is not None and site.stack in ("decoder", "cross") else self.tokens

    def key_tokens(self, site: Site) -> Tokens:
        """The tokens along the site's key axis."""
        return self.target if self.target is not None and site.stack == "decoder" else self.tokens

    def verify(self, full: bool = False, model: Any = None) -> Receipt:
        """Recompute every site's output and compare it with what the model returned.

        `full=True, model=...` runs the model again and checks every row of every site, not only those kept.
        """
        if not full:
            return self._receipt
        if model is None or self.inputs is None:
            raise NotCaptured(
                "verify(full=True) runs the model again: pass model=..., and use a trace that came from attnscope.trace "
                "(one loaded from a file or made of tensors no longer has the model's inputs)."
            )
        from attnscope.capturing import rerun

        return rerun(model, self)._receipt

    @cached_property
    def _receipt(self) -> Receipt:
        return Receipt(tuple(site.verify() for site in self.sites))

    def save(self, path: Any, projections: bool = False) -> None:
        """Write the trace to a .safetensors file, whole or not at all. `projections=True` stores W_O and b_O too."""
        from attnscope.payload import save

        save(self, path, projections=projections)

    def to_numpy(self) -> "dict[str, np.ndarray]":
        """Every kept tensor as fp32 numpy, named as in a file: {"s0.q": [H, Q, D], "s0.k": …}."""
        from attnscope.payload import arrays

        return arrays(self)

    def show(self, level: str = "neuron", **options: Any) -> Any:
        """A View of this trace; options as in attnscope.show: layer, head, query, key, stack, theme, static, max_mb."""
        from attnscope.api import show_trace

        return show_trace(self, level=level, **options)

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        return self.show()._repr_mimebundle_(**kwargs)

    @classmethod
    def from_qkv(
        cls,
        query: Any,
        key: Any,
        value: Any,
        tokens: Sequence[str] | Tokens | None = None,
        mask: Any = None,
        scaling: float | None = None,
        is_causal: bool = False,
    ) -> "Trace":
        """A trace of anybody's tensors: (T, D), (H, T, D) or a batch of one, torch or numpy.

        `mask` is boolean (True: may look) or additive and broadcasts to (H, Q, K). There is no model, so no receipt.
        Raises InputError where shapes do not fit.
        """
        q, k, v = (_as_heads(name, x) for name, x in (("query", query), ("key", key), ("value", value)))
        if q.shape[-1] != k.shape[-1] or k.shape[:2] != v.shape[:2] or q.shape[0] % k.shape[0]:
            raise InputError(
                "query [H, Q, D], key [Hkv, K, D] and value [Hkv, K, Dv] do not fit: "
                f"they are {list(q.shape)}, {list(k.shape)} and {list(v.shape)} (H must be a multiple of Hkv)."
            )
        rule, bias = _read_mask(mask, len(q), q.shape[1], k.shape[1])
        if is_causal:
            if mask is not None:
                raise InputError("mask and is_causal were both given; pass one of them.")
            rule = causal_rule(q.shape[1], k.shape[1])
        named = (
            tokens
            if isinstance(tokens, Tokens)
            else Tokens(tuple(map(str, range(k.shape[1]) if tokens is None else tokens)))
        )
        if len(named) != k.shape[1]:
            raise InputError(f"{len(named)} tokens were given for {k.shape[1]} keys; give one name for each.")
        crossed = q.shape[1] != k.shape[1]
        site = Site(
            q, k, v, q.shape[-1] ** -0.5 if scaling is None else scaling, path="from_qkv", mask=rule, position_bias=bias,
            kind="cross" if crossed else "self", stack="cross" if crossed else None,
            note="the tensors were handed in, so there is no model's output to compare with",
        )  # fmt: skip
        target = Tokens(tuple(map(str, range(q.shape[1])))) if crossed else None
        return cls((site,), named, target, ModelInfo(name="from_qkv", dtype=str(q.dtype).removeprefix("torch.")))

    def replace_sites(self, sites: Sequence[Site]) -> "Trace":
        """The same trace with other sites."""
        return replace(self, sites=tuple(sites))


def _as_tensor(name: str, value: Any) -> Tensor:
    try:
        return torch.as_tensor(value)
    except (TypeError, ValueError, RuntimeError):
        raise InputError(f"{name} must be a tensor or an array of numbers; {type(value).__name__} came.") from None


def _as_heads(name: str, tensor: Any) -> Float[Tensor, "H T D"]:
    x = _as_tensor(name, tensor).detach()
    if x.ndim == 4 and x.shape[0] == 1:
        x = x[0]
    if x.ndim == 2:
        x = x[None]
    if x.ndim != 3 or 0 in x.shape:
        raise InputError(
            f"{name} has shape {list(torch.as_tensor(tensor).shape)}; expected (T, D), (H, T, D) or (1, H, T, D), without "
            "empty axes. Of a batch of several, pass one row: x[i]."
        )
    return x if x.is_floating_point() else x.float()


def _read_mask(mask: Any, heads: int, queries: int, keys: int) -> tuple[MaskRule, BiasRule | None]:
    if mask is None:
        return NO_MASK, None
    tensor = _as_tensor("mask", mask)
    if tensor.dtype != torch.bool and not tensor.is_floating_point():
        raise InputError(
            f"mask has {tensor.dtype} numbers: make it boolean (True: may look) or a float that is added to the scores."
        )
    try:
        tensor = tensor[0] if tensor.ndim == 4 and len(tensor) == 1 else tensor
        tensor = tensor.expand(heads if tensor.ndim == 3 and len(tensor) > 1 else 1, queries, keys)
    except RuntimeError:
        raise InputError(
            f"mask has shape {list(tensor.shape)}, which does not broadcast to (H, Q, K) = ({heads}, {queries}, {keys})."
        ) from None
    if tensor.dtype == torch.bool:
        return rule_of(tensor), None
    allowed, bias, uniform = split_additive(tensor)
    return rule_of(allowed, uniform), None if bias is None else bias_rule_of(bias.float())
