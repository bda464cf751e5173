"""The heads whose scores or weights are edited, computed again: by the same chain as everything else (attnscope.attention).

The model's own kernel takes no edit between q · k and z. So z of an edited head is computed here, for the queries that the edit
is of, and first without the edit: where that is not what the model's call returned, the edit is refused.
"""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from attnscope.attention import AttentionSteps, attention_steps
from attnscope.attention.functions import softmax_over_keys, weighted_sum
from attnscope.attention.precision import without_autocast
from attnscope.capturing.listen.attention_interface import AttentionCall
from attnscope.capturing.read.attention_call import BatchRules, dropout_of, read_sinks, scaling_of
from attnscope.editing.rules import Cut, Rule, Share, Weights
from attnscope.errors import CaptureError, InputError
from attnscope.tracing.query_blocks import query_blocks
from attnscope.tracing.receipts import tolerance_of

CHECKED_ROWS = 4
NEAR_ONE = 1e-3  # how far the sum of a row of weights may be from 1

Rows = Bool[Tensor, " Q"]


def chain(call: AttentionCall, rules: BatchRules, row: int, head: int, queries: Int[Tensor, " q"]) -> AttentionSteps:
    """The chain of one head of a call, at some queries, in fp32 (fp64 in a model of fp64). `row`: of the batch. `rules`: the masks and biases of the
    call."""
    mask, bias = rules.row(row)
    keys, device = call.key.shape[2], call.query.device
    group = head * call.key.shape[1] // call.query.shape[1]
    q, k, v = _exact(call.query[row, head]), _exact(call.key[row, group]), _exact(call.value[row, group])
    sinks = read_sinks(call)
    return attention_steps(
        q[queries.to(device)],
        k,
        v,
        scaling=scaling_of(call),
        softcap=call.options.get("softcap"),
        position_bias=None if bias is None else bias.values(queries, call.query.shape[2], keys, head).to(device),
        allowed=None if mask.is_empty else mask.allowed(queries, keys, head).to(device),
        fill=mask.fill,
        sinks=None if sinks is None else _exact(sinks[head]).reshape(1, 1),
    )


class Recomputed:
    """Edited heads of one `call`, computed again. `rules`: its masks and biases. `module`: its path, for errors."""

    def __init__(self, call: AttentionCall, rules: BatchRules, module: str) -> None:
        if dropout_of(call):
            raise CaptureError(
                f"dropout is active in {module}, so a head cannot be computed again with other weights: call model.eval() first."
            )
        self._call, self._rules, self._module = call, rules, module

    @without_autocast
    def of(
        self, row: int, head: int, edits: Sequence[tuple[Rule, Rows | None, Bool[Tensor, "Q K"] | Tensor | None]]
    ) -> tuple[Int[Tensor, " q"], Float[Tensor, "q Dv"], Float[Tensor, "q K"]]:
        """The queries that the edits are of, and z and the weights there. `edits`: each rule with its queries and, of a cut, the pairs that it
        cuts, or the weights of this call, [Q, K] with NaN where there are none."""
        count = self._call.query.shape[2]
        touched = torch.zeros(count, dtype=torch.bool)
        for _, rows, what in edits:
            own = torch.ones(count, dtype=torch.bool) if rows is None else rows.clone()
            if what is not None:
                own &= what.any(1) if what.dtype == torch.bool else ~what.isnan().any(1)
            touched |= own
        queries = touched.nonzero()[:, 0]
        made_z, made_weights = [], []
        self._check(row, head, queries)
        for block in query_blocks(len(queries), self._call.key.shape[2]):
            z, weights = self._block(row, head, queries[block], edits)
            made_z.append(z)
            made_weights.append(weights)
        if not made_z:
            size = self._call.value.shape[-1]
            return queries, self._call.query.new_zeros(0, size), self._call.query.new_zeros(0, self._call.key.shape[2])
        return queries, torch.cat(made_z), torch.cat(made_weights)

    def _block(
        self, row: int, head: int, queries: Int[Tensor, " q"], edits: Sequence[tuple[Rule, Rows | None, Tensor | None]]
    ) -> tuple[Tensor, Tensor]:
        steps = chain(self._call, self._rules, row, head, queries)
        seen = steps.masked > -math.inf
        seen = seen & (steps.masked > torch.finfo(torch.float32).min)
        cut = torch.zeros_like(seen)
        for rule, _, what in edits:
            if isinstance(rule.change, Cut) and what is not None:
                cut |= what[queries].to(seen.device) & seen
        gone = seen.any(1) & ~(seen & ~cut).any(1)
        if bool(gone.any()):
            raise InputError(
                f"{_named(edits, Cut)} leaves query {int(queries[gone.cpu()][0])} (counted in this call) of head {head} in "
                f"{self._module} no key, so it has no weights. Leave it one: itself, or the first token."
            )
        sinks = read_sinks(self._call)
        column = None if sinks is None else _exact(sinks[head]).reshape(1, 1)
        weights = steps.weights
        if bool(cut.any()):
            weights = softmax_over_keys(torch.where(cut, -math.inf, steps.masked), column)
        for rule, rows, what in edits:
            if isinstance(rule.change, Share) and what is not None:
                own = what[queries].to(weights.device)
                weights = _shared(weights, own, seen & ~cut, rule.change, rule.name)
            if not isinstance(rule.change, Weights):
                continue
            chosen = seen.any(1).cpu()  # a query of padding may have no key
            chosen &= chosen if rows is None else rows[queries]
            if what is None:
                free = (seen & ~cut).to(weights.dtype)
                new = free / free.sum(1, keepdim=True).clamp_min(1)
            else:
                new = what[queries].to(weights.device, weights.dtype)
                chosen = chosen & ~new.isnan().any(1).cpu()
                if bool(((new > 0) & ~seen)[chosen.to(seen.device)].any()):
                    raise InputError(
                        f"{rule.name} gives weight to a key that its query may not see (a later token, padding). Give weights that "
                        "are 0 there."
                    )
                new = new.nan_to_num(0.0)
            weights = torch.where(chosen.to(weights.device)[:, None], new, weights)
        return weighted_sum(weights, steps.value), weights

    def _check(self, row: int, head: int, queries: Int[Tensor, " q"]) -> None:
        """Does the chain without the edit give what the model's call returned?"""
        if not len(queries):
            return
        some = queries[torch.linspace(0, len(queries) - 1, min(len(queries), CHECKED_ROWS)).round().long().unique()]
        with torch.no_grad():
            made = chain(self._call, self._rules, row, head, some).output
        returned = _exact(self._call.output.detach()[row, some.to(self._call.output.device), head])
        finite = torch.isfinite(returned) & torch.isfinite(made)
        error = float((made - returned)[finite].abs().max()) if bool(finite.any()) else 0.0
        largest = float(returned[finite].abs().max()) if bool(finite.any()) else 0.0
        tolerance = tolerance_of(self._call.query.dtype, self._call.output.dtype)
        if not error <= tolerance * max(largest, 1e-30):
            raise CaptureError(
                f"head {head} of {self._module} cannot be computed again (error {error:.1e} of {largest:.1e}), so its scores and weights "
                "cannot be edited. off, times, mean and patch of z leave them to the model."
            )


def _shared(
    weights: Float[Tensor, "q K"], own: Bool[Tensor, "q K"], seen: Bool[Tensor, "q K"], change: Share, name: str
) -> Float[Tensor, "q K"]:
    """Weights of which those on `own` keys sum to the change's, the proportions on either side as they were. `seen`: the keys that a query may look at.
    `name`: of its rule."""
    weight, named, hidden = change.weight, change.query is not None, own & ~seen
    if named and weight > 0 and bool(hidden.any()):
        raise InputError(
            f"{name} gives weight to a key that its query may not see (a later token, padding, one that was cut). Name another key."
        )
    own = own & seen
    rest = seen & ~own
    asked, alone = own.any(1, keepdim=True), ~rest.any(1, keepdim=True)
    if named and weight < 1 and bool((asked & alone).any()):
        raise InputError(f"{name} leaves weight to other keys, and its query sees no other: its weight is 1.")
    on, off = (torch.where(where, weights, 0.0).sum(1, keepdim=True) for where in (own, rest))
    sink = (1 - weights.sum(1, keepdim=True)).clamp_min(0)  # of models that have one; it shares the rest too
    even = [where / where.sum(1, keepdim=True).clamp_min(1) for where in (own, rest)]
    new = torch.where(own, torch.where(on > 0, weights / on.clamp_min(1e-30), even[0]) * weight, 0.0)
    others = torch.where(off > 0, weights / (off + sink).clamp_min(1e-30), even[1]) * (1 - weight)
    return torch.where(asked & ~alone, torch.where(rest, others, new), weights)


def _named(edits: Sequence[tuple[Rule, Rows | None, Tensor | None]], kind: type) -> str:
    return next(rule.name for rule, *_ in edits if isinstance(rule.change, kind))


def _exact(x: Tensor) -> Tensor:
    """In fp32, or as it is in fp64."""
    return x if x.dtype == torch.float64 else x.float()
