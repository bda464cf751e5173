"""One call, edited: q, k and v before attention runs, scores, weights and z after it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from attnscope.capturing.listen.attention_interface import AttentionCall
from attnscope.capturing.read.attention_call import BatchRules
from attnscope.editing.bound import Bound, check_length, groups_of, named, pairs_of, where_of
from attnscope.editing.recompute import Recomputed
from attnscope.editing.rules import INPUTS, OF_KEYS, RECOMPUTED, Along, Put, Rule, Times
from attnscope.errors import InputError
from attnscope.tracing.output_projection import Projection


@dataclass(frozen=True)
class Done:
    """What was done in a call. `call`: as its module got it. `reference`: z without edits, [B, Q, H, Dv]; `touched`: where z may differ
    from it, [B, H, Q]."""

    call: AttentionCall
    reference: Tensor
    touched: Bool[Tensor, "B H Q"]


class EditedCall:
    """A visit (capturing/listen/attention_interface.py) to one call. `bound`: the rules that hold for it. `masks`: reads its masks and
    biases. `module`: its path. `done`, `wrote`: get what was done, and what W_O made of it where the call names it. `again`: whether q, k, v as they were are run too, for the receipt."""

    def __init__(
        self,
        bound: Sequence[Bound],
        masks: Callable[[AttentionCall], BatchRules],
        module: str,
        done: Callable[[Done], None],
        wrote: Callable[[Projection, Tensor], None],
        again: bool,
    ) -> None:
        self._bound, self._masks, self._module, self._done, self._again = bound, masks, module, done, again
        self._wrote = wrote
        self._inputs_changed: set[int] = set()  # heads whose q, k or v did
        self._fired: dict[int, Rule] = {}

    def inputs(self, query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """q, k and v with the rules of these links: the same tensors where there are none."""
        given = {"q": query, "k": key, "v": value}
        heads, groups = query.shape[1], key.shape[1]
        for bound in self._bound:
            change = bound.rule.change
            if not isinstance(change, Put) or change.link not in INPUTS:
                continue
            own = groups_of(bound, heads, groups) if change.link in OF_KEYS else bound.heads
            old = given[change.link][:, own]
            new = self._put(bound, change, own, old)
            if new is not None:
                given[change.link] = _with(given[change.link], own, new)
                self._inputs_changed |= set(bound.heads)
        return given["q"], given["k"], given["v"]

    def output(
        self, call: AttentionCall, weights: Any, untouched: Callable[[], Tensor] | None
    ) -> tuple[AttentionCall, Any]:
        """The call with z as the rules have it, and the weights beside it."""
        reference, z = call.output, call.output
        touched = torch.zeros(z.shape[0], z.shape[2], z.shape[1], dtype=torch.bool)
        if self._inputs_changed:
            touched[:, [*self._inputs_changed]] = True
            reference = untouched() if self._again and untouched is not None else call.output
        if any(bound.rule.change.link in RECOMPUTED for bound in self._bound):
            z, weights = self._recomputed(call, z, weights, touched)
        for bound in self._bound:
            if bound.rule.change.link == "z":
                z = self._edited_z(bound, z, touched)
        if not self._fired:
            return call, weights
        names = "; ".join(rule.name for rule in self._fired.values())
        altered = any(rule.change.link not in INPUTS for rule in self._fired.values())
        made = replace(call, output=z, edited=f"edited by attnscope.edit: {names}", altered=altered)
        for rule in self._fired.values():
            rule.fired += 1
        self._done(Done(made, reference, touched))
        return made, weights

    def wrote(self, projection: Projection, written: Tensor) -> None:
        """What W_O made of the output, where the call names it."""
        self._wrote(projection, written)

    def _edited_z(self, bound: Bound, z: Tensor, touched: Tensor) -> Tensor:
        own, change = list(bound.heads), bound.rule.change
        old = z[:, :, own].transpose(1, 2)  # [B, h, Q, Dv]
        toward = change.toward if isinstance(change, Along) else change
        if isinstance(toward, Times):
            made = torch.zeros_like(old) if toward.factor == 0 else old * toward.factor
            where = self._where(bound, z.shape[0], torch.ones(z.shape[1], dtype=torch.bool))
            new = self._mixed(made, old, where, bound)
        else:
            assert isinstance(toward, Put)
            where = self._where(bound, z.shape[0], self._covered(bound, toward))
            new = self._put(bound, toward, own, old)
        if isinstance(change, Along) and new is not None:  # α − 1 is 0, so z stays as it is, to the last bit
            alpha = change.at(bound.place, z.shape[2], z)[own].to(z.dtype)
            new = old + (alpha - 1)[:, None, None] * (old - new).detach()
        if new is None:
            return z
        touched[:, own] |= where[:, None]
        made = z.clone()
        made[:, :, own] = new.transpose(1, 2)
        return made

    def _put(self, bound: Bound, change: Put, own: Sequence[int], old: Float[Tensor, "B h T D"]) -> Tensor | None:
        """What `change` puts in the place of some heads' vectors; None where that is nothing here."""
        vectors = change.of(bound.place)
        if vectors is None:
            raise InputError(
                f"{bound.rule.name} has nothing for {named(bound.place)}: what it puts there was kept of other layers only. Trace all "
                "layers."
            )
        if vectors.shape[2] != old.shape[3]:
            raise InputError(
                f"{bound.rule.name}: expected vectors of {old.shape[3]} numbers, got {vectors.shape[2]}. Take them from the same model."
            )
        index, covered = self._sources(bound, change, vectors.shape[1])
        new = vectors[list(own)][:, index].to(old.device, old.dtype).expand(old.shape)
        return self._mixed(new, old, self._where(bound, len(old), covered), bound)

    def _covered(self, bound: Bound, change: Put) -> Bool[Tensor, " T"]:
        vectors = change.of(bound.place)
        assert vectors is not None
        return self._sources(bound, change, vectors.shape[1])[1]

    def _sources(self, bound: Bound, change: Put, length: int) -> tuple[Int[Tensor, " T"], Bool[Tensor, " T"]]:
        """Of each query (or key), which of `length` vectors it gets, and whether it gets one."""
        here, of_keys = bound.here, change.link in OF_KEYS
        side = here.keys if of_keys else here.queries
        if change.align is not None:
            found = torch.tensor([change.align.get(position, -1) for position in side.tolist()])
            if bool((found >= length).any()):
                raise InputError(
                    f"{bound.rule.name}: align= names position {int(found.max())}, and there are {length}."
                )
            return found.clamp_min(0), found >= 0
        if length == 1 and not change.exact:
            return torch.zeros_like(side), torch.ones_like(side, dtype=torch.bool)
        check_length(bound, length, here.began_keys if of_keys else here.began, change.exact)
        return side.clamp(0, length - 1), (side >= 0) & (side < length)

    def _where(self, bound: Bound, batch: int, covered: Bool[Tensor, " T"]) -> Bool[Tensor, "B T"]:
        """Where a rule holds, in every row of the batch."""
        return where_of(bound, batch, covered)

    def _mixed(self, new: Tensor, old: Tensor, where: Bool[Tensor, "B T"], bound: Bound) -> Tensor | None:
        if not bool(where.any()):
            return None
        self._fired[id(bound.rule)] = bound.rule
        return new if bool(where.all()) else torch.where(where.to(old.device)[:, None, :, None], new, old)

    def _recomputed(self, call: AttentionCall, z: Tensor, weights: Any, touched: Tensor) -> tuple[Tensor, Any]:
        """z and the weights after rules of scores and of weights."""
        batch, queries, keys = z.shape[0], z.shape[1], call.key.shape[2]
        bound = [one for one in self._bound if one.rule.change.link in RECOMPUTED]
        chosen = [(one, *pairs_of(one, batch, queries, keys)) for one in bound]
        recomputed = Recomputed(call, self._masks(call), self._module)
        z = z.clone()
        weights = None if weights is None else weights.clone()
        for head in sorted({head for one in bound for head in one.heads}):
            for row in range(batch):
                edits = [
                    (one.rule, None if rows is None else rows[row], what(row, head))
                    for one, rows, what in chosen
                    if head in one.heads and one.rule.row in (None, row)
                ]
                if not edits:
                    continue
                where, new, own = recomputed.of(row, head, edits)
                if not len(where):
                    continue
                for rule, *_ in edits:
                    self._fired[id(rule)] = rule
                z[row, where.to(z.device), head] = new.to(z.dtype)
                touched[row, head, where] = True
                if weights is not None:
                    weights[row, head, where.to(weights.device)] = own.to(weights.dtype)
        return z, weights


def _with(x: Tensor, heads: Sequence[int], new: Tensor) -> Tensor:
    """`x` with other vectors in some heads, [B, H, T, D]."""
    made = x.clone()
    made[:, list(heads)] = new
    return made
