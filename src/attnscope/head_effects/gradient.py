"""Attribution patching: the effect of every head to first order, from one pass forward and one back.

With z = z₀ + α · (z − z₀), z₀ what an edit puts in the place of a head's z, the edit is the way from α = 1 to 0. So score(1) − score(0) ≈ ∂score/∂α at 1, for all heads at
once (Nanda 2023, "Attribution patching: activation patching at industrial scale"). It is exact only where the model is linear in z on that way.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from attnscope.editing.desk import DESK
from attnscope.editing.edit import Edit
from attnscope.editing.measure import answers
from attnscope.editing.rules import Along, Put, Rule, Times
from attnscope.editing.selection import Heads
from attnscope.errors import CaptureError
from attnscope.head_effects.asked import Asked, Reading, Watched
from attnscope.head_effects.units import Unit
from attnscope.tracing.modules import in_eval


def effects_by_gradient(watched: Watched, asked: Asked, units: Sequence[Unit], change: Times | Put) -> list[float]:
    """The effect of each unit to first order. Raises CaptureError where the model has no gradient."""
    total = dict.fromkeys(units, 0.0)
    for reading in asked.readings:
        along = Along(change)
        chosen: Any = Heads(None, dict.fromkeys(unit.layer for unit in units))
        with Edit(watched.model, watched.tokenizer) as edit, _frozen(watched.model):
            edit.add(Rule(chosen, along, "the gradient of all heads"))
            score = _score(watched, asked, reading)
            places = [*along.alphas]
            try:
                slopes = torch.autograd.grad(score, [along.alphas[place] for place in places], allow_unused=True)
            except RuntimeError as error:
                raise CaptureError(
                    f"the gradient of {type(watched.model).__name__} cannot be taken ({error}), so its effects cannot be approximated: leave approximate= out."
                ) from error
        found = {place: slope for place, slope in zip(places, slopes, strict=True) if slope is not None}
        for unit in units:
            slope = found.get((unit.stack or None, unit.layer))
            total[unit] += 0.0 if slope is None else float(slope[list(unit.heads)].sum())
    return list(total.values())


def _score(watched: Watched, asked: Asked, reading: Reading) -> Tensor:
    behind = nullcontext() if reading.length is None else DESK.goes_on_behind(reading.length)
    with in_eval(watched.model), torch.enable_grad(), behind:
        outputs = watched.model(**reading.inputs)
        if asked.question is None or reading.ids is not None:
            return reading.sum_of(outputs.logits).sum()
        return answers(watched.model, reading.inputs, asked.question, outputs).score.sum()


@contextmanager
def _frozen(model: nn.Module) -> Iterator[None]:
    """No gradient is wanted of the weights, so what only these need is not kept."""
    wanted = [parameter for parameter in model.parameters() if parameter.requires_grad]
    try:
        for parameter in wanted:
            parameter.requires_grad_(False)
        yield
    finally:
        for parameter in wanted:
            parameter.requires_grad_(True)
