"""Badges: what heads were found to do elsewhere, carried along with a trace."""

from collections.abc import Sequence
from dataclasses import dataclass

from attnscope.tracing.site import Site


@dataclass(frozen=True)
class Badge:
    """One role of one head. `name`: short enough for a thumbnail. `sentence`: the claim with its evidence. `value`: how
    often, or with how much weight, from 0 to 1. `rests`: the head finds nothing: its weight rests on a place, as on a sink."""

    stack: str | None
    layer: int
    head: int
    name: str
    sentence: str
    value: float
    rests: bool = False


def badges_at(badges: Sequence[Badge], site: Site) -> tuple[tuple[Badge, ...], ...]:
    """Those of each head of a site, in their order: they are of self-attention."""
    here = [badge for badge in badges if (badge.stack, badge.layer) == (site.stack, site.layer)]
    return tuple(tuple(badge for badge in here if badge.head == head) for head in range(site.heads))


def best_values(badges: Sequence[Badge], site: Site) -> tuple[float | None, ...]:
    """How often each head does the best of what it finds; None for a head that finds nothing."""
    return tuple(
        max((badge.value for badge in of_head if not badge.rests), default=None) for of_head in badges_at(badges, site)
    )
