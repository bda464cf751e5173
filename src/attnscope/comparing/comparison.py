"""Two traces beside each other: two texts, or two checkpoints. What belongs together, and how much each head changed."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from attnscope.comparing.alignment import Alignment, align
from attnscope.comparing.head_changes import Beside, HeadChange, SiteChange, changes_of
from attnscope.errors import InputError
from attnscope.tracing.site import Site
from attnscope.tracing.trace import Trace


@dataclass(frozen=True, eq=False)
class Comparison:
    """B beside A. `alignment` says which tokens belong together (`target_alignment` those of a decoder), `notes` what
    cannot be compared, `heads` how much each head changed."""

    a: Trace
    b: Trace
    alignment: Alignment
    target_alignment: Alignment | None
    besides: tuple[Beside, ...]
    notes: tuple[str, ...]

    def __repr__(self) -> str:
        first = self.heads[0]
        most = "" if first.change is None else f"; {first.name} changed most, by {100 * first.change:.1f} %"
        return f"Comparison({len(self.heads)} heads{most}. {self.alignment})"

    @cached_property
    def changes(self) -> tuple[SiteChange, ...]:
        """Of every layer that both traces have, in the order of A."""
        return changes_of(self.besides)

    @cached_property
    def heads(self) -> tuple[HeadChange, ...]:
        """Every head that both traces have, most changed first; those that cannot be compared last."""
        every = [head for site in self.changes for head in site.heads]
        return tuple(sorted(every, key=lambda head: -1.0 if head.change is None else head.change, reverse=True))

    def difference(self, layer: int, head: int | str, stack: str | None = None) -> Float[Tensor, "q k"]:
        """Weights of B minus weights of A, between the tokens that both texts have (`alignment.pairs`, the queries and
        keys of that layer), fp32. Raises InputError for a layer or head that the two do not share."""
        beside = self.beside(layer, stack)
        number = beside.a._head(head)
        if number >= beside.heads:
            raise InputError(f"head {number} of {beside.a.name} is not in both traces: they share heads 0 to {beside.heads - 1}.")  # fmt: skip
        rows = beside.rows()
        keys = [(i, j) for i, j in beside.keys.pairs if i < beside.a.keys and j < beside.b.keys]
        columns_a, columns_b = torch.tensor(keys, dtype=torch.long).reshape(-1, 2).unbind(1)
        before = beside.a.weights(number, rows[:, 1]).cpu()[:, columns_a]
        return beside.b.weights(number, rows[:, 2]).cpu()[:, columns_b] - before

    def beside(self, layer: int, stack: str | None = None) -> Beside:
        """A layer of both. Raises InputError where one of them does not have it."""
        site = self.a.site(layer, stack)
        for one in self.besides:
            if one.a is site:
                return one
        here = ", ".join(one.a.name for one in self.besides)
        raise InputError(f"{site.name} is not in both traces: they share {here}.")

    def places(self, where: Any) -> tuple[tuple, tuple]:
        """Queries and keys of the layer of a state or a site: (position in A, position in B) along the merged row."""
        for one in self.besides:
            if (one.a.layer, one.a.stack) == (where.layer, where.stack):
                return one.queries.places, one.keys.places
        return self.besides[0].queries.places, self.besides[0].keys.places

    def show(self, level: str = "model", **options: Any) -> Any:
        """A View of both: side "a", "b" or "difference" (the default), where layers, heads, queries and keys are those of
        A; `head` may be a name such as "L2H8". Without a place it opens at the head that changed most. Other options as
        in attnscope.show; max_mb is for both together."""
        import attnscope

        return attnscope.api.show_comparison(self, level=level, **options)

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        return self.show()._repr_mimebundle_(**kwargs)


def comparison_of(a: Any, b: Any) -> Comparison:
    """Lay two traces beside each other. Raises InputError where they have no token or no layer in common."""
    for name, trace in (("first", a), ("second", b)):
        if not isinstance(trace, Trace):
            raise InputError(f"compare takes two traces; the {name} is a {type(trace).__name__}. Make one with attnscope.trace(model, tokenizer, text).")  # fmt: skip
    tokens = align(a.tokens, b.tokens)
    target = None if a.target is None or b.target is None else align(a.target, b.target)
    besides, notes = [], []
    others = dict(_named(b))
    missing = []
    for name, site in _named(a):
        other = others.pop(name, None)
        if other is None:
            missing.append(site)
            continue
        queries = target if a.query_tokens(site) is a.target else tokens
        keys = target if a.key_tokens(site) is a.target else tokens
        if queries is None or keys is None or site.kind != other.kind:
            missing.append(site)
            continue
        besides.append(Beside(site, other, queries, keys))
    if not besides:
        raise InputError(f"the two traces have no layer in common: A is {a!r} and B is {b!r}.")
    for side, sites in (("A", missing), ("B", list(others.values()))):
        if sites:
            notes.append(f"Only in {side}, so not compared: {', '.join(site.name for site in sites)}.")
    unequal = [one for one in besides if one.a.heads != one.b.heads]
    if unequal:
        one = unequal[0]
        notes.append(f"{one.a.name} has {one.a.heads} heads in A and {one.b.heads} in B: heads 0 to {one.heads - 1} are compared, each with the one of its number.")  # fmt: skip
    if any(one.a.weights_only != one.b.weights_only for one in besides):
        notes.append("One of the traces holds weights only: weights are compared, and scores are shown where they are.")
    return Comparison(a, b, tokens, target, tuple(besides), tuple(notes))


def _named(trace: Trace) -> Iterator[tuple[tuple[str | None, int, int], Site]]:
    """Sites by stack, layer and which call of it."""
    seen: dict[tuple[str | None, int], int] = {}
    for site in trace.sites:
        place = (site.stack, site.layer)
        seen[place] = seen.get(place, -1) + 1
        yield (*place, seen[place]), site
