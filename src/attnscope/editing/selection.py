"""Which heads an edit is of."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from attnscope.capturing.read.stacks import Place
from attnscope.errors import InputError
from attnscope.tracing.places import parse_head, parse_layers

Head = tuple[str | None, int, int]  # stack, layer, head


@dataclass(frozen=True)
class Heads:
    """`stack`: the stack that they are in, None where the model has one. `chosen`: heads by layer, None: all of the layer."""

    stack: str | None
    chosen: Mapping[int, tuple[int, ...] | None]

    def covers(self, stack: str | None, layer: int) -> bool:
        """Whether heads of this layer are among them."""
        return layer in self.chosen and (None in (self.stack, stack) or self.stack == stack)

    def at(self, place: Place, heads: int) -> tuple[int, ...]:
        """Those in a place with so many heads; empty where it is not chosen. Raises InputError for a head that is not there."""
        if not self.covers(place.stack, place.layer):
            return ()
        chosen = self.chosen[place.layer]
        if chosen is None:
            return tuple(range(heads))
        if beyond := [head for head in chosen if head >= heads]:
            raise InputError(
                f"head L{place.layer}H{beyond[0]} is not there: layer {place.layer} has {heads} heads, L{place.layer}H0 to "
                f"L{place.layer}H{heads - 1}."
            )
        return chosen

    def each(self, heads: int) -> list[Head]:
        """One by one, where every layer has so many heads."""
        pairs = [(layer, range(heads) if some is None else some) for layer, some in self.chosen.items()]
        return [(self.stack, layer, head) for layer, some in pairs for head in some]


def heads_named(names: Sequence[Any], layers: Mapping[str | None, int], stack: str | None) -> Heads:
    """Heads by name, "L18H6". `layers`: how many each stack of the model has. Raises InputError for what names no head."""
    if not names:
        raise InputError('no head was named: give names such as edit.heads("L17H3", "L17H4").')
    chosen: dict[int, tuple[int, ...] | None] = {}
    for name in names:
        layer, head = parse_head(name)
        if layer is None or head is None:
            raise InputError(f'expected a head with its layer, such as "L2H8", got {name!r}.')
        chosen[layer] = tuple(dict.fromkeys((*(chosen.get(layer) or ()), head)))
    return Heads(_stack(stack, layers), _in_range(chosen, layers, stack))


def layers_named(given: Any, layers: Mapping[str | None, int], stack: str | None) -> Heads:
    """All heads of some layers, by number or name; negative numbers count from the end. Raises InputError where one is not there."""
    stack = _stack(stack, layers)
    count = layers.get(stack, 0)
    numbers = [
        number + count if number < 0 else number
        for one in (given if _several(given) else [given])
        for number in parse_layers(one) or ()
    ]
    return Heads(stack, _in_range(dict.fromkeys(numbers), layers, stack))


def _several(given: Any) -> bool:
    return isinstance(given, Iterable) and not isinstance(given, str)


def _stack(stack: str | None, layers: Mapping[str | None, int]) -> str | None:
    names = [name for name in layers if name is not None]
    if stack is None and len(layers) > 1:
        raise InputError(
            f"this model has several stacks of attention, and an edit is of one: say stack={' or stack='.join(map(repr, names))}."
        )
    if stack is not None and layers and stack not in layers:
        there = ", ".join(map(repr, names)) or "one stack without a name, so leave stack= out"
        raise InputError(f"there is no stack {stack!r} to edit; this model has {there}.")
    return next(iter(layers), None) if stack is None else stack


def _in_range(
    chosen: dict[int, tuple[int, ...] | None], layers: Mapping[str | None, int], stack: str | None
) -> dict[int, tuple[int, ...] | None]:
    if not chosen:
        raise InputError("no layer was named: give numbers from 0, such as edit.layers(range(10, 21)).")
    count = layers.get(_stack(stack, layers))
    if count is not None and (beyond := [layer for layer in chosen if not 0 <= layer < count]):
        raise InputError(f"there is no layer {beyond[0]} to edit: this model has attention in layers 0 to {count - 1}.")
    return chosen
