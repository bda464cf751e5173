"""A table of effects read back from its JSON."""

import math
import os
from typing import Any

from attnscope.errors import InputError
from attnscope.head_effects.units import EACH, Unit
from attnscope.payload.json_file import read_json

WORDS = ("measure", "reference", "asked", "model", "key")


def read_table(path: str | os.PathLike[str]) -> tuple[dict[Unit, list[float]], dict[str, Any]]:
    """The totals of a file that EffectTable.save wrote as .json, and the other fields of the table."""
    where = os.fspath(path)
    told = read_json(path, "effects", "EffectTable.save(….json)")
    try:
        clean = tuple(map(_number, told["clean"]))
        totals, exact = (
            {_unit(one): [_number(value) for value in one["totals"]] for one in told[name]}
            for name in ("totals", "exact")
        )
        more = {name: str(told[name]) for name in WORDS}
        notes = tuple(map(str, told["notes"]))
        flags = {name: bool(told[name]) for name in ("stopped", "approximate")}
        if not clean or not totals or any(len(row) != len(clean) for row in totals.values()):
            raise ValueError("the texts of some head are missing")
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(
            f"{where} is no table of effects ({error}); expected a file that EffectTable.save(….json) wrote."
        ) from error
    return totals, {**more, "clean": clean, "notes": notes, **flags, "exact": exact}


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)


def _unit(told: Any) -> Unit:
    each = told["each"]
    if each not in EACH or not told["heads"]:
        raise ValueError(f"{each!r:.40} of no head")
    edge = None
    if each == "edge":
        query, key = (one if isinstance(one, str) else int(one) for one in told["edge"])
        edge = query, key
    heads = tuple(map(int, told["heads"]))
    return Unit(str(told["stack"]), int(told["layer"]), heads, each, int(told.get("place", 0)), edge)
