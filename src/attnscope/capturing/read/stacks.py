"""Which stack and layer is a call of? Read from module paths and from what is self and what is cross attention.

A model may have several towers. Each is a stack of its own, named by its module path: "vision", "text", "qformer". Of
an encoder-decoder model they are "encoder", "decoder" and "cross".
"""

import functools
import re
from collections import Counter, defaultdict
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, NamedTuple

# What the parts of module paths say, the first that fits. A part may say several things: "vision_encoder" is vision.
_TOWERS = {
    "vision": r"vision|visual|image|pixel|(^|_)vit($|_)",
    "audio": r"audio|speech|sound",
    "video": r"video",
    "language_model": r"language_model|(^|_)llm($|_)",
    "text": r"(^|_)text($|_)",
    "qformer": r"q_?former",
    "resampler": r"resampler|perceiver",
    "encoder": r"encoder",
    "decoder": r"decoder",
}


class Place(NamedTuple):
    """Where a call stands. `tower`: the stack whose layers it is a part of, for cross attention that of its queries."""

    stack: str | None
    layer: int
    tower: str | None


class Call(NamedTuple):
    """A call of a pass: its module's path, whether it is cross attention, which call of that module it is, from 0."""

    path: str
    cross: bool
    number: int


class _Group(NamedTuple):
    """Calls of one kind in one list of layers. `template`: None where all modules of the list are of one kind."""

    container: str
    cross: bool
    template: str | None


def stack_places(
    calls: Sequence[Call], encoder_decoder: bool = False, layers: int | None = None, decoder: bool = False
) -> list[Place]:
    """The place of every call, in order.

    A layer keeps the number that its path has, where that is unambiguous. Two calls of one layer are one layer with two
    calls, each call in a stack of its own, as they read different sequences; modules of an only tower that run as often
    as the configuration has layers (ALBERT) are numbered by their turns.

    `encoder_decoder`, `layers`, `decoder`: what the configuration says: is it an encoder-decoder model, how many layers
    are there, is it used as a decoder.
    """
    return [*_stack_places(tuple(calls), encoder_decoder, layers, decoder)]


@functools.lru_cache(maxsize=32)  # of one model it is the same in every pass
def _stack_places(
    calls: tuple[Call, ...], encoder_decoder: bool, layers: int | None, decoder: bool
) -> tuple[Place, ...]:
    groups = _groups(calls)
    paths = {group: _split(call.path)[2] for group, call in zip(reversed(groups), reversed(calls), strict=True)}
    names = _names({group: paths[group] for group in dict.fromkeys(groups)}, encoder_decoder, decoder)
    towers: dict[str, Any] = {group.container: name for group, name in names.items() if not group.cross}
    found: list[Place | None] = [None] * len(calls)
    for group, name in names.items():
        mine = [i for i, other in enumerate(groups) if other == group]
        tower = _tower(group.container, towers)
        turns = layers if len(towers) == 1 else None
        for i, (layer, call) in zip(mine, _layers([calls[i] for i in mine], turns), strict=True):
            stack = name if call is None else f"{name} call {call + 1}" if name else f"call {call + 1}"
            found[i] = Place(stack, layer, tower if group.cross else stack)
    return tuple(place for place in found if place is not None)


def shared_parts(path: str, other: str) -> int:
    """How many parts two module paths have in common, from the beginning."""
    count = 0
    for one, two in zip(path.split("."), other.split("."), strict=False):
        if one != two:
            break
        count += 1
    return count


def _groups(calls: Sequence[Call]) -> list[_Group]:
    """The group of each call."""
    split = [_split(path) for path, _, _ in calls]
    # Layers of one kind of which some have fewer keys than queries (Segformer sums them up) are one stack. A module that does both
    # in one run is two (Pegasus-X: its tokens, and the global ones that read them).
    own = {template for (_, _, template), call in zip(split, calls, strict=True) if not call.cross}
    both = {call.path for call in calls if call.cross} & {call.path for call in calls if not call.cross}
    calls = [
        call._replace(cross=call.cross and (template not in own or call.path in both))
        for (_, _, template), call in zip(split, calls, strict=True)
    ]
    kinds: dict[Hashable, dict[str, set[int]]] = defaultdict(lambda: defaultdict(set))  # templates, and their layers
    for (container, number, template), call in zip(split, calls, strict=True):
        kinds[container, call.cross][template].add(number)
    found = []
    for (container, _, template), call in zip(split, calls, strict=True):
        there = kinds[container, call.cross]
        # Modules of two names in one layer (attention over time, and over space) are two stacks.
        several = sum(map(len, there.values())) > len(set().union(*there.values()))
        found.append(_Group(container, call.cross, template if several else None))
    return found


def _split(path: str) -> tuple[str, int, str]:
    """The list of layers that a module is in, its number there (-1: none), and the path with * for each number."""
    parts = path.split(".")
    start = next((i for i, part in enumerate(parts) if not part.isdigit()), 0)
    at = next((i for i, part in enumerate(parts) if i > start and part.isdigit()), None)
    template = ".".join("*" if part.isdigit() else part for part in parts)
    if at is None:
        return ".".join(parts[:-1]), -1, template
    return ".".join(parts[:at]), int(parts[at]), template


def _names(paths: Mapping[_Group, str], encoder_decoder: bool, decoder: bool) -> dict[_Group, str | None]:
    """What each group is called; None for the only one. `paths`: the template of one of its modules."""
    own = {group: path for group, path in paths.items() if not group.cross}
    if len(paths) == len(own) == 1 and not encoder_decoder:
        return dict.fromkeys(own)
    crossed = {group.container for group in paths if group.cross}
    words: dict[_Group, list[str]] = {}
    for group in own:
        said = _said(group.container)
        if not said and encoder_decoder:
            said = ["encoder"]
        if group.container in crossed and (not said or (said == ["encoder"] and decoder)):
            said = ["decoder"]  # layers of self and cross attention are a decoder's, whatever they are called
        words[group] = said
    names = _distinct(words, own)
    towers = {group.container: name for group, name in names.items()}
    cross = {group: _tower(group.container, towers) for group in paths if group.cross}
    first = "decoder" if "decoder" in cross.values() else None
    if len({*cross.values()}) == 1:
        first = next(iter(cross.values()))
    titles = {group: ["cross" if tower in (first, None) else f"{tower} cross"] for group, tower in cross.items()}
    return {**names, **_distinct(titles, {group: paths[group] for group in cross})}


def _tower(container: str, towers: Mapping[str, Any]) -> Any:
    """What the layers in this list are called, else those whose path shares the longest beginning with it."""
    if container in towers:
        return towers[container]
    best = max(towers, key=lambda other: shared_parts(container, other), default=None)
    return towers[best] if best is not None and shared_parts(container, best) else None


def _said(container: str) -> list[str]:
    """What the parts of a path say about a tower, in order."""
    found = []
    for part in container.lower().split("."):
        if name := next((name for name, words in _TOWERS.items() if re.search(words, part)), None):
            found.append(name)
    return [*dict.fromkeys(found)]


def _distinct(words: Mapping[_Group, list[str]], paths: Mapping[_Group, str]) -> dict[_Group, str]:
    """A name for each group that no other has: its first word, or its last, or what tells its module's path apart."""
    names = {group: said[0] if said else "" for group, said in words.items()}
    for name in [*dict.fromkeys(names.values())]:
        same = [group for group in names if names[group] == name]
        if name and len(same) == 1:
            continue
        last = [words[group][-1] if name else "" for group in same]
        if len({*last}) == len(same) and "" not in last and not {*last} & {*names.values()} - {name}:
            names |= dict(zip(same, last, strict=True))
            continue
        base = name if len(same) < len(names) or name == "cross" else ""
        for group in same:
            rivals = [paths[other] for other in (same if name else names) if other != group]
            names[group] = f"{base} {_apart(paths[group], rivals)}".strip() or "self"
    count = Counter(names.values())
    return {group: paths[group] if count[name] > 1 else name for group, name in names.items()}


def _apart(path: str, others: Sequence[str]) -> str:
    """The first part of a path in which it differs from all others, without what every name of cross attention has."""
    parts = path.split(".")
    for at, part in enumerate(parts):
        if others and all(other.split(".")[at : at + 1] != [part] for other in others):
            return re.sub(r"^cross_?(attn|attention)_?", "", part) or part
    return path if others else ""


def _layers(calls: Sequence[Call], layers: int | None) -> list[tuple[int, int | None]]:
    """The layer of each call of a group, and which call of the layer it is, None where all have one."""
    paths = [*dict.fromkeys(call.path for call in calls)]
    if len(paths) < len(calls) and layers and len(paths) < layers and len(calls) % layers == 0:
        turns = [divmod(turn, layers) for turn in range(len(calls))]
        return [(layer, number if len(calls) > layers else None) for number, layer in turns]
    numbers = [_split(path)[1] for path in paths]
    clear = -1 not in numbers and len(set(numbers)) == len(numbers)
    layer_of = dict(zip(paths, numbers if clear else range(len(paths)), strict=True))
    many = len(paths) < len(calls)
    return [(layer_of[call.path], call.number if many else None) for call in calls]
