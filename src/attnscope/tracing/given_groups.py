"""Groups of your own: {"system": (0, 57), "question": r"Question:.*"}."""

import re
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from attnscope.errors import InputError
from attnscope.tracing.groups import Group, nested
from attnscope.tracing.places import is_number

FORMS = '{"system": (0, 57)} with the first token and the one behind the last, or {"system": r"a regular expression"}'


def given_groups(given: Any, text: str, starts: Sequence[int], ends: Sequence[int]) -> tuple[Group, ...]:
    """What was given, as groups of kind "own".

    `text`: the tokens as one text. `starts`, `ends`: where each of them stands in it. A regular expression finds the tokens that
    it touches; where it finds several places, they are numbered.

    Raises InputError for what is no mapping of names, a place beyond the text, an expression that finds nothing, and groups that overlap.
    """
    if not isinstance(given, Mapping) or not given:
        raise InputError(f"expected groups as {FORMS}; got {given!r:.60}.")
    found: list[Group] = []
    for name, value in given.items():
        if not isinstance(name, str) or not name.strip():
            raise InputError(f"expected the name of a group as text, got {name!r:.40}. Give groups as {FORMS}.")
        spans = _spans(name, value, text, starts, ends)
        names = [name] if len(spans) == 1 else [f"{name} {number}" for number in range(1, len(spans) + 1)]
        found += [Group(one, "own", *span) for one, span in zip(names, spans, strict=True)]
    times = Counter(one.name for one in found)
    if twice := next((name for name, count in times.items() if count > 1), None):
        raise InputError(f'two groups are called "{twice}". Give each a name of its own.')
    nested(found, len(starts))
    return tuple(found)


def written_down(given: Mapping[str, Any], found: Sequence[Group]) -> dict[str, Any]:
    """The same groups as JSON can hold them. Slices and compiled expressions become the places that they `found`."""
    if all(isinstance(one, str) or _is_plain(one) for one in given.values()):
        return dict(given)
    return {one.name: [one.start, one.stop] for one in found}


def _is_plain(value: Any) -> bool:
    """Whether it holds numbers alone, within each other or not."""
    return is_number(value) or (isinstance(value, list | tuple) and all(map(_is_plain, value)))


def _spans(name: str, value: Any, text: str, starts: Sequence[int], ends: Sequence[int]) -> list[tuple[int, int]]:
    count = len(starts)
    if isinstance(value, (str, re.Pattern)):
        return _matched(name, value, text, starts, ends)
    if isinstance(value, slice):
        value = [value]
    several = list(value) if isinstance(value, Iterable) else []
    if len(several) == 2 and all(map(is_number, several)):
        return [_span(name, several, count)]
    if several and all(isinstance(one, slice | Iterable) and not isinstance(one, str) for one in several):
        return [_span(name, _ends(name, one, count) if isinstance(one, slice) else list(one), count) for one in several]
    raise InputError(f'group "{name}": expected {FORMS}; got {value!r:.60}.')


def _ends(name: str, value: slice, count: int) -> tuple[Any, Any]:
    if value.step not in (None, 1):
        raise InputError(f'group "{name}": expected tokens that follow each other, got {value!r}.')
    return value.start or 0, count if value.stop is None else value.stop


def _span(name: str, pair: Sequence[Any], count: int) -> tuple[int, int]:
    if len(pair) == 2 and all(map(is_number, pair)):
        start, stop = (int(end) + count if int(end) < 0 else int(end) for end in pair)
        if 0 <= start < stop <= count:
            return start, stop
    raise InputError(
        f'group "{name}" is {tuple(pair)!r:.40}, and the text has {count:,} tokens: expected the first token and the one behind the last, '
        f"0 ≤ start < stop ≤ {count:,}."
    )


def _matched(
    name: str, pattern: str | re.Pattern[str], text: str, starts: Sequence[int], ends: Sequence[int]
) -> list[tuple[int, int]]:
    try:
        expression = re.compile(pattern, re.DOTALL) if isinstance(pattern, str) else pattern
        places = [found.span() for found in expression.finditer(text) if found.end() > found.start()]
    except (re.error, TypeError) as error:
        raise InputError(f'group "{name}": {pattern!r:.60} is no regular expression for text ({error}).') from None
    if not places:
        raise InputError(
            f'group "{name}": {pattern!r:.60} finds nothing in this text, which begins {text[:60]!r}. Look at tokens.running.text, which it is '
            "matched with, or give the positions."
        )
    touched = [(bisect_right(ends, first), bisect_left(starts, last)) for first, last in places]
    return [(start, stop) for start, stop in touched if start < stop]
