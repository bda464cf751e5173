"""Groups: named runs of tokens within each other, such as the messages of a chat, their paragraphs and sentences."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from attnscope.errors import InputError

KINDS = ("own", "message", "text", "prompt", "answer", "image", "sound", "document", "paragraph", "sentence", "other")


@dataclass(frozen=True)
class Group:
    """A run of tokens with a name.

    `name`: no other group of the text has it. `kind`: one of KINDS; "own" was named by you, "other" is what no group of the text
        holds. `start`, `stop`: its tokens, from `start` up to, but not including, `stop`. `parent`: the number of the group that it lies in, or None.
    """

    name: str
    kind: str
    start: int
    stop: int
    parent: int | None = None

    def __len__(self) -> int:
        return self.stop - self.start

    @property
    def positions(self) -> slice:
        """Its tokens, as a slice."""
        return slice(self.start, self.stop)

    def holds(self, other: "Group") -> bool:
        """Whether `other` lies within this group."""
        return self.start <= other.start and other.stop <= self.stop


@dataclass(frozen=True, repr=False)
class Groups(Sequence[Group]):
    """The groups of a text, in its order, each before those that lie within it. `Tokens.groups` makes them.

    `every`: all of them. Those without a parent (`top`) follow each other without a gap.
    """

    every: tuple[Group, ...] = ()

    def __len__(self) -> int:
        return len(self.every)

    def __getitem__(self, index: Any) -> Any:
        """A Group for a number or a name, a tuple of them for a slice. Raises InputError for a name that none has."""
        if not isinstance(index, str):
            return self.every[index]
        if index not in self._numbers:
            raise InputError(f'there is no group "{index}"; this text has {self._names}.')
        return self.every[self._numbers[index]]

    def __contains__(self, one: Any) -> bool:
        return one in (self._numbers if isinstance(one, str) else self.every)

    def __iter__(self) -> Iterator[Group]:
        return iter(self.every)

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {group.name: number for number, group in enumerate(self.every)}

    @property
    def _names(self) -> str:
        names = [group.name for group in self.every]
        return (", ".join(names[:24]) + (", …" if len(names) > 24 else "")) if names else "none"

    @property
    def top(self) -> tuple[Group, ...]:
        """Those that lie in no other."""
        return tuple(group for group in self.every if group.parent is None)

    def depth(self, group: Group) -> int:
        """How many groups a `group` lies in."""
        return 0 if group.parent is None else 1 + self.depth(self.every[group.parent])

    def pooled(self, opened: int | None) -> list[int]:
        """Of each token the group that it is drawn with, or -1: the outermost ones that do not hold the group number `opened`, which is
        drawn token by token."""
        pool = [-1] * max((group.stop for group in self.every), default=0)
        at = None if opened is None else self.every[opened]
        for number, group in enumerate(self.every):
            if (at is None or not (group.holds(at) or at.holds(group))) and pool[group.start] < 0:
                pool[group.start : group.stop] = [number] * len(group)
        return pool

    def __repr__(self) -> str:
        lines = [
            f"{'  ' * self.depth(group)}{group.name}: {group.start} to {group.stop - 1}" for group in self.every[:40]
        ]
        more = [f"… and {len(self.every) - 40} more"] if len(self.every) > 40 else []
        return "\n".join([f"Groups({len(self.every)})", *lines, *more])


def nested(groups: Iterable[Group], count: int) -> Groups:
    """Groups in order, each with its parent; what none of them holds of `count` tokens becomes "other".

    Raises InputError for two that overlap where neither lies in the other.
    """
    order = sorted(groups, key=lambda one: (one.start, -one.stop))
    made: list[Group] = []
    open_: list[int] = []
    end, gaps = 0, []
    for group in order:
        while open_ and made[open_[-1]].stop <= group.start:
            open_.pop()
        if open_ and not made[open_[-1]].holds(group):
            one = made[open_[-1]]
            raise InputError(
                f'groups "{one.name}" (tokens {one.start} to {one.stop - 1}) and "{group.name}" ({group.start} to {group.stop - 1}) overlap, and '
                "neither lies in the other. Change their ends, or let one hold the other."
            )
        if not open_:
            gaps += [(end, group.start)] if end < group.start else []
            end = group.stop
        made.append(replace(group, parent=open_[-1] if open_ else None))
        open_.append(len(made) - 1)
    gaps += [(end, count)] if end < count else []
    if not gaps or not made:
        return Groups(tuple(made))
    base = "other" if all(not one.name.startswith("other") for one in made) else "other tokens"
    names = [base] if len(gaps) == 1 else [f"{base} {number}" for number in range(1, len(gaps) + 1)]
    rest = [Group(name, "other", *gap) for name, gap in zip(names, gaps, strict=True)]
    return nested([*made, *rest], count)
