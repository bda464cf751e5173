"""Labels of a causal language model, which shifts them itself."""

from torch import Tensor

from attnscope.doctor.model_check.case import Case

_IGNORED = -100  # what the loss leaves out


def examine(case: Case) -> None:
    """Labels that are the next ids already: the model shifts them once more, and learns the token after the next."""
    given = case.inputs.get("labels")
    if not case.generates or case.ids is None or not isinstance(given, Tensor) or given.shape != case.ids.shape:
        return
    labels, ids = given.cpu()[:, :-1], case.ids
    counts = (labels != _IGNORED) & (ids[:, :-1] != ids[:, 1:])
    if int(counts.sum()) < 2:
        return
    same, following = (labels == ids[:, :-1])[counts], (labels == ids[:, 1:])[counts]
    if bool(following.all()) and not bool(same.any()):
        row, place = (int(x) for x in counts.nonzero()[0])
        evidence = (
            f"in row {row} the label at position {place} is {case.strings([int(labels[row, place])])}, the id at position "
            f"{place + 1}, and so at all {int(counts.sum())} places that tell"
        )
        case.report("labels-shifted-twice", evidence=evidence)
