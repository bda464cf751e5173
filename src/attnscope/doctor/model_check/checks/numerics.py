"""Numbers that are none, and numbers that change: the first module with NaN or overflow, dropout that is active."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from attnscope.doctor.model_check.case import Chart
from attnscope.doctor.model_check.checks import length
from attnscope.doctor.model_check.runs import Beyond, Failed, Outputs, apart, attempt, mode, run


@dataclass(frozen=True)
class Spot:
    """The first place where a number was not finite."""

    path: str
    module: nn.Module
    dtype: torch.dtype
    nans: int
    infs: int
    total: int
    fed: float  # the largest magnitude among the module's inputs; NaN where those were not finite already


class Watch:
    """Forward hooks on every module, in the order in which modules finish: the innermost comes first."""

    def __init__(self, chart: Chart) -> None:
        self.first: Spot | None = None  # NaN or +inf
        self.sunk: Spot | None = None  # -inf alone: routers and heads mask with it on purpose
        self.keep = chart.mask
        self.handles = [
            module.register_forward_hook(lambda m, args, kwargs, out, path=path: self._look(path, m, args, kwargs, out), with_kwargs=True)
            for path, module in chart.model.named_modules()
        ]  # fmt: skip

    def close(self) -> None:
        for handle in self.handles:
            handle.remove()

    def _look(self, path: str, module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        if self.first is not None:
            return
        for x in _floats(output):
            if self.keep is not None and x.ndim >= 3 and tuple(x.shape[:2]) == tuple(self.keep.shape):
                x = x[self.keep.to(x.device)]  # what the mask hides may be anything
            if x.numel() == 0 or bool(x.isfinite().all()):
                continue
            inputs = [*_floats(args), *_floats(kwargs)]
            fed = float("nan") if any(not bool(y.isfinite().all()) for y in inputs) else max((float(y.abs().max()) for y in inputs if y.numel()), default=0.0)  # fmt: skip
            spot = Spot(path, module, x.dtype, int(x.isnan().sum()), int(x.isinf().sum()), x.numel(), fed)
            if spot.nans or bool((x == float("inf")).any()):
                self.first = spot
                return
            self.sunk = self.sunk or spot


def _floats(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value] if value.is_floating_point() else []
    items = value.values() if isinstance(value, Mapping) else value if isinstance(value, (tuple, list)) else ()
    return [x for x in items if isinstance(x, Tensor) and x.is_floating_point()]


def first_run(chart: Chart) -> Outputs | None:
    """The pass itself, in eval mode, watched. None where there is nothing to compare with afterwards."""
    watch = Watch(chart)
    try:
        with mode(chart.model):
            answer = run(chart.model, chart.inputs)
    except Beyond as beyond:
        length.left_table(chart, beyond)
        return None
    finally:
        watch.close()
    if isinstance(answer, Failed):
        if length.examine(chart, answer.error):
            return None
        chart.find(
            "raises", f"the model raises {answer.error}", why="", evidence=f"the last module that was entered: {answer.path or 'the model itself'}",
            cure="run model(**inputs) by itself, and make that work first", invariant="the model reads its inputs", place=answer.path or "the call",
        )  # fmt: skip
        return None
    ended = any(not bool(x.isfinite().all()) for x in answer.values())
    spot = watch.first or (watch.sunk if ended else None)
    if spot is not None:
        _not_finite(chart, spot)
        return None
    return answer


def _not_finite(chart: Chart, spot: Spot) -> None:
    where = spot.path or "the model's own forward"
    ill = [name for name, p in spot.module.named_parameters(recurse=False) if not bool(p.isfinite().all())]
    top = torch.finfo(spot.dtype).max
    evidence = f"{where} ({type(spot.module).__name__}) returns {spot.nans} NaN and {spot.infs} infinite of {spot.total} numbers in {str(spot.dtype).removeprefix('torch.')}"  # fmt: skip
    if ill:
        count = sum(int((~p.isfinite()).sum()) for n, p in spot.module.named_parameters(recurse=False) if n in ill)
        evidence += f"; {count} entries of its {' and '.join(ill)} are not finite"
        title, cure = f"numbers that are none, first in {where}", f"load the weights again: {where}.{ill[0]} is damaged (training that diverged, or a file cut short)"  # fmt: skip
    else:
        evidence += f"; its inputs were finite, at most {spot.fed:.3g}" if spot.fed == spot.fed else "; numbers that were not finite came in"  # fmt: skip
        small = spot.dtype == torch.float16
        title = f"overflow, first in {where}" if spot.infs or small else f"numbers that are none, first in {where}"
        evidence += f"; {str(spot.dtype).removeprefix('torch.')} ends at {top:.3g}"
        cure = "model.to(torch.bfloat16), or attnscope.load(name, dtype=\"float32\")" if small else f"look at what {where} computes, and at the weights before it"  # fmt: skip
    chart.find(
        "not-finite", title, why="From there on every number that depends on it is none, or the softmax rests on one key.",
        evidence=evidence, cure=cure, invariant="every number in the pass is finite", place=where,
    )  # fmt: skip


def short(chart: Chart, limit: int = 32) -> dict[str, Any]:
    """The beginning of the first row alone, for passes that compare a pass with itself."""
    if chart.ids is None:
        return dict(chart.inputs)
    given = chart.inputs["input_ids"]
    ids = torch.tensor([chart.visible()[:limit] or chart.ids[0, :limit].tolist()], device=given.device)
    inputs: dict[str, Any] = {"input_ids": ids}
    for name in ("use_cache", "decoder_input_ids"):
        if name in chart.inputs:
            x = chart.inputs[name]
            inputs[name] = x[:1, :limit] if isinstance(x, Tensor) else x
    return inputs


def dice(chart: Chart) -> bool:
    """Whether the model in eval mode gives the same for every seed; findings where it, or the model as found, does not."""
    inputs = short(chart)
    with mode(chart.model):
        still = attempt(chart.model, inputs, 1)
        if still is None:
            inputs = dict(chart.inputs)
            still = attempt(chart.model, inputs, 1)
        again = attempt(chart.model, inputs, 2)
    if still is None or again is None:
        chart.not_examined.append("dropout: the model's outputs hold no numbers to compare")
        return False
    steady = apart(list(again.values()), list(still.values())) == 0
    if not steady:
        _active(chart, apart(list(again.values()), list(still.values())), "two passes in eval mode differ", "take the randomness out, or only when self.training: F.dropout(x, p, training=self.training)")  # fmt: skip
        return False
    flags = {m: m.training and not isinstance(m, nn.modules.batchnorm._NormBase) for m in chart.model.modules()}
    if not any(flags.values()):
        return True
    with mode(chart.model, flags):
        runs = [attempt(chart.model, inputs, seed) for seed in (1, 2, 3)]
    if any(r is None for r in runs):
        chart.not_examined.append("dropout: the model does not run in the mode it was found in")
        return True
    first = [list(r.values()) for r in runs if r is not None]
    moved = max(apart(other, first[0]) for other in first[1:])
    if moved:
        _active(chart, moved, "the model is in training mode" if chart.model.training else "parts of the model are in training mode", "model.eval()")  # fmt: skip
    else:
        chart.notes.append("Parts of the model are in training mode; nothing in it is random, so that changes nothing here.")  # fmt: skip
    return True


def _active(chart: Chart, moved: float, why: str, cure: str) -> None:
    parts = [
        f"{path} (p = {m.p:g})"
        for path, m in chart.model.named_modules()
        if m.training and isinstance(m, nn.modules.dropout._DropoutNd) and m.p > 0
    ]
    shown = f"; {len(parts)} dropout modules are active, first {parts[0]}" if parts else ""
    chart.find(
        "dropout-active", f"dropout is active: {why}", row=19,
        why="Every pass then gives other numbers, and worse ones; attention weights are thinned out and scaled up.",
        evidence=f"passes over the same input differ by up to {moved:.3g} standard deviations{shown}", cure=cure,
        invariant="two passes over the same input are equal", place="the mode that the model is in",
    )  # fmt: skip
