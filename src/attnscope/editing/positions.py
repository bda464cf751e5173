"""Positions in a text, as people name them: a number, a token as written, a group, a slice, or several of these.

A name means the group of that name where the text has one (the messages of a chat, "answer", "document 2": attnscope.tracing.groups), else the token.

Positions count in the text so far, as a trace does: in a step of cached generation the new token is not 0, but what stands behind
the tokens that the cache holds. Negative numbers count from the end of the text as it was first read, the prompt of a generation: what
they name stays the same token. A slice without an end goes on over generated tokens.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from attnscope.errors import InputError
from attnscope.tracing.groups import Group
from attnscope.tracing.places import is_number
from attnscope.tracing.tokens import Tokens

Position = int | str | slice


def parse_positions(given: Any, what: str) -> tuple[Position, ...] | None:
    """Positions as they were given; None: all. `what`: the argument's name. Raises InputError for anything else."""
    if given is None:
        return None
    several = isinstance(given, Iterable) and not isinstance(given, (str, Group))
    found: tuple[Any, ...] = tuple(given) if several else (given,)
    if not found:
        raise InputError(f"{what} is empty: give a position, a token as written, a slice, or several of these.")
    found = tuple(one.positions if isinstance(one, Group) else one for one in found)
    for one in found:
        if not (isinstance(one, (str, slice)) or is_number(one)):
            raise InputError(
                f"expected {what} as a position, a token as written, a slice, or several of these; got {one!r:.60}."
            )
    return tuple(one if isinstance(one, (str, slice)) else int(one) for one in found)


@dataclass
class Here:
    """Where one call stands in its text.

    `queries`, `keys`: the text position of each query and key. `total`, `total_keys`: how many tokens the text so far has, along
    either side. `began`, `began_keys`: how many it had when it was first read: a generation goes on behind them. `named`, `named_keys`:
    the tokens of each row of the batch along either side; None where they are not known, and then `unnamed` says why.
    """

    queries: Int[Tensor, " Q"]
    keys: Int[Tensor, " K"]
    total: int
    total_keys: int
    began: int
    began_keys: int
    named: Sequence[Tokens] | None = None
    named_keys: Sequence[Tokens] | None = None
    unnamed: str = ""
    missing: list[str] = field(default_factory=list)

    def at(
        self, positions: tuple[Position, ...] | None, keys: bool = False, what: str = "positions"
    ) -> Bool[Tensor, "B T"] | None:
        """Which queries (or keys) of the call these are, for each row of the batch, or one for all rows; None: all."""
        if positions is None:
            return None
        side = self.keys if keys else self.queries
        total, began = (self.total_keys, self.began_keys) if keys else (self.total, self.began)
        tokens = (self.named_keys if keys else self.named) if any(isinstance(p, str) for p in positions) else None
        if tokens is None and (names := [p for p in positions if isinstance(p, str)]):
            raise InputError(f'{what} "{names[0]}" is a token, and {self.unnamed} Give its position.')
        rows = [self._among(positions, side, total, began, one, what) for one in tokens or [None]]
        return torch.stack(rows)

    def _among(
        self,
        positions: tuple[Position, ...],
        side: Int[Tensor, " T"],
        total: int,
        began: int,
        tokens: Tokens | None,
        what: str,
    ) -> Bool[Tensor, " T"]:
        found = torch.zeros(len(side), dtype=torch.bool)
        for one in positions:
            if isinstance(one, slice):
                wanted = torch.zeros(total, dtype=torch.bool)
                start, stop = (end if end is None or end >= 0 else max(0, end + began) for end in (one.start, one.stop))
                wanted[start : stop : one.step] = True
                inside = (side >= 0) & (side < total)
                found |= inside & wanted[side.clamp(0, total - 1)]
                continue
            if isinstance(one, str):
                assert tokens is not None
                if one in tokens.groups:
                    group = tokens.groups[one]
                    found |= (side >= group.start) & (side < group.stop)
                    continue
                try:
                    position = tokens.find(one, what)
                except InputError as error:  # perhaps it comes later, in a generation
                    self.missing.append(str(error))
                    continue
            else:
                position = one + began if one < 0 else one
                if not 0 <= position < total:
                    self.missing.append(f"{what} {one} is beyond the text, which has {total} tokens.")
            found |= side == position
        return found
