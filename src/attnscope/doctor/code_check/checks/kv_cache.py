"""Row 18: the last queries over all keys, as with a key/value cache, give what a run without a cache gives."""

import inspect
import re
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from attnscope.doctor.code_check.match.recipe import compute
from attnscope.doctor.code_check.match.search import Fit, error_of
from attnscope.doctor.code_check.run.invocation import Suspect
from attnscope.doctor.code_check.run.outputs import tensors_in
from attnscope.doctor.code_check.run.sandbox import Outcome, run
from attnscope.doctor.diagnosis import Finding

if TYPE_CHECKING:
    from attnscope.doctor.code_check.examine import Examination

NEAR = 1e-3  # of the output's standard deviation
_PAST = re.compile(r"past|cache|kv_state|layer_state|incremental", re.IGNORECASE)
_SWITCH = re.compile(r"^(use|return|with)_?(kv_?)?(cache|past|present)|^cache_?(on|enabled)$", re.IGNORECASE)


def examine(exam: "Examination", fit: Fit) -> None:
    """As `cached=` asks: True, a function for the last queries, or what makes a module's cache."""
    if isinstance(fit.suspect.fn, nn.Module):
        _module(exam, fit)
        return
    if fit.suspect.call.inputs != 3:
        exam.not_examined.append("cached= (row 18): it takes one sequence, so the last queries cannot be passed over all keys")  # fmt: skip
        return
    step = exam.fn if exam.cached is True else exam.cached
    if not callable(step):
        exam.not_examined.append("cached=: pass True, or a function of (query, key, value) for the last queries")
        return
    suspect = fit.suspect
    inputs = suspect.inputs("cached", 7)
    whole = suspect.run(inputs, causal=True, **exam.options)
    last = (inputs[0][..., -3:, :], inputs[1], inputs[2])
    part = replace(suspect, fn=step).run(last, causal=True, **exam.options)
    if whole.output is None or part.output is None:
        exam.not_examined.append(f"cached=: {part.outcome.error or part.wrong or whole.outcome.error}")
        return
    _judge(exam, part.output, whole.output, 3, upper_left=_upper_left(exam, fit, last))


def _upper_left(exam: "Examination", fit: Fit, last: tuple[Tensor, Tensor, Tensor]) -> Tensor | None:
    """What a triangle at the upper left gives for the last queries, if the recipe is known."""
    try:
        return compute(fit.recipe.but(causal=True, aligned="upper"), fit.operands(last, exam.sinks)).output
    except RuntimeError:
        return None


def _judge(exam: "Examination", part: Tensor, whole: Tensor, count: int, upper_left: Tensor | None = None) -> None:
    far = error_of(part, whole[..., -count:, :])
    if far < NEAR:
        exam.conventions["cached"] = "the same as uncached"
        return
    evidence = f"the last {count} rows differ from the uncached run by up to {far:.2g} standard deviations"
    invariant = "a run with a cache gives what a run without gives"
    if upper_left is not None and error_of(part, upper_left) < NEAR:
        exam.findings.append(Finding("causal-upper-left", 18, "with a key/value cache (Q < K) the causal triangle stands at the upper left; it belongs at the lower right", "The last queries then see only the first keys: scaled_dot_product_attention(is_causal=True) does this.", "torch.ones(Q, K, dtype=torch.bool).tril(diagonal=K - Q)", evidence, invariant, "the causal triangle when Q < K"))  # fmt: skip
        return
    exam.findings.append(Finding("cached-differs", 18, "with a key/value cache it gives something else than without", "A causal triangle aligned at the upper left, positions that begin at 0 again (rotary), or a cache in another order all look like this.", "align the triangle at the lower right, tril(diagonal=K - Q), and count positions from the length of the cache", evidence, invariant, "what happens when Q < K: the triangle, the positions, the joining of keys"))  # fmt: skip


# --- a module with a cache of its own -----------------------------------------------------------------------------


def _module(exam: "Examination", fit: Fit) -> None:
    """Four tokens, then three with what was kept of the four, against all seven at once."""
    suspect = fit.suspect
    names = list(inspect.signature(suspect.fn.forward).parameters)  # type: ignore[attr-defined]
    past = next((n for n in names if _PAST.search(n) and not _SWITCH.search(n) and "position" not in n), None)
    switch = next((n for n in names if _SWITCH.search(n)), None)
    if past is None:
        exam.not_examined.append("cached= (row 18): its forward takes no cache that can be told by name (past_key_value, cache, layer_past)")  # fmt: skip
        return
    if suspect.call.inputs != 1 or exam.fn is None:
        exam.not_examined.append("cached= (row 18): a module that takes query, key and value apart is not run with its cache; check it through a wrapper of (x, cache)")  # fmt: skip
        return
    x = suspect.inputs("cached", 7)[0]
    asked = {switch: True} if switch else {}
    made = _made(exam.cached, x.shape[0], 7)

    def step(tokens: Tensor, kept: Any) -> Outcome:
        named = {**suspect.call.fixed, **asked, **({past: kept} if kept is not None else {})}
        first = tokens if suspect.layout.startswith("(batch") else tokens.transpose(0, 1)
        return run(_joined(suspect.fn, (first,), named), (), still=exam.still)

    whole = suspect.run((x, x, x), **exam.options).output
    cut = x.shape[-2] - 3
    before = step(x[:, :cut], made)
    kept = made if made is not None else _kept(before.value)
    if not before.ok or kept is None or whole is None:
        exam.not_examined.append("cached= (row 18): " + (before.error if not before.ok else f"it returned nothing to pass as {past!r}; pass cached= a function that makes an empty cache"))  # fmt: skip
        return
    after = step(x[:, cut:], kept)
    part = next((t.detach().float() for t in tensors_in(after.value) if t.ndim == 3), None) if after.ok else None
    if part is None:
        exam.findings.append(Finding("cached-raises", 18, f"with its cache it raises {after.error}" if not after.ok else "with its cache it returns no output", "Generation calls it with one query and many keys.", "let queries be fewer than keys", "four tokens, then three with the cache of the four", "a run with a cache gives what a run without gives", "what happens when Q < K", after.line))  # fmt: skip
        return
    part = part if suspect.layout.startswith("(batch") else part.transpose(0, 1)
    _judge(exam, part, whole, 3, _upper_left_module(fit, x, exam))


def _upper_left_module(fit: Fit, x: Tensor, exam: "Examination") -> Tensor | None:
    if fit.suspect.ends is not None:
        return None
    return _upper_left(exam, fit, (x[:, -3:], x, x))


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
    if isinstance(value, dict):
        return next((v for n, v in value.items() if _PAST.search(n) or "present" in n), None)
    if isinstance(value, tuple | list):
        return next((part for part in value[1:] if part is not None and not (torch.is_tensor(part) and part.ndim == 4 and part.shape[-1] == part.shape[-2])), None)  # fmt: skip
    found = [v for n, v in getattr(value, "__dict__", {}).items() if (_PAST.search(n) or "present" in n) and v is not None]  # fmt: skip
    return found[0] if found else None


def wanted(suspect: Suspect) -> str:
    """What to say of row 18 where cached= was not given."""
    return "a key/value cache (row 18): pass cached=True, or a function " + ("that makes an empty cache" if isinstance(suspect.fn, nn.Module) else "for the last queries over all keys")  # fmt: skip
