"""A view's state with its trace: the site, the tokens' names, the two axes, the heads of a mean."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from attnscope.render.figures.slots import Axis, Slot, axis_of
from attnscope.statistics.sink_tokens import leading_key, set_aside
from attnscope.text.spelling import spelled
from attnscope.tracing.groups import Group
from attnscope.tracing.site import Site
from attnscope.tracing.tokens import Tokens
from attnscope.tracing.trace import Trace
from attnscope.views.state import State

_SEGMENT = {"a": 0, "b": 1}


@dataclass(frozen=True, eq=False)
class Scene:
    """What a figure shows. `state` fits `trace`; `room` is the height for it, in inches, inf if there is no limit.

    title: in place of the level's own; "" for none. sums: whether a grid has bars at its edges. framed: whether the head of
    the state stands out among the others.
    """

    trace: Trace
    state: State
    room: float = float("inf")
    title: str | None = None
    sums: bool = True
    framed: bool = True

    @cached_property
    def site(self) -> Site:
        return self.trace.site(self.state.layer, self.state.stack)

    @property
    def row(self) -> int:
        """The position of the query among the queries of the site."""
        return self.state.query - self.site.query_offset

    @cached_property
    def key(self) -> int:
        """The pinned key, or the strongest of the query, special and sink tokens aside."""
        if self.state.key is not None:
            return self.state.key
        return leading_key(self.site.weights(self.state.head, self.row)[0], set_aside(self.trace, self.site))

    @cached_property
    def query_names(self) -> tuple[str, ...]:
        return spelled(self.trace.query_tokens(self.site))

    @cached_property
    def key_names(self) -> tuple[str, ...]:
        return spelled(self.trace.key_tokens(self.site))

    @property
    def place(self) -> str:
        """ "layer 2, head 8", or the heads of a mean."""
        state, stack = self.state, f"{self.site.stack} " if self.site.stack else ""
        match state.average:
            case "heads":
                return f"mean over all heads of {self.site.name}"
            case "layers":
                return f"mean over head {state.head} of all {stack}layers"
            case "all":
                return f"mean over all heads of all {stack}layers"
        return f"{self.site.name}, head {state.head}"

    @cached_property
    def queries(self) -> Axis:
        site, state, tokens = self.site, self.state, self.trace.query_tokens(self.site)
        special = {i for i, one in enumerate(tokens.special) if one}
        aside = special | self.aside if site.kind == "self" else special
        return axis_of(
            tokens,
            site.query_offset,
            site.query_offset + site.queries,
            words=state.words,
            hidden=aside if state.special == "hide" else set(),
            segment=self._segment(0),
            keep=state.query if state.query in aside or state.pooled else None,
            pool=self._pool(tokens),
        )

    def _pool(self, tokens: Tokens) -> list[int]:
        """Of each token the group that it is drawn with."""
        if not self.state.pooled:
            return []
        same = tokens is self.trace.key_tokens(self.site)
        return tokens.groups.pooled(self.state.group if same else None)

    @property
    def group(self) -> Group | None:
        """The group that is looked at."""
        number = self.state.group
        return None if number is None else self.trace.key_tokens(self.site).groups[number]

    @cached_property
    def aside(self) -> set[int]:
        """The keys that are special or sink tokens."""
        return set(set_aside(self.trace, self.site).nonzero()[:, 0].tolist())

    @cached_property
    def keys(self) -> Axis:
        return self.key_axis(self.state.words)

    def key_axis(self, words: bool) -> Axis:
        """The keys, with the pieces of a word merged (`words`) or each in its own place."""
        return axis_of(
            self.trace.key_tokens(self.site),
            0,
            self.site.keys,
            words=words,
            hidden=self.aside if self.state.special == "hide" else set(),
            segment=self._segment(1),
            pool=self._pool(self.trace.key_tokens(self.site)),
        )

    def single_slots(self, tokens: tuple[int, ...]) -> tuple[Slot, ...]:
        """These keys, each in its own place."""
        special = self.trace.key_tokens(self.site).special
        return tuple(Slot((k,), self.key_names[k], special[k]) for k in tokens)

    def _segment(self, side: int) -> int | None:
        return None if self.state.filter == "all" else _SEGMENT[self.state.filter[side]]

    def members(self, head: int) -> tuple[tuple[Site, int], ...]:
        """The heads of the state's mean, on sites with the same queries and keys; without a mean the head alone."""
        here, average = self.site, self.state.average
        sites = [here]
        if average in ("layers", "all"):
            sites = [site for site in self.trace.sites if _shape(site) == _shape(here)]
        if average in ("heads", "all"):
            return tuple((site, h) for site in sites for h in range(site.heads))
        return tuple((site, head) for site in sites if head < site.heads)


def _shape(site: Site) -> tuple[Any, ...]:
    """Sites with an equal shape have the same queries and keys."""
    return site.stack, site.kind, site.queries, site.keys
