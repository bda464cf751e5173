"""Which groups has a text? Its messages, images and passages, found by what is known of the tokens."""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, pairwise
from typing import Any

from attnscope.text.passages import documents, paragraphs, sentences
from attnscope.tracing.grids import PatchGrid
from attnscope.tracing.groups import Group, Groups, nested

Span = tuple[int, int]


@dataclass(frozen=True)
class Known:
    """What groups are found by. `text`, `starts`: the tokens as one text, and where each begins in it; the rest as in attnscope.Tokens.
    `heard`: how many positions a sound has."""

    text: str
    starts: Sequence[int]
    special: Sequence[bool]
    segments: Sequence[int] = ()
    border: int | None = None
    turns: Sequence[int | None] = ()
    roles: Sequence[str] = ()
    grids: Sequence[PatchGrid] = ()
    heard: int = 0
    own: Sequence[Group] = ()


class _Names:
    """Names that no two groups share."""

    def __init__(self, taken: Sequence[str]) -> None:
        self.taken, self.counts = set(taken), dict[str, int]()

    def next(self, base: str) -> str:
        """ "sentence 1", "sentence 2", …"""
        while True:
            self.counts[base] = number = self.counts.get(base, 0) + 1
            if (name := f"{base} {number}") not in self.taken:
                self.taken.add(name)
                return name

    def told_apart(self, groups: Sequence[Group]) -> list[Group]:
        """The same, numbered where a name comes more than once, or is taken."""
        names = [group.name for group in groups]
        return [
            group
            if names.count(group.name) == 1 and group.name not in self.taken
            else replace(group, name=self.next(group.name))
            for group in groups
        ]


def find_groups(known: Known) -> Groups:
    """The groups of a text. Your own stand in the place of messages and the like; passages are found within them."""
    count = len(known.starts)
    names = _Names([group.name for group in known.own])
    found = [*known.own, *_answer(known, known.own)] if known.own else _roots(known, names)
    tree = nested(found, count)
    pictures = [] if known.own else _pictures(known, names)
    inner: list[Group] = []
    divided = {group.parent for group in tree}
    for number, group in enumerate(tree):
        if group.kind == "other" or number in divided:
            continue  # passages are found in what is not divided yet
        inner += _passages(known, group, pictures, names)
    if not found:
        inner = [*_passages(known, Group("", "", 0, count), pictures, names)]
    whole = [*found, *(picture for picture in pictures if _fits(picture, found)), *inner]
    whole = _once(whole)
    # a text that is one passage is not divided
    return nested(whole, count) if known.own or len(whole) > 1 else Groups()


def _once(groups: Sequence[Group]) -> list[Group]:
    """Without those that are all of what they lie in: one paragraph that is a message, one sentence that is a paragraph."""
    seen: set[Span] = set()
    kept = []
    for group in groups:
        if (span := (group.start, group.stop)) not in seen:
            seen.add(span)
            kept.append(group)
    return kept


def _fits(picture: Group, found: Sequence[Group]) -> bool:
    return all(one.holds(picture) or picture.stop <= one.start or one.stop <= picture.start for one in found)


def _roots(known: Known, names: _Names) -> list[Group]:
    """Messages of a chat, else the texts of a pair; and what was generated."""
    found: list[Group] = []
    if known.roles:
        found = [
            Group(str(known.roles[turn]), "message", *span) for turn, span in _runs(known.turns) if turn is not None
        ]
    elif len(set(known.segments)) > 1:
        found = [Group(f"text {'AB'[min(int(one), 1)]}", "text", *span) for one, span in _runs(known.segments)]
    found = names.told_apart(found)
    answer = _answer(known, found)
    if answer and not found and answer[0].start > 0:
        found.append(Group("prompt", "prompt", 0, answer[0].start))
    return found + answer


def _answer(known: Known, among: Sequence[Group]) -> list[Group]:
    """The generated tokens, where no group of `among` ends within them."""
    count = len(known.starts)
    if known.border is None or not 0 <= known.border < count or any(group.name == "answer" for group in among):
        return []
    answer = Group("answer", "answer", known.border, count)
    return [answer] if _fits(answer, among) else []


def _pictures(known: Known, names: _Names) -> list[Group]:
    """Images and frames, each from its first patch to its last; a sound."""
    patches = [[token for token in grid.tokens if token >= 0] for grid in known.grids]
    found = [Group("image", "image", min(own), max(own) + 1) for own in patches if own]
    found += [Group("sound", "sound", 0, known.heard)] if known.heard else []
    apart: list[Group] = []
    for group in sorted(found, key=lambda one: one.start):
        if not apart or apart[-1].stop <= group.start:
            apart.append(group)
    return names.told_apart(apart)


def _passages(known: Known, group: Group, pictures: Sequence[Group], names: _Names) -> Iterator[Group]:
    """Documents, paragraphs and sentences of what is written in a group."""
    for start, stop in _written(known, group, pictures):
        first, last = known.starts[start], _end(known, stop)
        text = known.text[first:last]
        marked = documents(text)
        numbers = [number for *_, number in marked]
        whole, told = [], "" not in numbers and len(set(numbers)) == len(numbers)
        for begin, end, number in marked:
            if (span := _tokens(known, first + begin, first + end, start, stop)) is not None:
                name = (
                    f"document {number}" if told and f"document {number}" not in names.taken else names.next("document")
                )
                names.taken.add(name)
                whole.append(span)
                yield Group(name, "document", *span)
        ends = sorted({start, stop, *(end for span in whole for end in span)})
        for part in pairwise(ends):
            yield from _cut(known, part, ("paragraph", "sentence"), names)


def _cut(known: Known, span: Span, kinds: Sequence[str], names: _Names) -> Iterator[Group]:
    """A run of tokens in paragraphs, and those in sentences; what is not divided is no paragraph."""
    kind, *further = kinds
    first = known.starts[span[0]]
    text = known.text[first : _end(known, span[1])]
    ways = {"paragraph": paragraphs, "sentence": sentences}
    parts = [_tokens(known, first + start, first + stop, *span) for start, stop in ways[kind](text)]
    parts = [part for part in parts if part is not None]
    for part in parts:
        if len(parts) > 1 or kind == "sentence":
            yield Group(names.next(kind), kind, *part)
        if further:
            yield from _cut(known, part, further, names)


def _written(known: Known, group: Group, pictures: Sequence[Group]) -> Iterator[Span]:
    """Runs of a group that are neither special, nor patches, nor the name of its role."""
    inside = [any(one.start <= at < one.stop for one in pictures) for at in range(group.start, group.stop)]
    plain = [not known.special[at] and not inside[at - group.start] for at in range(group.start, group.stop)]
    title = known.roles[known.turns[group.start] or 0] if group.kind == "message" and known.roles else ""
    for is_plain, (start, stop) in _runs(plain):
        start, stop = start + group.start, stop + group.start
        if not is_plain:
            continue
        if title and known.text[known.starts[start] : _end(known, stop)].lstrip().lower().startswith(title):
            start = _behind(known, start, stop, title)
        title = ""
        while start < stop and not known.text[known.starts[start] : _end(known, start + 1)].strip():
            start += 1
        if start < stop:
            yield start, stop


def _behind(known: Known, start: int, stop: int, title: str) -> int:
    """The first token behind the role that a message begins with."""
    at, read = start, ""
    while at < stop and len(read.strip()) < len(title):
        read += known.text[known.starts[at] : _end(known, at + 1)]
        at += 1
    ends_line = at >= stop or "\n" in known.text[known.starts[at] : _end(known, at + 1)]
    return at if read.strip().lower() == title and ends_line else start


def _end(known: Known, stop: int) -> int:
    """Where the text of the token before `stop` ends, the space behind it included."""
    return known.starts[stop] if stop < len(known.starts) else len(known.text)


def _tokens(known: Known, first: int, last: int, start: int, stop: int) -> Span | None:
    """The tokens between `start` and `stop` that begin within these characters."""
    start = bisect_left(known.starts, first, start, stop)
    stop = bisect_left(known.starts, last, start, stop)
    return (start, stop) if start < stop else None


def _runs(values: Sequence[Any]) -> Iterator[tuple[Any, Span]]:
    at = 0
    for value, run in groupby(values):
        size = len(list(run))
        yield value, (at, at + size)
        at += size
