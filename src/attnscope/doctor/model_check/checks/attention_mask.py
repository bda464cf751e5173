"""What the attention_mask itself says: does it show the text and hide the pads, or something else?"""

from collections.abc import Sequence

import torch
from torch import Tensor

from attnscope.doctor.model_check.case import Case
from attnscope.doctor.model_check.checks.token_ids import added_tokens

PADDED_TO = 8  # batches are often padded to a multiple of this, and then their longest row has pads too


def examine(case: Case) -> bool:
    """Whether the mask shows the text, so that what is visible may be checked further."""
    if case.mask is None or case.ids is None:
        return True
    _report_hidden_text(case, case.ids, case.mask)
    if case.found("attention-mask-inverted", "mask-hides-text"):
        case.not_examined.append("all that follows the mask: the text that it hides cannot be checked")
        return False
    _report_hidden_end(case, case.ids, case.mask)
    return True


def _report_hidden_text(case: Case, ids: Tensor, mask: Tensor) -> None:
    """Rows of which the mask hides what is no padding; and whether it shows the pads instead."""
    pad = case.pad_token()
    text = torch.ones_like(mask) if pad is None else ids != pad
    rows = [row for row in range(len(ids)) if _hides_text(ids[row].tolist(), text[row], mask[row])]
    if not rows:
        return
    inverted = [row for row in rows if bool((mask & ~text)[row].any()) and not bool((mask & text)[row].any())]
    row = (inverted or rows)[0]
    hidden = ids[row][~mask[row] & text[row]].tolist()
    what = "all" if not bool((mask & text)[row].any()) else f"{len(hidden)} of {int(text[row].sum())} tokens"
    evidence = f"row {row}: it hides {what} of the text ({case.strings(hidden, 6)})"
    if bool((mask & ~text)[row].any()):
        evidence += f", and shows {int((mask & ~text)[row].sum())} pads"
    values = case.inputs["attention_mask"]
    if values.is_floating_point() and bool((values < 0).any()):
        held = f"{float(values.max()) + 0:g} and {float(values.min()):g}".replace("-", "−")
        evidence += f"; it holds {held}, and the model reads 1 and 0"
    if inverted:
        case.report("attention-mask-inverted", evidence=evidence)
        return
    of_rows = "" if len(ids) == 1 else f" of {len(rows)} of {len(ids)} rows"
    case.report("mask-hides-text", what="all" if what == "all" else "a part", of_rows=of_rows, evidence=evidence)


def _hides_text(ids: Sequence[int], text: Tensor, mask: Tensor) -> bool:
    """Whether a row's mask hides tokens of a text: tokens unlike each other or beside shown pads, and not a word in its middle.

    Hidden tokens that are all the same are padding with another id. A word hidden in the middle is hidden on purpose.
    """
    hidden = [i for i, shown in zip(ids, mask.tolist(), strict=True) if not shown]
    lost = ~mask & text
    if not bool(lost.any()):
        return False
    if not bool(mask.any()) or bool((mask & ~text).any()):
        return True
    shown = mask.nonzero()[:, 0]
    at_an_end = bool(lost[: int(shown[0])].any()) or bool(lost[int(shown[-1]) :].any())
    return at_an_end and len(set(hidden)) > 1


def _report_hidden_end(case: Case, ids: Tensor, mask: Tensor) -> None:
    """An end token that is the pad token too, and that the mask hides although it ends a text."""
    pad = case.pad_token()
    owners = [owner for owner in (case.tokenizer, case.config) if owner is not None]
    ends = {value for owner in owners for name in ("eos", "sep") if (value := getattr(owner, f"{name}_token_id", None))}
    if pad is None or pad not in ends or bool(((~mask) & (ids != pad)).any()):
        return
    added = added_tokens(case) if callable(case.tokenizer) else None
    always = added is not None and pad in added[1]
    trailing = [_trailing(shown) for shown in mask.tolist()]
    left = any(not row[0] and any(row) for row in mask.tolist())
    needless = min(trailing, default=0) > 0 and (left or (min(trailing) == 1 and ids.shape[1] % PADDED_TO != 0))
    for row, shown in enumerate(mask.tolist()):
        first = shown.index(True) if any(shown) else len(shown)
        inside = [t for t in range(first, len(shown) - trailing[row]) if not shown[t]]
        reason = ""
        if inside:
            reason = f"at {len(inside)} places between shown tokens, first at position {inside[0]}"
        elif always and trailing[row] and (not shown or int(ids[row, len(shown) - trailing[row] - 1]) != pad):
            reason = "after the text, where the tokenizer itself puts it"
        elif needless and trailing[row] == min(trailing):
            reason = "after the text, in a row that needs no padding there"
        if reason:
            case.report("mask-hides-end", token=case.strings([pad]), evidence=f"row {row} has it hidden {reason}")
            return


def _trailing(shown: Sequence[bool]) -> int:
    """How many tokens at the end of a row are hidden; 0 where all are."""
    return next((n for n, here in enumerate(reversed(shown)) if here), 0)
