"""The line of the source that holds a mistake, where one line alone speaks of such a thing."""

import re
from typing import Any

from attnscope.doctor.code_check.run.sandbox import lines_of, own_parts

_ROOT, _MASK, _RESHAPED = r"sqrt|\*\* ?-?0?\.5|scal|rsqrt", "mask|tril|triu", r"\.(?:view|reshape)\("
_LINES = {  # by row of the table of attention bugs: what a line speaks of that may hold the mistake
    1: r"softmax|\.exp\(|sum\(",
    2: _ROOT,
    3: _ROOT,
    4: _MASK,
    5: _MASK + r"|\bwhere\(",
    6: r"-\s*(?:1e\d|\d{2,}|float|inf|math)",
    7: r"-\s*(?:float|math\.inf|torch\.inf|inf|np\.inf)",
    8: r"-\s*1e\d|-\s*\d{5,}",
    9: _MASK,
    10: _MASK,
    11: _MASK,
    12: "mask",
    13: _RESHAPED,
    14: r"\.(?:view|reshape|flatten)\(",
    16: r"\.(?:repeat|tile|expand)\(",
    17: r"cat\(|stack\(|repeat_interleave",
    19: "dropout",
    22: "transpose|permute|batch_first|reshape",
    23: r"mask.*(?:repeat|expand)",
}
_NARROW = {  # where several lines do
    1: "softmax",
    4: r"masked_fill|\*",
    5: r"masked_fill|\*",
    9: "masked_fill|tril|triu",
    10: r"\+",
    11: "tril|triu",
    12: "masked_fill",
}


def suspect_line(source: tuple[int, tuple[str, ...]] | None, row: int | None) -> int | None:
    """The suspect line, where exactly one line of the source speaks of such a thing."""
    if row not in _LINES or not source:
        return None
    start, lines = source
    code = [(n, line.split("#")[0]) for n, line in enumerate(lines, start)]
    code = [(n, line) for n, line in code if not line.lstrip().startswith(("def ", "class ", '"'))]
    hits = [(n, line) for n, line in code if re.search(_LINES[row], line)]
    if len(hits) > 1 and row in _NARROW:
        hits = [(n, line) for n, line in hits if re.search(_NARROW[row], line)]
    return hits[0][0] if len(hits) == 1 else None


def source_lines(fn: Any) -> tuple[int, tuple[str, ...]] | None:
    """The number of the first line and the lines of the user's source, where there is one."""
    parts = own_parts(fn)
    part = next((p for p in parts if isinstance(p, type) and "forward" in vars(p)), parts[0])
    start, lines = lines_of(part)
    return (start, tuple(lines)) if lines else None
