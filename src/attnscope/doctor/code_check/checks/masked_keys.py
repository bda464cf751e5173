"""What stands in a masked key changes nothing for the others: a proof that asks of a mask no more than that it hides keys."""

import re

import torch

from attnscope.doctor.code_check.case import Case
from attnscope.doctor.code_check.match.search import error_of
from attnscope.doctor.code_check.run import probes
from attnscope.doctor.code_check.run.invocation import Invocation

MOVED = 1e-3  # outputs are of the order of 1


def padding_leaks(case: Case, invocation: Invocation, name: str) -> bool:
    """Whether masked keys count under every way of saying what is masked: a finding then, as where the output is not finite."""
    if not re.search("mask|pad", name, re.IGNORECASE):
        return False
    inputs = invocation.inputs("padding", 7)
    allowed = probes.allowed_keys(inputs[0].shape[0], invocation.length, invocation.length)
    hidden = ~allowed[:, 0, 0]  # [B, K]
    filled = inputs if invocation.call.inputs == 1 else inputs[1:]
    other = [torch.where(hidden.view(len(hidden), *[1] * (x.ndim - 3), -1, 1), x + 2.3, x) for x in filled]
    changed = (other[0],) * 3 if invocation.call.inputs == 1 else (inputs[0], *other)
    leaks: list[float] = []
    plain = invocation.run(inputs, **case.options).output
    for form in probes.FORMS:
        shaped = form.shaped(allowed)
        for convention in probes.CONVENTIONS if shaped is not None else ():
            mask = convention.encode(shaped)  # type: ignore[arg-type]
            one, two = (invocation.run(x, mask, name, **case.options).output for x in (inputs, changed))
            if one is None or two is None or plain is None or error_of(one, plain) < 1e-5:
                continue
            seen = (~hidden).view(len(hidden), *[1] * (one.ndim - 3), -1, 1)
            moved = float(((one - two).abs() * seen).nan_to_num().max())
            if moved < MOVED:
                finite = bool(one.isfinite().all())
                if not finite:
                    case.find("masked-nan", name=name, form=form.name, convention=convention.name)
                return not finite
            leaks.append(moved)
    if leaks:
        case.find("padding-leaks", name=name, least=min(leaks), count=len(leaks))
    return bool(leaks)
