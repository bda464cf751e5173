"""Site: one attention call, and everything that follows from it.

A site is its q, k, v as the model used them and the extras of that call (scaling, softcap, bias, mask, sinks). Scores
and weights are not stored; they are computed, by `attnscope.attention`, for the head and the rows that you ask
for. `verify` recomputes the output and compares it with what the model itself returned.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from attnscope.attention import AttentionSteps, project_output
from attnscope.attention.functions import key_shares
from attnscope.attention.precision import without_autocast
from attnscope.errors import InputError, NotCaptured
from attnscope.text.characters import printable
from attnscope.tracing.at_hand import check_at_hand
from attnscope.tracing.biases import BiasRule
from attnscope.tracing.head_projection import HeadProjection
from attnscope.tracing.masks import NO_MASK, MaskRule
from attnscope.tracing.output_projection import Projection, StoredWrites
from attnscope.tracing.places import is_number, parse_head as parse_head
from attnscope.tracing.query_blocks import query_blocks
from attnscope.tracing.receipts import SiteReceipt, receipt_of
from attnscope.tracing.steps import Step, steps_of
from attnscope.tracing.tokens import Tokens


@dataclass(frozen=True, eq=False)
class Site:
    """One attention call of one `layer`: q, k and v as the model used them, and the extras of that call.

    `q`: [H, Q, D]. `k`: [Hkv, K, D]. `v`: [Hkv, K, Dv]. After rotary embedding, before key/value heads are repeated, in
        the model's dtype. Everything computed is fp32.
    `scaling`: what q · k is multiplied by. `softcap`: scores are bent into (-softcap, softcap); None: they are not.
    `path`, `call`: the module's path, and which of its calls in this pass, from 0.
    `kind`: "self" or "cross". `stack`: "encoder", "decoder", "cross", a tower's name, or None where there is one stack.
    `layer`: its number in the stack, from 0.
    `mask`: which keys each query may see. `position_bias`: added to the scores. `sinks`: [H] logits that join the
        softmax.
    `z`, `z_rows`: the head outputs that the model returned, [H, R, Dv], and which R queries they are of.
    `projection`: W_O and b_O. `w_q`, `w_k`, `w_v`: the layers that make q, k and v. None where they were not found or
        kept.
    `x`: the module's input, [Q, M]. `x_keys`: what k and v are made of where that is something else, [K, Mk].
    `pre_rotary_q`, `pre_rotary_k`, `pre_norm_q`, `pre_norm_k`: q and k before their rotary embedding, and before a
        norm.
    `written`, `written_rows`: what the output projection returned, [W, M], and which W queries that is of.
        `no_projection`: why a layer that takes the heads' output gives no W_O.
    `stored`: ‖v · W_O[h]‖ and the like from a file that holds no W_O.
    `dtype`: the model's, where q was stored in another. `note`: what a reader must know.
    `named`: the tokens along its queries and along its keys, where they are not the trace's own (a tower for images).
    `offset`: the position of query 0 among the keys, where shapes alone would tell it wrong; None: by the shapes.
    `query_tokens`: the tokens along the query axis (of the whole text, with a cache); a Trace fills them in.
    """

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
    x_keys: Float[Tensor, "K Mk"] | None = field(default=None, repr=False)  # where k and v are made of something else
    w_q: HeadProjection | None = field(default=None, repr=False)
    w_k: HeadProjection | None = field(default=None, repr=False)
    w_v: HeadProjection | None = field(default=None, repr=False)
    pre_norm_q: Float[Tensor, "H Q D"] | None = field(default=None, repr=False)
    pre_norm_k: Float[Tensor, "Hkv K D"] | None = field(default=None, repr=False)
    stored: StoredWrites | None = field(default=None, repr=False)
    written: Float[Tensor, "W M"] | None = field(default=None, repr=False)
    written_rows: Int[Tensor, " W"] | None = field(default=None, repr=False)
    no_projection: str = field(default="", repr=False)
    dtype: torch.dtype | None = None  # the model's, where q was stored in another
    note: str = ""
    named: tuple[Tokens, Tokens] | None = field(default=None, repr=False)
    offset: int | None = None
    query_tokens: Tokens | None = field(default=None, repr=False)

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
        """H, the query heads."""
        return self.q.shape[0]

    @property
    def kv_heads(self) -> int:
        """Hkv, the key/value heads, which groups of query heads share."""
        return self.k.shape[0]

    @property
    def queries(self) -> int:
        """Q: how many queries this call had."""
        return self.q.shape[1]

    @property
    def keys(self) -> int:
        """K: how many keys they may look at."""
        return self.k.shape[1]

    @property
    def query_offset(self) -> int:
        """The position of query 0 among the keys: above 0 in a cached step, where earlier tokens are keys only."""
        if self.offset is not None:
            return self.offset
        return self.keys - self.queries if self.kind == "self" and self.keys > self.queries else 0

    @property
    def head_size(self) -> int:
        """D: numbers in a query and in a key."""
        return self.q.shape[2]

    @property
    def value_size(self) -> int:
        """Dv: numbers in a value."""
        return self.v.shape[2]

    @property
    def scaled_by_model(self) -> bool:
        """True where the call's scaling is 1: the model scales q before the call (OPT, Whisper) or not at all (T5)."""
        return self.scaling == 1.0 and self.head_size > 1

    @property
    def name(self) -> str:
        """For people: "layer 3", "decoder layer 0"."""
        return f"{printable(self.stack)} layer {self.layer}" if self.stack else f"layer {self.layer}"

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

    def _head(self, head: Any) -> int:
        _, number = parse_head(head, self.layer)
        if number is None:
            raise InputError(f'expected head as a number or a name such as "L{self.layer}H0", got None.')
        if not -self.heads <= number < self.heads:
            raise InputError(
                f"head {number} is out of range: {self.name} has {self.heads} heads, so head goes from 0 to {self.heads - 1}."
            )
        return number % self.heads

    def _row(self, query: Any) -> int:
        """The row of one `query`: a number, or a token as written."""
        if isinstance(query, str):
            if self.query_tokens is None:
                raise InputError(
                    f'query "{query}" is a token, and this site has no tokens. Give a row, 0 to {self.queries - 1}.'
                )
            position, first = self.query_tokens.find(query, "query"), self.query_offset
            if not first <= position < first + self.queries:
                raise InputError(
                    f'query "{query}" is token {position}, which is not in this pass: expected a token from {first} to '
                    f"{first + self.queries - 1}. The earlier ones were read by an earlier pass."
                )
            return position - first
        if is_number(query) and -self.queries <= int(query) < self.queries:
            return int(query) % self.queries
        raise InputError(
            f"query {query} is out of range: {self.name} has {self.queries} queries, 0 to {self.queries - 1}. A token as "
            "written is understood as well."
        )

    def _rows(self, queries: Any) -> Shaped[Tensor, " q"]:
        rows = torch.arange(self.queries)
        if queries is None:
            return rows
        if isinstance(queries, (slice, Tensor)):
            try:
                return rows[queries.cpu() if isinstance(queries, Tensor) else queries].reshape(-1)
            except (IndexError, TypeError):
                raise InputError(
                    f"query {queries} is out of range: {self.name} has {self.queries} queries, 0 to {self.queries - 1}."
                ) from None
        several = isinstance(queries, Iterable) and not isinstance(queries, str)
        return torch.tensor([self._row(query) for query in (queries if several else [queries])], dtype=torch.long)

    def chain(self, head: Any = None, queries: Any = None) -> AttentionSteps:
        """Every link of the chain, fp32: [q, K] and [q, D] for one head, [H, q, K] and [H, q, D] for all. Each is
        computed when it is first read.

        `head`: a number from 0, or a name such as "L2H8"; None for all heads.
        `queries`: a row (from 0; negative ones count from the end), a token as written, several of these, a slice, or a
            tensor of rows; None for all.

        Raises InputError for a head or a query that is not there, NotCaptured where q, k or v were freed or moved apart.
        """
        check_at_hand(self)
        rows, device = self._rows(queries), self.q.device
        number = None if head is None else self._head(head)
        chosen: Any = slice(None) if number is None else number
        group: Any = slice(None) if number is None else number // (self.heads // self.kv_heads)
        sinks = None if self.sinks is None else self.sinks[chosen].float()[..., None, None]
        bias, allowed = self.position_bias, None
        if not self.mask.is_empty:
            allowed = self.mask.allowed(rows, self.keys, number).to(device)
        return AttentionSteps(
            self.q[chosen][..., rows.to(device), :].float(),
            self.k[group],
            self.v[group],
            self.scaling,
            self.softcap,
            None if bias is None else bias.values(rows, self.queries, self.keys, number).to(device),
            allowed,
            self.mask.fill,
            sinks,
        )

    def dot(self, head: Any = None, queries: Any = None) -> Float[Tensor, "*H q K"]:
        """q · k: [q, K] for one head, [H, q, K] for all. `head` and `queries` as in `chain`."""
        return self.chain(head, queries).dot

    def scores(self, head: Any = None, queries: Any = None) -> Float[Tensor, "*H q K"]:
        """What enters the softmax: scaled, capped, biased and masked (-inf where a key may not be seen).

        [q, K] for one head, [H, q, K] for all. `head` and `queries` as in `chain`.
        """
        return self.chain(head, queries).masked

    def weights(self, head: Any = None, queries: Any = None) -> Float[Tensor, "*H q K"]:
        """What leaves the softmax: how each query spreads its attention over the keys. Rows sum to 1 (less with sinks).

        [q, K] for one head, [H, q, K] for all. `head` and `queries` as in `chain`.
        """
        return self.chain(head, queries).weights

    def output(self, head: Any = None, queries: Any = None) -> Float[Tensor, "*H q Dv"]:
        """z = weights · v: [q, Dv] for one head, [H, q, Dv] for all. `head` and `queries` as in `chain`."""
        rows = self._rows(queries)
        heads = self.heads if head is None else 1
        parts = [self.chain(head, rows[block]).output for block in query_blocks(len(rows), self.keys, heads)]
        return torch.cat(parts, dim=-2)

    @without_autocast
    def write(self, head: Any = None, queries: Any = None) -> Float[Tensor, "*H q M"]:
        """What the head writes into the residual stream: z · W_O[h] (b_O belongs to no head).

        [q, M] for one head, [H, q, M] for all. `head` and `queries` as in `chain`. Raises NotCaptured without W_O.
        """
        output = self.output(head, queries)
        blocks = self.output_projection().to(output.device)
        return project_output(output, blocks if head is None else blocks[self._head(head)])

    def output_projection(self) -> Float[Tensor, "H Dv M"]:
        """W_O by head. Raises NotCaptured where it was not found or not saved."""
        if self.projection is None and self.no_projection:
            raise NotCaptured(
                f"{self.name} has no output projection W_O that can be vouched for: {self.no_projection}. Its weights, scores "
                "and outputs are not concerned. Of an adapter, merge it into the model and trace again."
            )
        if self.projection is None:
            raise NotCaptured(
                f"{self.name} has no output projection W_O: either no linear layer took this site's output as it is (a gate "
                "or a norm stands between), or the trace was loaded from a file saved without it. Trace the model again, or "
                "save with trace.save(path, projections=True)."
            )
        return self.projection.heads(self.heads)

    def norms(self, head: Any = None) -> tuple[str, Float[Tensor, "*H K"]]:
        """("output", ‖v · W_O[h]‖) for every head and key, or ("value", ‖v‖) where W_O is unknown.

        weight · norm is the size of what a key adds to the head's output (Kobayashi et al. 2020, equation 2). [K] for one
        head, [H, K] for all; `head` as in `chain`.
        """
        if head is not None:
            found, norms = self._norms([self._head(head)])
            return found, norms[0]
        state = None if self.projection is None else self.projection.state
        known = self.__dict__.get("_known_norms")
        if known is None or state is None or known[0] != state:
            known = self.__dict__["_known_norms"] = (state, self._norms(list(range(self.heads))))
        return known[1]

    @without_autocast
    def _norms(self, heads: list[int]) -> tuple[str, Float[Tensor, "h K"]]:
        if self.stored is not None and self.projection is None:
            return "output", self.stored.norms[heads]
        values = [self.v[head // (self.heads // self.kv_heads)] for head in heads]
        if self.projection is None:
            return "value", torch.stack([value.float().norm(dim=-1) for value in values])
        blocks = self.projection.blocks(self.heads, heads).float()
        if self.keys > 2 * self.value_size:
            # W_O[h]ᵀ = Q · R, and Q keeps lengths: ‖v · W_O[h]‖ = ‖v · Rᵀ‖, of Dv numbers instead of M
            blocks = torch.linalg.qr(blocks.mT.cpu(), mode="r").R.mT
        blocks = blocks.to(self.v.device)
        norms = torch.empty(len(heads), self.keys, device=self.v.device)
        written = norms.new_empty(self.keys, blocks.shape[-1])  # the same memory for every head
        with torch.no_grad():
            for value, block, out in zip(values, blocks, norms, strict=True):
                torch.mm(value.float(), block, out=written)
                torch.linalg.vector_norm(written, dim=-1, out=out)
        return "output", norms

    def share(self, head: Any = None, query: Any = None) -> Float[Tensor, "*H K"]:
        """Each key's share of the head's output for one `query`: weight · norm (see `norms`) over the sum of these.

        [K] for one head, [H, K] for all; parts of 1. `head` as in `chain`. `query`: a row, or a token as written; it
        must be given. Raises InputError for a head or a query that is not there.
        """
        return key_shares(self.weights(head, self._row(query))[..., 0, :], self.norms(head)[1])

    def steps(self, head: Any, query: Any) -> tuple[Step, ...]:
        """The chain for one query, every step named, shaped and valued: from x where the trace kept it
        (keep={"x", "pre_rotary", "projections"}), else from q, k and v, to what the head writes.

        `head`: a number from 0, or a name such as "L2H8". `query`: a row, or a token as written. Raises InputError for
        those that are not there.
        """
        return steps_of(self, self._head(head), self._row(query))

    # --- proof ----------------------------------------------------------------------------------------------------

    def verify(self) -> SiteReceipt:
        """Recompute the output of the kept rows and compare it with what the implementation returned."""
        return receipt_of(self, lambda rows: self.chain(None, rows).output)
