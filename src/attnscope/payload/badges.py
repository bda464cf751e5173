"""Badges of a trace in a payload: of each site, a list for each head."""

from collections.abc import Mapping
from typing import Any

from attnscope.payload.fields import entry, flag, several, text
from attnscope.tracing.badges import Badge, badges_at
from attnscope.tracing.site import Site
from attnscope.tracing.trace import Trace


def badges_to_json(trace: Trace, site: Site) -> list[list[dict[str, Any]]]:
    """Name, sentence, value and `rests` of each badge, by head."""
    return [
        [
            {
                "name": badge.name,
                "sentence": badge.sentence,
                "value": float(f"{badge.value:.6g}"),
                "rests": badge.rests,
                **({} if badge.kind == "role" else {"kind": badge.kind}),
            }
            for badge in badges
        ]
        for badges in badges_at(trace.badges, site)
    ]


def badges_from_json(meta: Mapping[str, Any]) -> tuple[Badge, ...]:
    """Those of the sites that the bytes hold."""
    return tuple(
        Badge(
            site["stack"],
            site["layer"],
            head,
            one["name"],
            one["sentence"],
            float(one["value"]),
            one["rests"],
            one.get("kind", "role"),
        )
        for site in meta["sites"]
        if site.get("held")
        for head, badges in enumerate(site.get("roles", ()))
        for one in badges
    )


def check_badges(site: Mapping[str, Any], what: str) -> None:
    """Raises ValueError for what are no badges of the heads of this site."""
    for badges in several(site.get("roles", []), f"{what}, roles", site["heads"] if "roles" in site else 0):
        for badge in several(badges, f"{what}, roles"):
            text(entry(badge, "name", what), f"{what}, name of a role")
            text(entry(badge, "sentence", what), f"{what}, sentence of a role")
            flag(entry(badge, "rests", what), f"{what}, rests")
            value, kind = entry(badge, "value", what), badge.get("kind", "role")
            if kind not in ("role", "effect"):
                raise ValueError(f"{what}: a badge is {str(kind)[:40]}, and not a role or an effect")
            most = 1 if kind == "role" else float("inf")
            if (
                isinstance(value, bool)
                or not isinstance(value, int | float)
                or not -most < value <= most
                or (kind == "role" and value < 0)
            ):
                raise ValueError(f"{what}: the value of a role is {str(value)[:40]}, and no number from 0 to 1")
