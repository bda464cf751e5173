"""Which stack and layer is a call of, while the pass still runs?

A trace names the calls of a pass when all of them are known. An edit must know before. If the model was traced, its calls are those of
that pass. Else the calls that a whole pass will have are foreseen from the modules that attend, and named as a trace names them. When the
pass has ended, its own names are compared (`check`): where a model runs otherwise, the edit is refused, and that pass is remembered.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from torch import nn

from attnscope.capturing.listen.detect import attends_by_interface, attends_itself
from attnscope.capturing.listen.facts import facts_of
from attnscope.capturing.read.attention_call import is_cross
from attnscope.capturing.read.stacks import Call, Place, stack_places
from attnscope.capturing.records import Pass
from attnscope.capturing.to_trace import places_of
from attnscope.errors import CaptureError

Key = tuple[str, bool, int]  # path, cross attention or not, which call of that module


class Addresses:
    """The places of the attention calls of one `model`."""

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._cross: dict[str, bool] = {path: is_cross(module, path) for path, module in _attending(model)}
        self._foreseen = self._name()
        self._facts = facts_of(model)
        self._known: tuple[Any, dict[Key, Place]] = (None, {})

    @property
    def _learned(self) -> dict[Key, Place]:
        """The places of the calls of a pass that ran; empty where none did."""
        seen: Pass | None = self._facts.passes.get("widest")
        if seen is not None and seen is not self._known[0]:
            self._known = seen, _keyed(seen, places_of(seen, self._model))
        return self._known[1]

    def place_of(self, path: str, cross: bool, number: int) -> Place:
        """The place of a call. `path`: of its module; `cross`: whether it is cross attention; `number`: which call of the module
        in this pass, from 0."""
        if (known := self._learned.get((path, cross, number))) is not None:
            return known
        if (path, cross, number) not in self._foreseen and self._cross.get(path) is not cross:
            self._cross[path] = cross
            self._foreseen = self._name()
        found = self._foreseen.get((path, cross, number))
        if found is None:  # a module that runs more often than foreseen
            (found,) = stack_places([Call(path, cross, number)])
        return found

    @property
    def paths(self) -> tuple[str, ...]:
        """The module paths of what attends."""
        return tuple(self._cross)

    @property
    def layers(self) -> Mapping[str | None, int]:
        """How many layers each stack has: of the pass that was seen, where it has stacks that were not foreseen; a pass may have left
        others out."""
        seen, foreseen = self._learned.values(), self._foreseen.values()
        other = {place.stack for place in seen} - {place.stack for place in foreseen}
        counts: dict[str | None, int] = {}
        for place in seen if other else (*foreseen, *seen):
            counts[place.stack] = max(counts.get(place.stack, 0), place.layer + 1)
        return counts

    def check(self, ended: Pass, used: Mapping[int, Place]) -> None:
        """Compare the places by which calls were edited with those that a trace of this pass has.

        `ended`: the pass. `used`: by the place of a call in it. Raises CaptureError where they differ.
        """
        actual = places_of(ended, self._model)
        if pieces := [at for at in used if at not in actual]:
            raise CaptureError(
                f"{ended.order[pieces[0]][0]} attends in pieces, several softmaxes of different sizes in one run, so an edit of one of them is none of a "
                "head. What a trace shows of it by its weights alone cannot be edited."
            )
        wrong = [(place, actual[at]) for at, place in used.items() if at in actual and not _same(place, actual[at])]
        if not wrong:
            return
        self._facts.passes["widest"] = ended.calls_alone()
        before, after = wrong[0]
        raise CaptureError(
            f"the edit was made in {_named(before)}, which a trace of this pass calls {_named(after)}: this model runs its "
            "attention in another order than its modules tell, so the result is of other heads than you named. The order is "
            "known now: run the model once more."
        )

    def _name(self) -> dict[Key, Place]:
        """The places of the calls of a whole pass."""
        config = getattr(self._model, "config", None)
        layers = getattr(config, "num_hidden_layers", None)
        layers = layers if isinstance(layers, int) else None
        calls = [Call(path, cross, 0) for path, cross in self._cross.items()]
        keys: list[Key] = [(path, cross, 0) for path, cross in self._cross.items()]
        repeats = layers is not None and 0 < len(calls) < layers and layers % len(calls) == 0
        if (
            repeats and self._fewer(calls[0].path, layers) and not any(self._cross.values())
        ):  # ALBERT: a few modules, which run in turns
            assert layers is not None
            turns = layers // len(calls)
            calls = [Call(path, cross, turn) for turn in range(turns) for path, cross in self._cross.items()]
            keys = [(call.path, call.cross, call.number) for call in calls]
        else:
            calls, keys = self._registered(calls)
        if not calls:
            return {}
        both = bool(getattr(config, "is_encoder_decoder", False))
        places = stack_places(calls, both, layers, bool(getattr(config, "is_decoder", False)))
        return dict(zip(keys, places, strict=True))

    def _fewer(self, path: str, layers: int | None) -> bool:
        """Whether the list that a module is in has fewer entries than the model has layers: others of it would mix tokens by other means."""
        names = path.split(".")
        at = next((place for place, name in enumerate(names) if name.isdigit()), None)
        held = None if at is None else self._model.get_submodule(".".join(names[:at]))
        return layers is not None and (held is None or len([*held.children()]) < layers)

    def _registered(self, calls: list[Call]) -> tuple[list[Call], list[Key]]:
        """A module that stands at several places of the model runs once at each."""
        several: dict[int, list[str]] = {}
        for path, module in self._model.named_modules(remove_duplicate=False):
            several.setdefault(id(module), []).append(path)
        paths = {found[0]: found for found in several.values()}
        keys = [(call.path, call.cross, number) for call in calls for number in range(len(paths[call.path]))]
        return [Call(path, call.cross, 0) for call in calls for path in paths[call.path]], keys


def _keyed(seen: Pass, places: Mapping[int, Place]) -> dict[Key, Place]:
    """The places of the calls of a pass, by what tells a call before the pass is over."""
    numbers: dict[str, int] = {}
    found: dict[Key, Place] = {}
    for at, (path, cross) in enumerate(seen.order):
        number = numbers[path] = numbers.get(path, -1) + 1
        if at in places:
            found[path, cross, number] = places[at]
    return found


def _attending(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """The modules whose calls of attention are seen, with their paths."""
    for path, module in model.named_modules():
        if attends_by_interface(module) or attends_itself(module):
            yield path, module


def _same(foreseen: Place, actual: Place) -> bool:
    """A pass that runs one stack alone has no name for it."""
    unnamed = foreseen.stack is None or actual.stack is None
    return foreseen.layer == actual.layer and (unnamed or foreseen.stack == actual.stack)


def _named(place: Any) -> str:
    return f"{place.stack} layer {place.layer}" if place.stack else f"layer {place.layer}"
