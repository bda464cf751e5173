"""Cheap proofs that need no recipe: what has no effect, what equal tokens give, what an exchange of tokens gives.

Each stands only where nothing sound can fail it; where its conditions do not hold it says nothing.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from attnscope.doctor.code_check.case import Case
from attnscope.doctor.code_check.match.search import Fit, Trials
from attnscope.doctor.code_check.run.invocation import Invocation, Run
from attnscope.doctor.code_check.run.parameters import Owner, owners_of, role_of

NOISE = 1e-4  # of outputs that are of the order of 1: far above rounding, far below any effect
_ELSEWHERE = re.compile(r"cross|context|memory|encoder|add_|extra|rel|pos|gate|lora|cache", re.IGNORECASE)
# What knows of places, of neighbours or of a key of its own: the proofs about tokens then say nothing.
_PLACES = frozenset(
    "arange range linspace tril triu tril_indices triu_indices cumsum cumprod cummax eye roll flip flipud pad unfold narrow conv1d "
    "conv2d cos sin polar embedding cat concat hstack vstack stack index_select gather scatter sort topk argsort one_hot rand randn "
    "bernoulli dropout group_norm batch_norm instance_norm mean sum var std max amax min amin cdist fft meshgrid outer".split()
)
_LOOPS = re.compile(
    r"\bfor\s+(?!_\b)\w[^\n]*\brange\(|\bwhile\b|null|sink|zero_attn|window|chunk_size|block", re.IGNORECASE
)


# --- what has no effect -------------------------------------------------------------------------------------------


def ignored(case: Case, trials: Trials) -> bool:
    """Whether a function's output depends neither on the queries nor on the keys, however it is called: a finding then."""
    if not {"queries", "keys"} <= _without_effect(case, trials):
        return False
    case.find("ignores-queries-and-keys")
    case.compared = True
    return True


def without_effect(case: Case, trials: Trials) -> bool:
    """Whether queries, keys or values have no effect on a function's output: a finding then."""
    idle = sorted(_without_effect(case, trials))
    for name in idle:
        case.find(f"ignores-{name}")
    return bool(idle)


def _without_effect(case: Case, trials: Trials) -> set[str]:
    """Which of queries, keys and values have none, in every way of calling a function of three."""
    found = {"queries", "keys", "values"}
    for invocation, run in _calls(trials):
        before = run.reading.output
        if invocation.call.inputs != 3 or invocation.projections is not None or not _finite(before):
            return set()
        for i, name in enumerate(("queries", "keys", "values")):
            other = invocation.inputs("other values", *(x.shape[-2] for x in run.inputs[:2]))
            inputs = tuple(other[j] if i == j else x for j, x in enumerate(run.inputs))
            after = invocation.run(inputs, seed=11, **case.options).output
            if after is None or before is None or not torch.equal(after, before):
                found.discard(name)
        if not found:
            break
    return found


def unused(case: Case, trials: Trials, fit: Fit | None) -> bool:
    """Whether a projection's weights have no effect on a module's output: a finding then. A key's bias rightly has none."""
    if not isinstance(case.fn, nn.Module):
        return False
    module = trials[0][0].fn
    owners = [o for o in owners_of(module) if not o.measured and _plays_a_part(o, fit)]  # type: ignore[arg-type]
    idle = [owner for owner in owners if all(_idle(case, owner.weight, *call) for call in _calls(trials))]
    if not idle:
        return fit is None and (_bias_forgotten(case, trials, module) or _partly_unused(case, trials, owners))  # type: ignore[arg-type]
    letters = {role_of(part) for owner in idle for part in owner.path}
    if {"q", "k"} <= letters:
        case.find("ignores-queries-and-keys")
    else:
        case.find("projection-unused", names=" and ".join(".".join(owner.path) for owner in idle))
    case.compared = True
    return True


def left_out(case: Case, trials: Trials, parts: list[str]) -> None:
    """A finding where weights of a part have no effect that stands in one list with a part that runs: one head in place of all."""
    kinds = {_unnumbered(path.split(".")) for path in parts if any(name.isdigit() for name in path.split("."))}
    owners = owners_of(trials[0][0].fn)  # type: ignore[arg-type]
    beside = [o for o in owners if any(_unnumbered(o.path)[: len(kind)] == kind for kind in kinds) and not o.measured]
    idle = [".".join(o.path) for o in beside if all(_idle(case, o.weight, *call) for call in _calls(trials))]
    if idle:
        case.find("projection-unused", names=" and ".join(idle[:4]) + f" and {len(idle) - 4} more" * (len(idle) > 4))


def _unnumbered(path: Sequence[str]) -> tuple[str, ...]:
    return tuple("#" if name.isdigit() else name for name in path)


def _bias_forgotten(case: Case, trials: Trials, module: nn.Module) -> bool:
    """Whether a bias that is a parameter of its own has no effect: a finding then. Those of keys rightly have none."""
    apart = [
        o for o in owners_of(module) if o.raw and o.bias is not None and {role_of(part) for part in o.path} & set("qvo")
    ]
    idle = [".".join(o.path) for o in apart if all(_idle(case, o.bias, *call) for call in _calls(trials))]  # type: ignore[arg-type]
    if not idle:
        return False
    case.find("projection-unused", names=" and ".join(f"{name} (its bias)" for name in idle))
    case.compared = True
    return True


def _plainly_called(invocation: Invocation) -> bool:
    """Whether nothing was passed but what the module reads: a mask may permit nothing, and then queries and keys rightly have no effect."""
    call = invocation.call
    return not (invocation.permit or invocation.fill or call.guessed or call.needs_mask or call.fills)


def outputs_alike(case: Case, trials: Trials) -> bool:
    """Whether a module gives all tokens of a text the same output, whatever they are: a finding then."""
    for invocation, runs in trials[:1]:
        y = runs[0].reading.output
        if not isinstance(case.fn, nn.Module) or not _plainly_called(invocation):
            return False
        if not _finite(y) or invocation.queries_apart or y.shape[-2] < 3:  # type: ignore[union-attr]
            return False
        if float((y - y[..., :1, :]).abs().max()) < NOISE * float(y.std()):  # type: ignore[index, union-attr]
            case.find("outputs-alike")
            return True
    return False


def _partly_unused(case: Case, trials: Trials, owners: list[Owner]) -> bool:
    """Whether a quarter or more of what a projection to queries, keys or values makes has no effect: a finding then."""
    for owner in owners if _plainly_called(trials[0][0]) else ():
        linear = owner.weight.ndim == 2 and not owner.raw
        if not linear or not any(set(role_of(part) or "o") <= set("qkv") for part in owner.path):
            continue
        columns = owner.weight.shape[1]
        calls = list(_calls(trials))[:2]
        idle = [n for n in range(columns) if all(_idle(case, owner.weight[:, n], *call) for call in calls)]
        if 4 * len(idle) >= columns:
            case.find("projection-partly-unused", name=".".join(owner.path), idle=len(idle), count=columns)
            case.compared = True
            return True
    return False


def context_ignored(case: Case, trials: Trials) -> bool:
    """Whether the sequence that a module takes beside its own has no effect, though its own stands in for it where it is not given: a finding
    then."""
    invocation, runs = trials[0]
    across = invocation.call.across()
    if (
        across is None
        or not _plainly_called(invocation)
        or not _takes_the_place(str(across.memory), case.text)
        or not isinstance(case.fn, nn.Module)
        or invocation.projections is None
    ):
        return False
    both, x = replace(invocation, call=across), runs[0].inputs[0]
    other = invocation.inputs("another context", x.shape[-2])[0]
    one, two = (both.run((x, memory, memory), seed=11, **case.options).output for memory in (x, other))
    if not (_finite(one) and _finite(two)) or not torch.equal(one, two):  # type: ignore[arg-type]
        return False
    case.find("context-ignored", name=across.memory)
    return True


def _takes_the_place(name: str, text: str) -> bool:
    """Whether the code puts its own sequence where this one is not given: it then means to read it. Code that takes an argument for the sake
    of others that use it does not."""
    one = rf"\b{name}\b"
    return bool(
        re.search(
            rf"{one}\s*=\s*([\w.]*default\w*\(\s*{one}|\w+ if {one} is None|{one} if {one} is not None|{one} or \w)",
            text,
        )
    ) or bool(re.search(rf"if {one} is None:\s*{one}\s*=", text))


def _plays_a_part(owner: Owner, fit: Fit | None) -> bool:
    """Whether it is a projection by its name, and not one of another attention; or, where the rest is understood without it, one
    that could project the heads' outputs."""
    if _ELSEWHERE.search(".".join(owner.path)):
        return False
    named = any(role_of(part) in ("q", "k", "v", "o") for part in owner.path if not part.isdigit())
    p = fit.invocation.projections if fit is not None else None
    if p is None:
        return named
    inner = p.value.weight.shape[1] * p.heads // p.kv_heads
    return ".".join(owner.path) in p.unused and p.out is None and (named or owner.weight.shape[0] == inner)


def _idle(case: Case, weight: Tensor, invocation: Invocation, run: Run) -> bool:
    """Whether other numbers in this parameter give the same output, bit for bit."""
    before, kept = run.reading.output, weight.clone()
    if not _finite(before) or invocation.ends is not None:
        return False
    try:
        weight.add_(kept.std().clamp_min(0.1) * torch.randn(kept.shape, generator=torch.Generator().manual_seed(3)))
        after = invocation.run(run.inputs, seed=11, **case.options).output
    finally:
        weight.copy_(kept)
    return after is not None and before is not None and torch.equal(after, before)


def _calls(trials: Trials) -> Iterator[tuple[Invocation, Run]]:
    """Ways of calling that differ in what the code gets, each with its first run."""
    seen = set()
    for invocation, runs in trials:
        key = (invocation.layout, invocation.permit, invocation.fill, invocation.call.inputs, invocation.widths)
        if key not in seen:
            seen.add(key)
            yield invocation, runs[0]


def _finite(x: Tensor | None) -> bool:
    return x is not None and bool(x.isfinite().all())


# --- equal tokens, and tokens that change places ------------------------------------------------------------------


def tokens(case: Case, trials: Trials) -> bool:
    """Whether self-attention without places fails for equal tokens, or for two that change places: a finding then."""
    invocation, runs = trials[0]
    names = _Names()
    if not isinstance(case.fn, nn.Module) or invocation.call.inputs != 1 or not case.text or _LOOPS.search(case.text):
        return False
    if invocation.projections is None or invocation.projections.unused or not _understood(invocation.fn):  # type: ignore[arg-type]
        return False
    if invocation.queries_apart or invocation.fill or invocation.permit or case.causal or case.sinks is not None:
        return False
    with names:
        again = invocation.run(runs[0].inputs, seed=11, **case.options).output
    if not _finite(again) or names.seen & _PLACES or not _plain(invocation.fn):  # type: ignore[arg-type]
        return False
    for test in (_exchanged, _alike):
        before = len(case.findings)
        test(case, invocation, runs[0])
        if len(case.findings) > before:
            return True
    return False


def _understood(module: nn.Module) -> bool:
    """Whether every weight is a projection by its name: what else there is may rightly count tokens."""
    return all(any(role_of(part) for part in o.path if not part.isdigit()) for o in owners_of(module))


class _Names(TorchFunctionMode):
    """Names of all functions of torch that are called."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[str] = set()

    def __torch_function__(self, func: object, types: object, args: tuple = (), kwargs: dict | None = None) -> object:
        self.seen.add(getattr(func, "__name__", ""))
        return func(*args, **(kwargs or {}))  # type: ignore[operator]


def _plain(module: nn.Module) -> bool:
    """Whether it holds linear maps and norms alone: no table, buffer or parameter that could know of places."""
    kinds = (
        nn.Linear,
        nn.LayerNorm,
        nn.RMSNorm,
        nn.Dropout,
        nn.Identity,
        nn.Softmax,
        nn.ModuleList,
        nn.ModuleDict,
        nn.Sequential,
    )
    parts = list(module.modules())[1:]
    return (
        all(isinstance(part, kinds) for part in parts)
        and not any(True for _ in module.buffers())
        and not module._parameters
    )


def _alike(case: Case, invocation: Invocation, run: Run) -> None:
    """Equal tokens give one output, and the same for every length."""
    token = run.inputs[0][:, :1]
    few, many = (invocation.run((token.expand(-1, n, -1),) * 3, seed=11, **case.options).output for n in (3, 7))
    if few is None or many is None or not (_finite(few) and _finite(many)):
        return
    even = max(float((x - x[:, :1]).abs().max()) for x in (few, many))
    moved = float((few[:, 0] - many[:, 0]).abs().max())
    scale = float(many.std().clamp_min(1e-3))
    if even < NOISE * scale < 10 * NOISE * scale < moved:
        case.find("row-sums-by-length", moved=moved)


def _exchanged(case: Case, invocation: Invocation, run: Run) -> None:
    """Two tokens that change places take their outputs with them."""
    x = run.inputs[0]
    last = x.clone()
    last[:, -1] = 1.7 - last[:, -1]
    ahead = invocation.run((last,) * 3, seed=11, **case.options).output
    if ahead is None or run.reading.output is None or float((ahead - run.reading.output)[:, 0].abs().max()) < NOISE:
        return  # causal: places count
    order = torch.arange(x.shape[-2])
    order[[1, 4]] = order[[4, 1]]
    after = invocation.run((x[:, order],) * 3, seed=11, **case.options).output
    before = run.reading.output
    if before is None or after is None or not _finite(after):
        return
    moved = float((after[:, order] - before).abs().max())
    if moved > 10 * NOISE * float(before.std().clamp_min(1e-3)):
        case.find("order-of-tokens", moved=moved)
