"""Rows 20 and 23, which show in a whole batch: `model=` holds or uses the attention that is checked.

A text that is padded on the left must come out as it does alone (row 20: positions must count from the first real token), and
two texts with different masks as each does alone (row 23: masks in another order than the heads).
"""

import copy
import inspect
import re
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from attnscope.doctor.code_check.case import Case
from attnscope.doctor.code_check.match.search import error_of
from attnscope.doctor.code_check.run import probes
from attnscope.doctor.code_check.run.candidates import width_of
from attnscope.doctor.code_check.run.outputs import tensors_in
from attnscope.doctor.code_check.run.sandbox import run

NEAR = 2e-3  # of the output's standard deviation
LONG, SHORT = 7, 5
_MASK = re.compile(r"mask|pad", re.IGNORECASE)
_POSITIONS = re.compile(r"^pos(ition)?(_?ids?|itions?)?$", re.IGNORECASE)


def examine(case: Case) -> None:
    """Runs model= on one text, and on the same text in a batch."""
    model = copy.deepcopy(case.model).eval() if isinstance(case.model, nn.Module) else case.model
    if not callable(model):
        case.skip("model-wanted")
        return
    forward = model.forward if isinstance(model, nn.Module) else model
    try:
        names = list(inspect.signature(forward).parameters)
    except (TypeError, ValueError):
        names = []
    mask = next((n for n in names[1:] if _MASK.search(n)), None)
    if mask is None:
        case.skip("model-no-mask")
        return
    batch = _Batch(model, mask, next((n for n in names[1:] if _POSITIONS.search(n)), None), case.still)
    kind = batch.begin(_widths(model, case.fn))
    if kind is None:
        case.skip("model-fails", name=mask, error=batch.error)
        return
    case.conventions["model"] = f"{kind[0]}; {mask}: {kind[1]}"
    if _padded_right(case, batch):
        _padded_left(case, batch)
    else:
        case.skip("model-right-padding")


def _padded_left(case: Case, batch: "_Batch") -> None:
    alone, padded = batch.alone(1), batch.together("left")
    if alone is None or padded is None:
        case.skip("model-left-padding", error=batch.error)
        return
    far = error_of(padded[1, LONG - SHORT :], alone[0])
    if far < NEAR:
        case.conventions["left padding"] = "a text comes out as it does alone"
        return
    how = "(mask.cumsum(-1) - 1).clamp(min=0)"
    counted = batch.together("left", positions=True) if batch.positions else None
    if counted is not None and error_of(counted[1, LONG - SHORT :], alone[0]) < NEAR:
        how = f"pass {batch.positions}={how}, with which the text comes out as it does alone"
    case.find("left-padding", how=how, tokens=SHORT, far=far)


def _padded_right(case: Case, batch: "_Batch") -> bool:
    """Whether two texts in one batch come out as each alone."""
    first, second, both = batch.alone(0), batch.alone(1), batch.together("right")
    if first is None or second is None or both is None:
        case.skip("model-two-texts", error=batch.error)
        return True
    case.compared = True
    far = [error_of(both[0], first[0]), error_of(both[1, :SHORT], second[0])]
    if max(far) < NEAR:
        case.conventions["batch"] = "two texts with two masks come out as each alone"
        return True
    texts = " and ".join(f"text {i} by up to {x:.2g}" for i, x in enumerate(far) if x >= NEAR)
    case.find("masks-of-a-batch", texts=texts)
    return False


class _Batch:
    """Two texts of 7 and 5 tokens, alone and together, in the form that the model takes."""

    def __init__(self, model: Callable, mask: str, positions: str | None, still: bool) -> None:
        self.model, self.mask, self.positions, self.still = model, mask, positions, still
        self.error = ""
        self.text = torch.zeros(0)
        self.keep = lambda seen: seen

    def begin(self, widths: list[int]) -> tuple[str, str] | None:
        """Finds what the model takes: ids or embeddings, and a mask under which the padding changes nothing."""
        texts: list[tuple[str, Tensor]] = [("ids", probes.gaussian("ids", 2, LONG).abs().mul(3).long() + 1)]
        texts += [(f"embeddings of width {w}", probes.gaussian("embeddings", 2, LONG, w)) for w in widths]
        kinds: dict[str, Callable[[Tensor], Tensor]] = {
            "1 = keep": lambda seen: seen.long(),
            "True = keep": lambda seen: seen,
            "True = drop": lambda seen: ~seen,
            "1.0 = keep": lambda seen: seen.float(),
        }
        ran: tuple[str, str] | None = None
        for what, text in texts:
            for name, keep in kinds.items():
                self.text, self.keep = text, keep
                one, other = self.together("right"), self.together("right", filler=2)
                if one is None or other is None or one.shape[1] != LONG:
                    continue
                ran = ran or (what, name)
                hidden = torch.allclose(one[1, :SHORT], other[1, :SHORT], atol=1e-4)
                if hidden and not torch.allclose(one, one.new_zeros(())):
                    return what, name
            if ran is not None:  # no convention hides the padding; the findings will say so
                self.keep = kinds[ran[1]]
                return ran
        return None

    def alone(self, which: int) -> Tensor | None:
        length = (LONG, SHORT)[which]
        return self._run(self.text[which : which + 1, :length], torch.ones(1, length, dtype=torch.bool))

    def together(self, side: str, filler: int = 1, positions: bool = False) -> Tensor | None:
        """Both texts; the second is padded with `filler`, which is masked."""
        both = self.text.clone()
        pads = slice(SHORT, None) if side == "right" else slice(0, LONG - SHORT)
        real = slice(0, SHORT) if side == "right" else slice(LONG - SHORT, None)
        both[1, real] = self.text[1, :SHORT]
        both[1, pads] = filler
        seen = torch.ones(2, LONG, dtype=torch.bool)
        seen[1, pads] = False
        extra = {self.positions: (seen.long().cumsum(-1) - 1).clamp(min=0)} if positions and self.positions else {}
        return self._run(both, seen, **extra)

    def _run(self, text: Tensor, seen: Tensor, **extra: Any) -> Tensor | None:
        outcome = run(self.model, (text,), {self.mask: self.keep(seen), **extra}, still=self.still)
        if not outcome.ok:
            self.error = outcome.error
            return None
        output = next((t for t in tensors_in(outcome.value) if t.ndim == 3 and t.shape[:2] == text.shape[:2]), None)
        self.error = "" if output is not None else "its output has no row for every token"
        return None if output is None else output.float().nan_to_num(nan=1e4)


def _widths(model: Any, fn: Any) -> list[int]:
    """Likely widths of embeddings."""
    found: list[int] = []
    for module in (model, fn):
        if isinstance(module, nn.Module):
            found += [w for w in (width_of(module),) if w]
            found += [p.shape[-1] for p in module.parameters() if p.ndim == 2][:3]
            found += [p.shape[0] for p in module.parameters() if p.ndim == 2][:1]
    return [*dict.fromkeys(found), probes.SIZE][:6]
