"""What people give for several layers at once: a list or a mapping of one entry a layer, or one stacked tensor."""

from collections.abc import Mapping, Sequence
from typing import Any

from attnscope.errors import InputError
from attnscope.tracing.places import parse_layer


def layers_of(value: Any, axes: int) -> dict[int, Any] | None:
    """Layer -> what it has, without the layers that have None; None where `value` is of one layer alone.

    `axes`: of one layer's tensor at most; a tensor of more is a stack of them. Raises InputError for a mapping whose
    keys are no layers.
    """
    if isinstance(value, Mapping):
        return {_layer(name): one for name, one in value.items() if one is not None}
    stacked = getattr(value, "ndim", 0) > axes and len(value) > 1
    if stacked or (isinstance(value, (list, tuple)) and any(one is None or hasattr(one, "shape") for one in value)):
        return {layer: one for layer, one in enumerate(value) if one is not None}
    return None


def numbers_of(value: Any) -> dict[int, Any] | None:
    """The same of an argument that is one number a layer."""
    if isinstance(value, Mapping):
        return layers_of(value, 0)
    if isinstance(value, (list, tuple)) or getattr(value, "ndim", 0) == 1:
        return {layer: one for layer, one in enumerate(value) if one is not None}
    return None


def same_layers(name: str, given: dict[int, Any] | None, layers: Sequence[int], optional: bool) -> dict[int, Any]:
    """`given`, or nothing for each layer; InputError where its layers are others than the query's.

    `optional`: a layer may lack it.
    """
    given = given or {}
    missing = [] if optional else [layer for layer in layers if layer not in given]
    stray = [layer for layer in given if layer not in layers]
    if missing or stray:
        raise InputError(
            f"{name} has the layers {_listed(given)}, and query has {_listed(layers)}: give one entry a layer, in the same order, "
            "or a mapping of layers."
        )
    return given


def _layer(name: Any) -> int:
    number = parse_layer(name)
    if number < 0:
        raise InputError(f"a mapping of layers has the layer {number}: layers count from 0.")
    return number


def _listed(layers: Any) -> str:
    return ", ".join(map(str, sorted(layers))) or "none"
