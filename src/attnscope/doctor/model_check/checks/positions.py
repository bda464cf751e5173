"""position_ids that you give, against the positions that the model itself gives to a row alone."""

import itertools

from torch import Tensor

from attnscope.doctor.model_check.case import Case
from attnscope.doctor.model_check.checks.padding import ROWS, distance_from_alone
from attnscope.doctor.model_check.runs import Outputs, tolerance


def examine(case: Case, outputs: Outputs) -> None:
    given = case.inputs.get("position_ids")
    if not isinstance(given, Tensor) or case.ids is None:
        return
    if given.ndim != 2 or given.shape[1] != case.ids.shape[1]:
        case.not_examined.append("position_ids: they are not one number for each token")
        return
    if case.found("model-ignores-mask"):
        case.not_examined.append("position_ids: the model ignores the mask, so a row cannot be compared")
        return
    places = given.cpu().expand(len(case.ids), -1)
    limit = tolerance(outputs)
    for row in range(min(len(case.ids), ROWS)):
        keep = case.mask[row] if case.mask is not None else case.ids[row] == case.ids[row]
        seen = places[row][keep].tolist()
        if len(seen) < 2:
            continue
        change = distance_from_alone(case, outputs, row)
        if change < 0:
            case.not_examined.append("position_ids: a row does not run without them")
            return
        if change <= (limit if limit < 0.01 else 5 * limit):  # half precision: rounding explains a little more
            continue
        kind = _kind(seen)
        if kind is None:
            case.not_examined.append(
                "position_ids: they begin anew or leave gaps, as in a row of several texts; such a row has nothing to be compared with"
            )
            continue
        shown = ", ".join(map(str, seen[:6])) + (", …" if len(seen) > 6 else "")
        evidence = (
            f"the tokens of row {row} have positions {shown}; with the positions that the model itself gives to this row alone, "
            f"its outputs differ by up to {change:.3g} standard deviations"
        )
        case.report("position-ids", kind=kind, evidence=evidence)
        return


def _kind(seen: list[int]) -> str | None:
    """What is wrong with the positions of one row's text; None where they may be meant."""
    steps = {after - before for before, after in itertools.pairwise(seen)}
    if steps == {0}:
        return f"all tokens have position {seen[0]}"
    if steps == {1}:
        return f"the first token has position {seen[0]}"
    if steps == {-1}:
        return "positions run backwards"
    return None
