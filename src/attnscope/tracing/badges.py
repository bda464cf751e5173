"""Badges: what heads were found to do elsewhere, carried along with a trace."""

from collections.abc import Sequence
from dataclasses import dataclass

from attnscope.tracing.site import Site


@dataclass(frozen=True)
class Badge:
    """One role of one head, or its effect. `name`: short enough for a thumbnail. `sentence`: the claim with its evidence.

    A role: `value`: how often, or with how much weight, from 0 to 1; `rests`: the head finds nothing: its weight rests on a place, as on a sink.
    An effect (`kind`): `value`: clean − edited; `rests`: it does not leave its band.
    """

    stack: str | None
    layer: int
    head: int
    name: str
    sentence: str
    value: float
    rests: bool = False
    kind: str = "role"


def badges_at(badges: Sequence[Badge], site: Site) -> tuple[tuple[Badge, ...], ...]:
    """Those of each head of a site, in their order."""
    here = [badge for badge in badges if (badge.stack, badge.layer) == (site.stack, site.layer)]
    return tuple(tuple(badge for badge in here if badge.head == head) for head in range(site.heads))


def best_values(badges: Sequence[Badge], site: Site) -> tuple[float | None, ...]:
    """How often each head does the best of what it finds; None for a head that finds nothing."""
    return tuple(
        max((badge.value for badge in of_head if badge.kind == "role" and not badge.rests), default=None)
        for of_head in badges_at(badges, site)
    )


def effects_at(badges: Sequence[Badge], site: Site) -> tuple[float | None, ...]:
    """The effect of each head of a site; None where it was not measured."""
    return tuple(
        next((badge.value for badge in of_head if badge.kind == "effect"), None) for of_head in badges_at(badges, site)
    )


def kinds_of(badges: Sequence[Badge]) -> set[str]:
    """Which kinds there are."""
    return {badge.kind for badge in badges}
