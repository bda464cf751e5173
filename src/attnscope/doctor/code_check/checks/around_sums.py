"""Sums and norms around the attention of a block: its input is added once, and a norm runs over the width of each token alone."""

import contextlib
import re
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from attnscope.doctor.code_check.case import Case
from attnscope.doctor.code_check.run.invocation import Invocation, Run
from attnscope.doctor.code_check.run.parameters import numbers_in

_NEAR = 1e-4  # of the largest number
_BY_TOKENS = (nn.modules.instancenorm._InstanceNorm, nn.GroupNorm, nn.modules.batchnorm._BatchNorm)
_MEANT = re.compile(r"instance_?norm|group_?norm|batch_?norm|revin|stationar|series", re.IGNORECASE)
_TWO = re.compile(r"alpha|deep_?norm|residual_(scale|multiplier)|\b2(\.0?)?\s*\*|\*\s*2\b", re.IGNORECASE)


def sums_and_norms(case: Case, whole: Invocation, outer: Run, inner: Run) -> None:
    """`outer`: the run of the whole module; `inner`: the same, with what went into its projections and came out of the last."""
    saw, out = inner.reading.saw, inner.reading.output
    if (
        saw is None
        or out is None
        or whole.call.inputs != 1
        or whole.queries_apart
        or not _by_tokens(whole, saw[0], out)
    ):
        return
    x, module = outer.inputs[0], whole.fn
    with _met(module, x.shape) as met:  # type: ignore[arg-type]
        again = whole.run(outer.inputs, seed=11, **case.options)
    if again.output is None or outer.reading.output is None:
        return
    later = [*(given for _, given, _ in met if given is not None), outer.reading.output]
    _added_twice(case, x, out, met, later)
    if _MEANT.search(case.text) or any(isinstance(part, _BY_TOKENS) for part in module.modules()):  # type: ignore[attr-defined]
        return
    for before, after in ((x, saw[0]), *((x + out, one) for one in later)):
        if before.shape == after.shape and (text := _normed_over_tokens(before, after)) is not None:
            case.find("norm-of-all-tokens", text=text)
            return


def _by_tokens(whole: Invocation, query: Tensor, out: Tensor) -> bool:
    return whole.layout == "(batch, length, width)" and query.shape == out.shape and query.shape[1] > 2


Met = tuple[str, Tensor | None, Tensor | None]  # a part's path, what went into it and what came out


@contextlib.contextmanager
def _met(module: nn.Module, shape: torch.Size) -> Iterator[list[Met]]:
    """What goes into the parts of the module and comes out of them, where it has this shape."""
    met: list[Met] = []
    hooks = []

    def of_shape(value: object) -> Tensor | None:
        value = value[0] if isinstance(value, tuple) and value else value
        return value.detach().float().clone() if isinstance(value, Tensor) and value.shape == shape else None

    for path, part in module.named_modules():
        if path:
            hooks.append(
                part.register_forward_hook(
                    lambda _, args, result, path=path: met.append((path, of_shape(args), of_shape(result)))
                )
            )
    try:
        yield met
    finally:
        for hook in hooks:
            hook.remove()


def _added_twice(case: Case, x: Tensor, out: Tensor, met: list[Met], later: list[Tensor]) -> None:
    """An input that is added inside the attention's own module and outside it, or twice in one sum."""
    for path, given, result in met:
        if given is None or result is None or not same(result, given + out):
            continue
        if any(same(one, result + given) or same(one, result + x) for one in later):
            case.find("residual-twice", where=f"{path} adds its input itself, and the module adds it once more")
            return
    twos = any(value == 2 for value in numbers_in(case.fn).values())
    if not twos and not _TWO.search(case.text) and any(same(one, 2 * x + out) for one in later):
        case.find("residual-twice", where="the sum is 2 · input + attention")


def _normed_over_tokens(before: Tensor, after: Tensor) -> str | None:
    """How far the texts are apart where each feature of a text is moved and multiplied by numbers of that text, the same for all its
    tokens: a norm over tokens alone does that."""
    centred, result = before - before.mean(1, keepdim=True), after - after.mean(1, keepdim=True)
    factor = (centred * result).sum(1, keepdim=True) / centred.square().sum(1, keepdim=True).clamp_min(1e-12)
    if not bool((result - factor * centred).abs().max() < _NEAR * result.abs().max().clamp_min(1e-6)):
        return None
    apart = (factor.amax(0) / factor.amin(0).where(factor.amin(0).abs() > 1e-9, torch.ones(()))).abs()
    means = after.mean(1)
    steady = bool((means - means[:1]).abs().max() < 1e-3 * after.abs().max())
    spreads = after.flatten(1).std(-1)  # a norm over tokens and width together sets these, and their means
    steady = steady or (_alike(spreads, spreads) and _alike(after.flatten(1).mean(-1), spreads))
    if not steady or not bool((apart - 1).abs().max() > 1e-2):
        return None
    return f"one text is divided by up to {float(apart.max()):.3g} times as much as another, each feature by one number for all its tokens"


def _alike(x: Tensor, measure: Tensor) -> bool:
    return bool((x - x[:1]).abs().max() < 1e-3 * measure.abs().max())


def same(a: Tensor, b: Tensor) -> bool:
    """Whether two tensors are equal but for rounding."""
    return a.shape == b.shape and torch.allclose(a, b, atol=1e-5)
