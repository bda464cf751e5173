"""A pair of texts whose token types do not say which token belongs to which text."""

import torch
from torch import Tensor

from attnscope.doctor.model_check.case import Case
from attnscope.doctor.model_check.runs import Outputs, at_positions, attempt, distance, tolerance


def examine(case: Case, outputs: Outputs) -> None:
    """Ready inputs of a pair without the types that the tokenizer gives it, where these change the outputs."""
    if case.route != "inputs" or case.pair is None or case.ids is None or not case.takes("token_type_ids"):
        return
    given = case.inputs.get("token_type_ids")
    try:
        types = case.tokenizer(case.texts[0], case.pair, return_tensors="pt").get("token_type_ids")
    except Exception:  # not a tokenizer of Hugging Face
        return
    if not isinstance(types, Tensor) or types.shape != case.ids.shape or not bool(types.any()):
        return
    if isinstance(given, Tensor) and bool(given.any()):
        return
    made = attempt(case.model, {**case.inputs, "token_type_ids": types.to(case.inputs["input_ids"].device)})
    if made is None:
        return
    keep = torch.ones_like(case.ids, dtype=torch.bool) if case.mask is None else case.mask
    change = distance(*(at_positions(x, keep.shape, keep, case.decoder) for x in (outputs, made)))
    if change > tolerance(outputs):
        second = int(types[0].nonzero()[0, 0])
        how = "are not given" if given is None else "are 0 everywhere"
        evidence = (
            f"token_type_ids {how}; the tokenizer gives 1 to the second text, from position {second} on, and that changes the "
            f"outputs by up to {change:.3g} standard deviations"
        )
        case.report("pair-without-types", evidence=evidence)
