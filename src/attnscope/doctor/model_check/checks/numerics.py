"""NaN and overflow, with the first module that returns them; outputs that change from pass to pass (dropout)."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from attnscope.doctor.model_check.arguments import STARTED
from attnscope.doctor.model_check.case import Case
from attnscope.doctor.model_check.checks import length
from attnscope.doctor.model_check.runs import (
    Failure,
    Outputs,
    OutsideTable,
    as_called,
    attempt,
    distance,
    run,
    training_flags,
)
from attnscope.errors import InputError


@dataclass(frozen=True)
class NonFinite:
    """A module that returned NaN or infinity, and how many."""

    path: str
    module: nn.Module
    dtype: torch.dtype
    nans: int
    infinite: int
    total: int
    largest_input: float  # the largest magnitude among the module's inputs; NaN where they were not finite

    @property
    def where(self) -> str:
        return self.path or "the model's own forward"

    @property
    def dtype_name(self) -> str:
        return str(self.dtype).removeprefix("torch.")


class FiniteWatch:
    """Forward hooks on every module, in the order in which modules finish: the innermost is first."""

    def __init__(self, case: Case) -> None:
        self.first: NonFinite | None = None  # NaN or +inf
        self.first_minus_inf: NonFinite | None = None  # -inf alone: routers and heads mask with it on purpose
        self.keep = case.mask
        self.handles = [
            module.register_forward_hook(partial(self._inspect, path), with_kwargs=True)
            for path, module in case.model.named_modules()
        ]

    def close(self) -> None:
        for handle in self.handles:
            handle.remove()

    def _inspect(self, path: str, module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        if self.first is not None:
            return
        for x in _float_tensors(output):
            if self.keep is not None and x.ndim >= 3 and tuple(x.shape[:2]) == tuple(self.keep.shape):
                x = x[self.keep.to(x.device)]  # hidden positions may hold anything
            if x.numel() == 0 or bool(x.isfinite().all()):
                continue
            largest = _largest([*_float_tensors(args), *_float_tensors(kwargs)])
            found = NonFinite(path, module, x.dtype, int(x.isnan().sum()), int(x.isinf().sum()), x.numel(), largest)
            if found.nans or bool((x == float("inf")).any()):
                self.first = found
                return
            self.first_minus_inf = self.first_minus_inf or found


def _float_tensors(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value] if value.is_floating_point() else []
    items = value.values() if isinstance(value, Mapping) else value if isinstance(value, (tuple, list)) else ()
    return [x for x in items if isinstance(x, Tensor) and x.is_floating_point()]


def _largest(tensors: list[Tensor]) -> float:
    """The largest magnitude; NaN where one is not finite."""
    if any(not bool(x.isfinite().all()) for x in tensors):
        return float("nan")
    return max((float(x.abs().max()) for x in tensors if x.numel()), default=0.0)


def first_run(case: Case) -> Outputs | None:
    """The pass itself, in eval mode, watched. None where no outputs are left to compare."""
    watch = FiniteWatch(case)
    try:
        with training_flags(case.model):
            outputs = run(case.model, case.inputs)
            if isinstance(outputs, Failure) and case.started:  # heads that classify give their decoder the text itself
                without = {name: x for name, x in case.inputs.items() if name != "decoder_input_ids"}
                own = run(case.model, without)
                if not isinstance(own, Failure):
                    outputs, case.inputs, case.started = own, without, False
                    case.notes.remove(STARTED)
    except OutsideTable as lookup:
        length.report_lookup(case, lookup)
        return None
    finally:
        watch.close()
    if (
        isinstance(outputs, Failure)
        and "input_ids" not in as_called(case.model, case.inputs)[1]
        and case.ids is not None
    ):
        raise InputError(
            f"expected a model whose forward takes input_ids, got {type(case.model).__name__}, which raises {outputs.error} where "
            "the ids are its first argument. Wrap it in a module whose forward(input_ids, attention_mask=None) calls it."
        )
    if isinstance(outputs, Failure):
        if not length.examine(case, f"the model raises {outputs.error}"):
            last = outputs.path or "the model itself"
            case.report("model-raises", error=outputs.error, last=last, place=outputs.path or None)
        return None
    reaches_output = any(not bool(x.isfinite().all()) for x in outputs.values())
    found = watch.first or (watch.first_minus_inf if reaches_output else None)
    if found is not None:
        _report_non_finite(case, found)
        return None
    return outputs


def _report_non_finite(case: Case, found: NonFinite) -> None:
    where, dtype = found.where, found.dtype_name
    damaged = {n: p for n, p in found.module.named_parameters(recurse=False) if not bool(p.isfinite().all())}
    module = type(found.module).__name__
    counts = f"{found.nans} NaN and {found.infinite} infinite of {found.total} numbers"
    evidence = [f"{where} ({module}) returns {counts} in {dtype}"]
    kind = "NaN or infinity"
    if damaged:
        count = sum(int((~p.isfinite()).sum()) for p in damaged.values())
        evidence.append(f"{count} entries of its {' and '.join(damaged)} are not finite")
        name = next(iter(damaged))
        cure = f"load the weights again: {where}.{name} is damaged (training that diverged, or a file cut short)"
    else:
        finite = found.largest_input == found.largest_input
        evidence.append(
            f"its inputs were finite, at most {found.largest_input:.3g}" if finite else "its inputs were not finite"
        )
        evidence.append(f"the largest number in {dtype} is {torch.finfo(found.dtype).max:.3g}")
        half = found.dtype == torch.float16
        if found.infinite or half:
            kind = "overflow"
        cure = f"look at what {where} computes, and at the weights before it"
        if half:
            cure = 'model.to(torch.bfloat16), or attnscope.load(name, dtype="float32")'
    case.report("model-not-finite", kind=kind, where=where, evidence="; ".join(evidence), cure=cure, place=where)


def short(case: Case, limit: int = 32) -> dict[str, Any]:
    """The beginning of the first row alone, for passes that are compared with each other."""
    if case.ids is None:
        return dict(case.inputs)
    given = case.inputs["input_ids"]
    ids = torch.tensor([case.visible_ids()[:limit] or case.ids[0, :limit].tolist()], device=given.device)
    inputs: dict[str, Any] = {"input_ids": ids}
    for name in ("use_cache", "decoder_input_ids"):
        if name in case.inputs:
            x = case.inputs[name]
            inputs[name] = x[:1, :limit] if isinstance(x, Tensor) else x
    return inputs


def nondeterminism(case: Case) -> bool:
    """Whether the model in eval mode returns the same for every seed, so that its outputs can be compared.

    Reports what changes from pass to pass, in eval mode and in the mode that the model was found in.
    """
    inputs = short(case)
    with training_flags(case.model):
        one = attempt(case.model, inputs, 1)
        if one is None:
            inputs = dict(case.inputs)
            one = attempt(case.model, inputs, 1)
        two = attempt(case.model, inputs, 2)
    if one is None or two is None:
        case.not_examined.append("dropout: the model's outputs hold no numbers to compare")
        return False
    case.compared = True
    change = distance(list(two.values()), list(one.values()))
    if change:
        cure = "remove the randomness, or keep it to training: F.dropout(x, p, training=self.training)"
        _report_dropout(case, change, "two passes in eval mode differ", cure)
        return False
    flags = {m: m.training and not isinstance(m, nn.modules.batchnorm._NormBase) for m in case.model.modules()}
    if not any(flags.values()):
        return True
    with training_flags(case.model, flags):
        passes = [attempt(case.model, inputs, seed) for seed in (1, 2, 3)]
    if any(outputs is None for outputs in passes):
        case.not_examined.append("dropout: the model does not run in the mode that it was found in")
        return True
    first, *others = [list(outputs.values()) for outputs in passes if outputs is not None]
    change = max(distance(other, first) for other in others)
    part = "the model is" if case.model.training else "parts of the model are"
    if change:
        _report_dropout(case, change, f"{part} in training mode", "model.eval()")
    else:
        case.notes.append(
            f"{part[0].upper()}{part[1:]} in training mode. Nothing in it is random, so this changes nothing here."
        )
    return True


def _report_dropout(case: Case, change: float, reason: str, cure: str) -> None:
    active = [
        f"{path} (p = {m.p:g})"
        for path, m in case.model.named_modules()
        if m.training and isinstance(m, nn.modules.dropout._DropoutNd) and m.p > 0
    ]
    shown = f"; {len(active)} dropout modules are active, first {active[0]}" if active else ""
    case.report("dropout-active", reason=reason, change=change, modules=shown, cure=cure)
