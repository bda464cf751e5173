"""The attentions inside a larger module that are modules of their own: a layer with two of them, a stack of blocks."""

import re
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from attnscope.doctor.code_check.run.invocation import Invocation
from attnscope.doctor.code_check.run.parameters import owners_of, role_of

MOST = 4  # kinds of parts that are examined


def parts_of(module: nn.Module, whole: Invocation | None, inputs: tuple[Tensor, ...] = ()) -> dict[str, nn.Module]:
    """One of each kind, by its path: the outermost modules with one projection to queries, one to keys, one to values. `whole`: a way of
    calling the module, with its inputs; only parts that then run count. Parts that take the same input side by side are heads of one
    attention and say little alone: none then."""
    found = dict(_outermost(module, ""))
    saw: dict[str, Any] = dict.fromkeys(found)
    if whole is not None:
        saw = _first_inputs(whole, found, inputs)
    kinds: dict[tuple, str] = {}
    for path in saw:
        kinds.setdefault(_kind(found[path]), path)
    same = [(_kind(found[path]), x) for path, x in saw.items() if isinstance(x, Tensor)]
    for i, (kind, x) in enumerate(same):
        if any(kind == other and x.shape == y.shape and torch.equal(x, y) for other, y in same[:i]):
            return {}
    return {path: found[path] for path in list(kinds.values())[:MOST]}


def attentions_beside(module: nn.Module, path: str) -> bool:
    """Whether it holds several such parts, and this path leads into one of them."""
    found = [one for one, _ in _outermost(module, "")]
    return len(found) > 1 and any(path.startswith(f"{one}.") for one in found)


def _outermost(module: nn.Module, path: str) -> Iterator[tuple[str, nn.Module]]:
    for name, part in module.named_children():
        here = f"{path}.{name}" if path else name
        if _attends_once(part):
            yield here, part
        else:
            yield from _outermost(part, here)


def _attends_once(part: nn.Module) -> bool:
    """Whether its weights are those of one attention, by their names, and it can be called."""
    if isinstance(part, nn.ModuleList | nn.ModuleDict):
        return False
    named = [role_of(next((name for name in reversed(o.path) if not name.isdigit()), "")) for o in owners_of(part)]
    roles = [role for role in named if role and role != "o"]
    if not roles and re.search(r"att|mha|multi_?head", type(part).__name__, re.IGNORECASE):
        shapes = [tuple(o.weight.shape) for o in owners_of(part)]  # four maps in a list
        return len(shapes) == 4 and len(set(shapes)) == 1 and len(shapes[0]) == 2
    return {letter for role in roles for letter in role} == set("qkv") and len("".join(roles)) == 3


def _first_inputs(whole: Invocation, parts: dict[str, nn.Module], inputs: tuple[Tensor, ...]) -> dict[str, Any]:
    """What each part that runs takes first."""
    saw: dict[str, Any] = {}

    def keep(path: str) -> Any:
        def hook(_: nn.Module, args: tuple, kwargs: dict) -> None:
            saw.setdefault(path, next((x for x in (*args, *kwargs.values()) if isinstance(x, Tensor)), None))

        return hook

    own = dict(whole.fn.named_modules())  # type: ignore[attr-defined]
    hooks = [own[path].register_forward_pre_hook(keep(path), with_kwargs=True) for path in parts if path in own]
    try:
        whole.run(inputs, seed=11)
    finally:
        for hook in hooks:
            hook.remove()
    return {path: saw[path] for path in parts if path in saw}


def _kind(part: nn.Module) -> tuple:
    return (type(part), tuple(tuple(p.shape) for p in part.parameters()))
