"""Row 18: the last queries over all keys, as with a key/value cache, give what a run without a cache gives."""

import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
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
CERTAIN = 0.05  # where nobody asked: a cache of fewer bits is nearer than that
LAST = 3  # queries that come with the cache
_PAST = re.compile(r"past|cache|kv_state|layer_state|incremental", re.IGNORECASE)
_PLACES = re.compile(r"pos|start|offset|cos|sin$|freq|rope|rotary|idx|index|seq_?len", re.IGNORECASE)
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


def _judge(
    case: Case, part: Tensor, whole: Tensor, upper_left: Tensor | None = None, begin_again: bool = False
) -> None:
    case.compared = True
    count = part.shape[-2]
    far = error_of(part, whole[..., -count:, :])
    if far < NEAR:
        case.conventions["cached"] = "the same as uncached"
    elif upper_left is not None and error_of(part, upper_left) < NEAR:
        case.find("causal-upper-left", count=count, far=far)
    elif begin_again:
        case.find("cached-positions", count=count, far=far)
    else:
        case.find("cached-differs", count=count, far=far)


# --- a module with a cache of its own -----------------------------------------------------------------------------


@dataclass(frozen=True)
class _Cached:
    """A module whose forward takes a cache: `pasts`, one parameter, or one for the keys and one for the values."""

    case: Case
    invocation: Invocation
    x: Tensor
    pasts: list[str]
    switch: str | None
    made: Any = None  # an empty cache, where the user made one

    def step(self, tokens: Tensor, kept: Any, first_place: int = 0) -> Outcome:
        places = slice(first_place, first_place + tokens.shape[1])
        named = {**self.invocation.call.fixed, **_step_by_step(self.invocation, self.x, places)}
        named |= {self.switch: True} if self.switch else {}
        if kept is not None:
            named |= dict(zip(self.pasts, kept, strict=True)) if len(self.pasts) > 1 else {self.pasts[0]: kept}
        first = tokens if self._batch_first else tokens.transpose(0, 1)
        return run(_joined(self.invocation.fn, (first,), named), (), still=self.case.still)

    @property
    def _batch_first(self) -> bool:
        return self.invocation.layout.startswith("(batch")

    def kept(self, value: Any) -> Any:
        """What came back to be passed as the cache; None where nothing did."""
        if len(self.pasts) < 2:
            return _kept(value)
        parts = [x for x in tensors_in(value)[1:] if not _weights(x)]
        return tuple(parts) if len(parts) == len(self.pasts) else None

    def output(self, outcome: Outcome) -> Tensor | None:
        part = next((t.detach().float() for t in tensors_in(outcome.value) if t.ndim == 3), None)
        return part if part is None or self._batch_first else part.transpose(0, 1)


def _cached(case: Case, fit: Fit, names: list[str]) -> _Cached | None:
    """None where no parameter takes a cache."""
    pasts = [n for n in names if _PAST.search(n) and not _SWITCH.search(n) and not re.search("position|len|mask", n)]
    pasts = pasts if len(pasts) == 2 and _key_and_value(pasts) else pasts[:1]
    if not pasts:
        return None
    x = fit.invocation.inputs("cached", 7)[0]
    return _Cached(case, fit.invocation, x, pasts, next((n for n in names if _SWITCH.search(n)), None))


def _key_and_value(names: list[str]) -> bool:
    key, value = names
    return bool(re.search(r"k(ey)?s?(_|$)", key) and re.search(r"v(al(ue)?)?s?(_|$)", value))


def _module(case: Case, fit: Fit) -> None:
    """Four tokens, then three with what was kept of the four, against all seven at once."""
    invocation = fit.invocation
    cached = _cached(case, fit, list(inspect.signature(invocation.fn.forward).parameters))  # type: ignore[attr-defined]
    if cached is None:
        case.skip("cached-unnamed")
        return
    if invocation.call.inputs != 1 or case.fn is None:
        case.skip("cached-apart")
        return
    x = cached.x
    made = _made(case.cached, x.shape[0], 7)
    whole = replace(invocation, ends=None).run((x, x, x), **case.options).output  # the whole module's
    cut = x.shape[-2] - LAST
    before = cached.step(x[:, :cut], made)
    kept = made if made is not None else cached.kept(before.value)
    if not before.ok:
        case.skip("cached-failed", error=before.error)
        return
    if kept is None or whole is None:
        case.skip("cached-nothing-back", name=" and ".join(cached.pasts))
        return
    after = cached.step(x[:, cut:], kept, cut)
    part = cached.output(after) if after.ok else None
    if part is None:
        does = "returns no output" if after.ok else f"raises {after.error}"
        case.find("cached-raises", does=does, line=after.line)
        return
    upper_left = None if invocation.ends is not None else _upper_left(case, fit, (x[:, -LAST:], x, x))
    _judge(case, part, whole, upper_left, made is None and _begin_again(cached, after, cut))


def of_itself(case: Case, fit: Fit) -> bool:
    """The same unasked, one token and then three, where the module takes as its cache what it returned, two tensors that grow with the
    tokens. False where that is not to be tried safely: nothing is said then."""
    invocation = fit.invocation
    if not isinstance(invocation.fn, nn.Module) or invocation.call.inputs != 1 or fit.mistakes or case.fn is None:
        return False
    names = list(inspect.signature(invocation.fn.forward).parameters)
    cached = _cached(case, fit, names)
    if cached is None or invocation.fill or invocation.call.needs_mask or invocation.queries_apart or invocation.tokens:
        return False
    if any(_PLACES.search(n) for n in names if n not in (*cached.pasts, cached.switch)):
        return False  # the caller says where the tokens stand
    x = cached.x
    whole = replace(invocation, ends=None).run((x, x, x), **case.options).output  # the whole module's
    if whole is None or whole.shape[1] != x.shape[1]:
        return False
    found: dict[int, tuple[float, Tensor, Outcome]] = {}
    for count in (1, LAST):
        cut = x.shape[1] - count
        before = cached.step(x[:, :cut], None)
        kept = cached.kept(before.value) if before.ok else None
        after = cached.step(x[:, cut:], kept, cut) if _of_tokens(kept, cut) else before
        part = cached.output(after) if after is not before and after.ok else None
        if part is not None and part.shape[1] == count and _of_tokens(cached.kept(after.value), x.shape[1]):
            found[count] = error_of(part, whole[:, cut:]), part, after
    if 1 not in found:
        return False
    far, part, after = found[1]
    if NEAR <= far < CERTAIN:
        return False  # a cache of fewer bits, perhaps
    case.compared = True
    if far >= CERTAIN:
        last = x.shape[1] - 1
        upper_left = None if invocation.ends is not None else _upper_left(case, fit, (x[:, last:], x, x))
        _judge(case, part, whole, upper_left, _begin_again(cached, after, last))
        return True
    case.conventions["cached"] = "the same as uncached"
    if LAST not in found or found[LAST][0] >= NEAR:
        case.conventions["cached"] += ", one token at a time"
        case.notes.append("with its cache it takes one token at a time; several at once raise, or give other numbers.")
    return True


def _of_tokens(kept: Any, count: int) -> bool:
    """Whether this is one tensor of keys and values, or a pair of them, with a row for each of so many tokens."""
    parts = [kept] if isinstance(kept, Tensor) else list(kept) if isinstance(kept, tuple | list) else []
    return len(parts) in (1, 2) and all(isinstance(x, Tensor) and x.ndim > 2 and count in x.shape[1:] for x in parts)


def _begin_again(cached: _Cached, after: Outcome, cut: int) -> bool:
    """Whether the keys that joined the cache are those of a text that begins with these tokens, and not those of this text."""
    x, found = cached.x, []
    alone, whole = cached.step(x[:, cut:], None), cached.step(x, None)
    counts = (x.shape[1], x.shape[1] - cut, x.shape[1])
    for outcome, count in zip((after, alone, whole), counts, strict=True):
        kept = cached.kept(outcome.value) if outcome.ok else None
        if kept is None or not _of_tokens(kept, count):
            return False
        found.append((kept if isinstance(kept, Tensor) else kept[0]).detach().float())
    if len({keys.ndim for keys in found}) > 1:
        return False
    axis = next((i for i in range(1, found[0].ndim) if tuple(keys.shape[i] for keys in found) == counts), None)
    if axis is None:
        return False
    joined, of_alone, of_whole = (keys.movedim(axis, 0)[cut - x.shape[1] :] for keys in found)
    return torch.allclose(joined, of_alone, atol=1e-5) and not torch.allclose(joined, of_whole, atol=1e-3)


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
    """Whether this looks like attention weights: [B, (H,) T, T], none below 0, in rows that sum to 1."""
    if not torch.is_tensor(part) or part.ndim not in (3, 4) or part.shape[-1] != part.shape[-2]:
        return False
    return bool((part >= 0).all()) and bool(((part.float().sum(-1) - 1).abs() < 1e-3).all())
