"""Row 18: the last queries over all keys, as with a key/value cache, give what a run without a cache gives."""

import inspect
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from attnscope.doctor.code_check.case import Case
from attnscope.doctor.code_check.match.search import Fit, error_of
from attnscope.doctor.code_check.recipe import compute
from attnscope.doctor.code_check.run.invocation import Invocation
from attnscope.doctor.code_check.run.outputs import tensors_in
from attnscope.doctor.code_check.run.sandbox import Outcome, run

NEAR = 1e-3  # of the output's standard deviation
LAST = 3  # queries that come with the cache
_PAST = re.compile(r"past|cache|kv_state|layer_state|incremental", re.IGNORECASE)
_SWITCH = re.compile(r"^(use|return|with)_?(kv_?)?(cache|past|present)|^cache_?(on|enabled)$", re.IGNORECASE)


def examine(case: Case, fit: Fit) -> None:
    """As `cached=` asks: True, a function for the last queries, or what makes a module's cache."""
    if isinstance(fit.invocation.fn, nn.Module):
        _module(case, fit)
        return
    if fit.invocation.call.inputs != 3:
        case.skip("cached-one-sequence")
        return
    step = case.fn if case.cached is True else case.cached
    if not callable(step):
        case.skip("cached-wanted")
        return
    invocation = fit.invocation
    inputs = invocation.inputs("cached", 7)
    whole = invocation.run(inputs, causal=True, **case.options)
    last = (inputs[0][..., -LAST:, :], inputs[1], inputs[2])
    part = replace(invocation, fn=step).run(last, causal=True, **case.options)
    if whole.output is None or part.output is None:
        case.skip("cached-failed", error=part.outcome.error or part.wrong or whole.outcome.error)
        return
    _judge(case, part.output, whole.output, upper_left=_upper_left(case, fit, last))


def _upper_left(case: Case, fit: Fit, last: tuple[Tensor, Tensor, Tensor]) -> Tensor | None:
    """What a triangle at the upper left gives for the last queries, if the recipe is known."""
    try:
        return compute(fit.recipe.but(causal=True, aligned="upper"), fit.operands(last, case.sinks)).output
    except RuntimeError:
        return None


def _judge(case: Case, part: Tensor, whole: Tensor, upper_left: Tensor | None = None) -> None:
    case.compared = True
    far = error_of(part, whole[..., -LAST:, :])
    if far < NEAR:
        case.conventions["cached"] = "the same as uncached"
    elif upper_left is not None and error_of(part, upper_left) < NEAR:
        case.find("causal-upper-left", count=LAST, far=far)
    else:
        case.find("cached-differs", count=LAST, far=far)


# --- a module with a cache of its own -----------------------------------------------------------------------------


def _module(case: Case, fit: Fit) -> None:
    """Four tokens, then three with what was kept of the four, against all seven at once."""
    invocation = fit.invocation
    names = list(inspect.signature(invocation.fn.forward).parameters)  # type: ignore[attr-defined]
    past = next((n for n in names if _PAST.search(n) and not _SWITCH.search(n) and "position" not in n), None)
    switch = next((n for n in names if _SWITCH.search(n)), None)
    if past is None:
        case.skip("cached-unnamed")
        return
    if invocation.call.inputs != 1 or case.fn is None:
        case.skip("cached-apart")
        return
    x = invocation.inputs("cached", 7)[0]
    asked = {switch: True} if switch else {}
    made = _made(case.cached, x.shape[0], 7)

    def step(tokens: Tensor, kept: Any, first_place: int = 0) -> Outcome:
        places = slice(first_place, first_place + tokens.shape[1])
        named = {**invocation.call.fixed, **_step_by_step(invocation, x, places)}
        named |= {**asked, **({past: kept} if kept is not None else {})}
        first = tokens if invocation.layout.startswith("(batch") else tokens.transpose(0, 1)
        return run(_joined(invocation.fn, (first,), named), (), still=case.still)

    whole = invocation.run((x, x, x), **case.options).output
    cut = x.shape[-2] - LAST
    before = step(x[:, :cut], made)
    kept = made if made is not None else _kept(before.value)
    if not before.ok:
        case.skip("cached-failed", error=before.error)
        return
    if kept is None or whole is None:
        case.skip("cached-nothing-back", name=past)
        return
    after = step(x[:, cut:], kept, cut)
    part = next((t.detach().float() for t in tensors_in(after.value) if t.ndim == 3), None) if after.ok else None
    if part is None:
        does = "returns no output" if after.ok else f"raises {after.error}"
        case.find("cached-raises", does=does, line=after.line)
        return
    part = part if invocation.layout.startswith("(batch") else part.transpose(0, 1)
    upper_left = None if invocation.ends is not None else _upper_left(case, fit, (x[:, -LAST:], x, x))
    _judge(case, part, whole, upper_left)


def _step_by_step(invocation: Invocation, x: Tensor, places: slice) -> dict[str, Any]:
    """What the other parameters get for these places of x: their part of what has a row for each place."""
    named = {}
    for name, value in invocation.filled((x, x, x), x).items():
        whole = value if isinstance(value, tuple) else (value,)
        cut = tuple(_rows(part, places, x.shape[1]) for part in whole)
        named[name] = cut if isinstance(value, tuple) else cut[0]
        if re.search(r"^(start|begin|cur)|(^|_)offset$|start_?pos", name) and isinstance(value, int):
            named[name] = places.start
    return named


def _rows(part: Any, places: slice, length: int) -> Any:
    """The part of a table for these places: along its first axis of that length."""
    if not isinstance(part, Tensor) or length not in part.shape:
        return part
    return part.movedim(part.shape.index(length), 0)[places].movedim(0, part.shape.index(length))


def _made(cached: Any, batch: int, length: int) -> Any:
    """An empty cache, where `cached=` makes one: with no argument, or with (batch, length)."""
    if cached is True or not callable(cached):
        return None
    try:
        return cached()
    except TypeError:
        return cached(batch, length)


def _joined(fn: Callable, args: tuple, named: dict[str, Any]) -> Callable:
    """A call without arguments: a cache is to be the same object in both steps, so nothing is copied."""
    return lambda: fn(*args, **named)


def _kept(value: Any) -> Any:
    """What came back beside the output: the second of a pair, or what is called past, present or cache."""
    if isinstance(value, tuple | list):
        return next((part for part in value[1:] if part is not None and not _weights(part)), None)
    named = value.items() if isinstance(value, dict) else getattr(value, "__dict__", {}).items()
    return next((v for n, v in named if (_PAST.search(n) or "present" in n) and v is not None), None)


def _weights(part: Any) -> bool:
    """Whether this looks like attention weights: [B, H, T, T]."""
    return torch.is_tensor(part) and part.ndim == 4 and part.shape[-1] == part.shape[-2]
