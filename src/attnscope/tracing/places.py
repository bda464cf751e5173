"""Layers, heads, stacks and what to keep, as people write them, turned into what the code works with.

Layers and heads count from 0. A layer is 2, "2" or "L2"; a head is 8, "8" or "L2H8", which names the layer as well.
"""

import operator
import re
from collections.abc import Collection, Iterable
from typing import Any

from attnscope.errors import InputError

KEEP = ("x", "pre_rotary", "projections", "stream")  # what a trace may keep besides q, k and v


def is_number(value: Any) -> bool:
    """Whether it counts as a whole number; True and False do not."""
    return hasattr(value, "__index__") and not isinstance(value, bool)


def check_flag(name: str, value: Any) -> None:
    """Raises InputError for what is neither True nor False: of a text such as "no" Python would make True."""
    if not (isinstance(value, bool) or type(value).__name__ in ("bool_", "bool")):
        raise InputError(f"{name} is {value!r:.60}; it is True or False.")


def parse_layer(layer: Any, what: str = "layer") -> int:
    """A layer's number from 2, "2" or "L2". Raises InputError for anything else.

    `layer`: negative numbers count from the end. `what`: the argument's name, for the error.
    """
    if isinstance(layer, str):
        if match := re.fullmatch(r"[Ll]?(-?\d+)", layer.strip()):
            return int(match[1])
        if re.fullmatch(r"[Ll]\d+[Hh]\d+", layer.strip()):
            raise InputError(
                f'{what} "{layer}" names a head as well. Give the layer alone: "{re.split("[Hh]", layer.strip())[0]}".'
            )
    elif is_number(layer):
        return operator.index(layer)
    raise InputError(f'expected {what} as a number or a name such as "L2", counted from 0; got {layer!r}.')


def parse_head(head: Any, layer: Any = None) -> tuple[int | None, int | None]:
    """(layer, head) from a head number or a name such as "L2H8", which also names the layer. Raises InputError.

    `head`: from 0; None stays None. `layer`: what the caller gave beside it, as for `parse_layer`; None where nothing.
    """
    number = None if layer is None else parse_layer(layer)
    if head is None:
        return number, None
    if not isinstance(head, str) and is_number(head):
        return number, operator.index(head)
    if isinstance(head, str):
        match = re.fullmatch(r"[Ll](\d+)[Hh](\d+)", head.strip())
        if match and number in (None, int(match[1])):
            return int(match[1]), int(match[2])
        if match:
            raise InputError(
                f'head "{head}" is in layer {match[1]}; expected one of layer {number}. Give a head of that layer, or its number.'
            )
        if head.strip().isdigit():
            return number, int(head)
    expected = f" of layer {number}" if number is not None else ""
    raise InputError(f'expected a head{expected} as a number or a name such as "L2H8" (layer 2, head 8), got {head!r}.')


def parse_layers(layers: Any) -> tuple[int, ...] | None:
    """The layers to keep, each once: from a sequence, or from one layer (5, "L5"). None: all. Raises InputError."""
    if layers is None:
        return None
    given = [layers] if isinstance(layers, str) or not isinstance(layers, Iterable) else list(layers)
    if not given:
        raise InputError("layers is empty, and then nothing is left to keep: give numbers from 0, or None for all.")
    return tuple(dict.fromkeys(parse_layer(layer, "layers") for layer in given))


def parse_part(part: Any) -> int:
    """The first window, frame or crop to show, from 0. Raises InputError for what is no such number."""
    if not is_number(part) or operator.index(part) < 0:
        raise InputError(f"expected part as a number from 0 on, got {part!r:.60}.")
    return operator.index(part)


def parse_sites(sites: Any) -> tuple[str, ...] | None:
    """Module paths of the attention to keep: from a sequence, or from one path. None: all. Raises InputError."""
    if sites is None:
        return None
    given = (sites,) if isinstance(sites, str) else tuple(sites) if isinstance(sites, Iterable) else (sites,)
    if wrong := [path for path in given if not isinstance(path, str)]:
        raise InputError(
            f"expected sites as module paths, such as sites=['encoder.layer.0.attention'], got {wrong[0]!r}. "
            "[site.path for site in trace.sites] lists those of a trace."
        )
    if not given:
        raise InputError("sites is empty, and then nothing is left to keep: give module paths, or None for all.")
    return given


def parse_keep(keep: Any) -> frozenset[str]:
    """What to keep besides q, k and v: any of "x", "pre_rotary", "projections"; one of them alone, or None for nothing.

    Raises InputError for anything else.
    """
    given: Collection[Any] = () if keep is None else (keep,) if isinstance(keep, str) else keep
    if not isinstance(given, Iterable):
        raise InputError(f"expected keep as names, such as keep={{'x'}}, got {keep!r}. It takes {', '.join(KEEP)}.")
    if unknown := [name for name in given if name not in KEEP]:
        raise InputError(f"keep has {sorted(map(str, unknown))}; besides q, k and v it takes {', '.join(KEEP)}.")
    return frozenset(given)
