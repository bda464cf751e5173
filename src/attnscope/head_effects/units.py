"""What is edited in turn: each head, each key/value group, each layer, or each edge; and from which block on a pass must run for it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from attnscope.capturing.read.stacks import Place
from attnscope.editing.addresses import Addresses
from attnscope.editing.positions import parse_positions
from attnscope.editing.rules import Cut
from attnscope.editing.selection import Heads
from attnscope.errors import InputError
from attnscope.head_effects.blocks import Kept

EACH = ("head", "group", "layer", "edge")

Edge = tuple[int | str, int | str]  # query and key: positions, tokens as written, or names of groups


@dataclass(frozen=True, order=True)
class Unit:
    """`heads` of one layer of one `stack`, edited together. `each`: what they are, one of EACH. `edge`: of an edge, which is cut in all these heads; `place`: its
    number among those that were asked for."""

    stack: str
    layer: int
    heads: tuple[int, ...]
    each: str = "head"
    place: int = 0
    edge: Edge | None = field(default=None, compare=False)

    @property
    def name(self) -> str:
        """Such as "L2H8", "L2H6-8", "L2" or "L2 it→Mary"."""
        first, last = self.heads[0], self.heads[-1]
        own = {"head": f"H{first}", "group": f"H{first}-{last}" if last > first else f"H{first}"}.get(self.each, "")
        if self.edge is not None:
            own = f" {self.edge[0]}→{self.edge[1]}"
        return f"{self.stack} L{self.layer}{own}".strip()

    @property
    def cut(self) -> Cut | None:
        """What is done to an edge."""
        if self.edge is None:
            return None
        query, key = self.edge
        return Cut(parse_positions(query, "query"), parse_positions(key, "key"))

    @property
    def chosen(self) -> Heads:
        """As an edit names them."""
        return Heads(self.stack or None, {self.layer: self.heads})


def units_of(
    kept: Kept,
    addresses: Addresses,
    sizes: Mapping[tuple[str | None, int], tuple[int, int]],
    each: str,
    layers: Sequence[int] | None,
    stack: str | None,
    edges: Sequence[Edge] = (),
) -> dict[Unit, int]:
    """Every unit of a pass, with the number of blocks that have ended before it. `sizes`: heads and key/value heads by stack and layer.

    `each`, `layers`, `stack`, `edges`: what is asked for. Raises InputError where the model has no such layer or stack.
    """
    found: dict[Unit, int] = {}
    numbers: dict[str, int] = {}
    for call, (path, cross) in enumerate(kept.calls):
        number = numbers[path] = numbers.get(path, -1) + 1
        place = addresses.place_of(path, cross, number)
        if (size := sizes.get((place.stack, place.layer))) is not None:
            for unit in _of_place(place, *size, each, edges):
                found.setdefault(unit, kept.before(call))
    stacks = sorted({unit.stack for unit in found})
    if stack is not None and stack not in stacks:
        raise InputError(f"there is no stack {stack!r} here; this model has {', '.join(map(repr, stacks))}.")
    there = sorted({unit.layer for unit in found if stack in (None, unit.stack)})
    if layers is not None and (missing := [layer for layer in layers if layer not in there]):
        raise InputError(
            f"there is no layer {missing[0]} here: this model has attention in layers {there[0]} to {there[-1]}."
        )
    return {
        unit: first
        for unit, first in found.items()
        if stack in (None, unit.stack) and (layers is None or unit.layer in layers)
    }


def _of_place(place: Place, heads: int, groups: int, each: str, edges: Sequence[Edge]) -> list[Unit]:
    if each == "edge":
        every = tuple(range(heads))
        return [Unit(place.stack or "", place.layer, every, each, at, edge) for at, edge in enumerate(edges)]
    together = {"head": 1, "group": heads // groups, "layer": heads}[each]
    return [
        Unit(place.stack or "", place.layer, tuple(range(first, first + together)), each)
        for first in range(0, heads, together)
    ]
