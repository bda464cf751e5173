"""Which weight plays which part: queries, keys, values, the output, or several of them at once."""

import inspect
import re
from collections.abc import Iterator

import torch
from torch import nn

from attnscope.doctor.code_check.run.low_rank import chained, for_each_head
from attnscope.doctor.code_check.run.parameters import Owner, input_role, role_of

Roles = dict[str, list[Owner]]
TOGETHER = {"qkv": "qkv", "kv": "kv", "qk": "qk"}
BILINEAR = "keys and values as they come"
OF_KEYS = "queries and values as they come"


def assignments(owners: list[Owner]) -> Iterator[tuple[Roles, list[Owner], str]]:
    """Weights by role, those without one, and how that was found out."""
    roles, other = _by_name(owners)
    how = "by name"
    if not _complete(roles):
        every = list(_by_shape(owners))
        how = "by shape"
    else:
        every = [(roles, other)]
    for found, left in every:
        for unpacked in _unpacked(found):
            low = chained(unpacked, left)
            for more in (low, for_each_head(unpacked)):
                if more is not None:
                    yield more, left, how
            yield unpacked, left, how


def unprojected(module: nn.Module, owners: list[Owner]) -> Iterator[tuple[Roles, list[Owner], str]]:
    """Queries, keys or values that nothing projects, where names leave some of them out: queries and keys alone are named, or keys and
    values; or one map, of a module that takes queries and keys apart, meets the keys themselves."""
    roles, other = _by_name(owners)
    parameters = list(inspect.signature(module.forward).parameters)
    inputs = {str(input_role(name)) for name in parameters}
    if len(parameters) > 1 and re.match(r"enc(oder)?_|context$|memory", parameters[1]):
        inputs |= {"q", "k"}
    named = {role for role in roles if role != "o"}
    if named == {"q", "k"}:
        (k,) = roles["k"][:1]
        widths = {"v": k.weight.shape[0] if k.weight.ndim == 2 else 0}
    elif named == {"k", "v"} or named == {"kv"}:
        first = roles["k" if "k" in roles else "kv"][0].weight
        widths = {"q": first.shape[-1] // (1 if "k" in roles else 2)}
    elif {"q", "k"} <= inputs and len(named) <= 1 and len(alone := [*roles.get("q", roles.get("k", [])), *other]) == 1:
        rest = {role: found for role, found in roles.items() if role == "o"}
        if not roles.get("q"):  # the map may be of the keys
            as_they_come = {r: [Owner(("itself",), torch.eye(alone[0].weight.shape[-1]))] for r in "qv"}
            yield {**rest, **as_they_come, "k": alone}, [], f"by name; {OF_KEYS}"
        roles, other = {**roles, "q": alone}, []
        widths = dict.fromkeys("kv", alone[0].weight.shape[-1])
    else:
        return
    known = {role: width for role, width in widths.items() if width}
    if len(known) == len(widths):
        made = {role: [Owner(("itself",), torch.eye(width))] for role, width in known.items()}
        yield {**roles, **made}, other, f"by name; {' and '.join(_ITSELF[r] for r in widths)} as they come"


_ITSELF = {"q": "queries", "k": "keys", "v": "values"}


def _by_name(owners: list[Owner]) -> tuple[Roles, list[Owner]]:
    roles: Roles = {}
    other: list[Owner] = []
    for owner in owners:
        role = next((role for part in reversed(owner.path) if not part.isdigit() and (role := role_of(part))), None)
        (roles.setdefault(role, []) if role else other).append(owner)
    for role in "qkv":  # queries, keys or values of the module's own, beside what projects
        maps = [owner for owner in roles.get(role, ()) if not owner.raw]
        if maps and len(maps) < len(roles[role]):
            roles[role] = maps
        elif "qkv" in roles and role in roles and not maps:
            del roles[role]
    return roles, other


def _complete(roles: Roles) -> bool:
    """Whether queries, keys and values are all among them."""
    return set("qkv") <= {letter for role in roles if role != "o" for letter in role}


def _by_shape(owners: list[Owner]) -> Iterator[tuple[Roles, list[Owner]]]:
    """Projections in the order in which they were made: q, k, v[, o], or all in one[, o]; then k, q, v and v, k, q."""
    shapes = [list(o.weight.shape) for o in owners]
    flat = all(len(s) == 2 for s in shapes)
    if len(owners) in (1, 2) and (3 in shapes[0] if len(shapes[0]) > 2 else shapes[0][1] > shapes[0][0]):
        yield {"qkv": owners[:1], "o": owners[1:]}, []
    elif len(owners) in (2, 3) and flat and shapes[1][1] == 2 * shapes[0][1]:
        yield {"q": owners[:1], "kv": owners[1:2], "o": owners[2:]}, []
    elif len(owners) > 2 and shapes[1] == shapes[2] and len(shapes[0]) == len(shapes[1]):
        for order in ((0, 1, 2), (1, 0, 2), (2, 1, 0)):
            triple = [owners[i] for i in order]
            if triple[1].weight.shape == triple[2].weight.shape:
                yield {r: [o] for r, o in zip("qkv", triple, strict=True)}, owners[3:]


def _unpacked(roles: Roles) -> Iterator[Roles]:
    """A parameter with an axis for q, k and v (or for two of them) is one weight for each; its other axes stay."""
    packed = next((r for r in TOGETHER if r in roles and len(roles[r]) == 1 and roles[r][0].weight.ndim > 2), None)
    if packed is None:
        yield roles
        return
    (owner,) = roles[packed]
    weight, bias = owner.weight, owner.bias
    for axis in [i for i, n in enumerate(weight.shape) if n == len(packed)]:
        cut = None if bias is None else bias.unflatten(0, (len(packed), -1)) if bias.ndim == 1 else bias
        biases = (
            cut.unbind(cut.shape.index(len(packed)))
            if cut is not None and len(packed) in cut.shape
            else [None] * len(packed)
        )
        parts = zip(packed, weight.unbind(axis), biases, strict=True)
        yield {
            **{r: found for r, found in roles.items() if r != packed},
            **{r: [Owner(owner.path, w, b, True)] for r, w, b in parts},
        }
