"""Two traces compared: two texts, or two checkpoints. What belongs together, and how much each head changed."""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from attnscope.comparing.alignment import Alignment, align
from attnscope.comparing.head_changes import HeadChange, SiteChange, SitePair, changes_of
from attnscope.errors import InputError
from attnscope.statistics.frames import data_frame
from attnscope.text.characters import printable
from attnscope.tracing.site import Site
from attnscope.tracing.tokens import Tokens
from attnscope.tracing.trace import Trace


@dataclass(frozen=True, eq=False)
class Comparison:
    """Trace `b` against trace `a`; attnscope.compare makes it.

    `alignment`: which tokens belong together; `target_alignment`: those of a decoder, or None. `site_pairs`: the layers
    that both have. `notes`: what cannot be compared. `heads`: how much each head changed.
    """

    a: Trace
    b: Trace
    alignment: Alignment
    target_alignment: Alignment | None
    site_pairs: tuple[SitePair, ...]
    notes: tuple[str, ...]

    def __repr__(self) -> str:
        first = self.heads[0]
        most = "" if first.change is None else f"; {first.name} changed most, by {100 * first.change:.1f} %"
        return printable(f"Comparison({len(self.heads)} heads{most}. {self.alignment})")

    @cached_property
    def changes(self) -> tuple[SiteChange, ...]:
        """How each layer that both traces have changed, in the order of A."""
        return changes_of(self.site_pairs)

    @cached_property
    def alignments(self) -> tuple[Alignment, ...]:
        """All alignments: of the texts, of what a decoder read, of what other towers read."""
        found = {id(one): one for one in (self.alignment, self.target_alignment) if one is not None}
        found |= {id(one): one for pair in self.site_pairs for one in (pair.queries, pair.keys)}
        return tuple(found.values())

    @cached_property
    def heads(self) -> tuple[HeadChange, ...]:
        """Every head that both traces have, the most changed first; heads that cannot be compared come last."""
        every = [head for site in self.changes for head in site.heads]
        return tuple(sorted(every, key=lambda head: -1.0 if head.change is None else head.change, reverse=True))

    def to_frame(self) -> Any:
        """`heads` as a pandas DataFrame, a row a head with the fields of HeadChange. Raises MissingDependency without pandas."""
        names = [field.name for field in fields(HeadChange)]
        return data_frame([{name: getattr(head, name) for name in names} for head in self.heads], columns=names)

    def difference(self, layer: int, head: int | str, stack: str | None = None) -> Float[Tensor, "q k"]:
        """Weights of B minus weights of A of one head, between the tokens that both texts have (`alignment.pairs`); fp32.

        `layer`, `stack`: the layer in A. `head`: a number, or a name such as "L2H8". Raises InputError for a layer or head that
        the two traces do not share.
        """
        pair = self.site_pair(layer, stack)
        number = pair.a._head(head)
        if number >= pair.heads:
            shared = f"they share heads 0 to {pair.heads - 1}"
            raise InputError(f"head {number} of {pair.a.name} is not in both traces: {shared}.")
        rows = pair.rows()
        keys = [(i, j) for i, j in pair.keys.pairs if i < pair.a.keys and j < pair.b.keys]
        columns_a, columns_b = torch.tensor(keys, dtype=torch.long).reshape(-1, 2).unbind(1)
        before = pair.a.weights(number, rows[:, 1]).cpu()[:, columns_a]
        return pair.b.weights(number, rows[:, 2]).cpu()[:, columns_b] - before

    def site_pair(self, layer: int, stack: str | None = None) -> SitePair:
        """A layer in both traces: its number `layer`, and its `stack` where there are several in A.

        Raises InputError where one of the traces does not have it.
        """
        site = self.a.site(layer, stack)
        for one in self.site_pairs:
            if one.a is site:
                return one
        here = ", ".join(one.a.name for one in self.site_pairs)
        raise InputError(f"{site.name} is not in both traces: they share {here}.")

    def axes(self, where: Any) -> tuple[Alignment, Alignment]:
        """The alignments of the queries and of the keys of the layer that `where`, a state or a site, names."""
        named = (one for one in self.site_pairs if (one.a.layer, one.a.stack) == (where.layer, where.stack))
        found = next(named, self.site_pairs[0])
        return found.queries, found.keys

    def show(self, level: str = "model", **options: Any) -> Any:
        """A View of both traces at `level`.

        options: side ("a", "b" or "difference", the default), sort, and those of attnscope.show. Layers, heads, queries and
        keys are those of A; max_mb is for both traces together. `model` and `tokenizer`, or a pair of each, let the live widget edit heads and patch them from the
        other side. Without a place it opens on the head that changed most.
        """
        import attnscope

        return attnscope.api.show_comparison(self, level=level, **options)

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        return self.show()._repr_mimebundle_(**kwargs)


def comparison_of(a: Any, b: Any) -> Comparison:
    """The comparison of two traces. Raises InputError where they have no token or no layer in common."""
    for name, trace in (("first", a), ("second", b)):
        if not isinstance(trace, Trace):
            raise InputError(
                f"compare: expected two traces, got a {type(trace).__name__} as the {name}. Make a trace with "
                "attnscope.trace(model, tokenizer, text)."
            )
    known: dict[tuple[int, int], Alignment] = {}

    def aligned(one: Tokens, other: Tokens) -> Alignment:
        place = id(one), id(other)
        if place not in known:
            known[place] = align(one, other)
        return known[place]

    tokens = aligned(a.tokens, b.tokens)
    target = None if a.target is None or b.target is None else aligned(a.target, b.target)
    site_pairs, notes = [], []
    others = dict(_named(b))
    missing = []
    for name, site in _named(a):
        other = others.pop(name, None)
        if other is None:
            missing.append(site)
            continue
        axes = [(trace.query_tokens(one), trace.key_tokens(one)) for trace, one in ((a, site), (b, other))]
        both = [*zip(*axes, strict=True)]
        if site.kind != other.kind or any((one is a.target) != (two is b.target) for one, two in both):
            missing.append(site)
            continue
        try:
            queries, keys = (aligned(one, two) for one, two in both)
        except InputError:  # towers that have no token in common
            missing.append(site)
            continue
        site_pairs.append(SitePair(site, other, queries, keys))
    if not site_pairs:
        raise InputError(f"the two traces have no layer in common: A is {a!r} and B is {b!r}.")
    for side, sites in (("A", missing), ("B", list(others.values()))):
        if sites:
            notes.append(f"Only in {side}, so not compared: {', '.join(site.name for site in sites)}.")
    unequal = [one for one in site_pairs if one.a.heads != one.b.heads]
    if unequal:
        one = unequal[0]
        notes.append(
            f"{one.a.name} has {one.a.heads} heads in A and {one.b.heads} in B: heads 0 to {one.heads - 1} are compared, "
            "each with the one of its number."
        )
    if any(one.a.weights_only != one.b.weights_only for one in site_pairs):
        notes.append("One of the traces holds weights only: weights are compared, and scores are shown where they are.")
    return Comparison(a, b, tokens, target, tuple(site_pairs), tuple(notes))


def _named(trace: Trace) -> Iterator[tuple[tuple[str | None, int, int], Site]]:
    """Sites by stack, layer and which call of it."""
    seen: dict[tuple[str | None, int], int] = {}
    for site in trace.sites:
        place = (site.stack, site.layer)
        seen[place] = seen.get(place, -1) + 1
        yield (*place, seen[place]), site
