"""What the words of the source say of a mask: whether True (or 1) means keep or drop."""

import re

_DROP = re.compile(
    r"not\b|n't|leav|blank|empty|missing|absent|unused|unseen|unobserved|filler|drop|ignor|masked|mask out|hid|pad|forbid"
    r"|block|exclu|remov|skip|future|invalid|-inf",
    re.IGNORECASE,
)
_KEEP = re.compile(
    r"keep|kept|attend|visib|allow|valid|real|\bmay\b|\bcan\b|\bsee|look|\buse|token|observed|present|\bwords?\b|\btext\b"
    r"|content|actual|genuine",
    re.IGNORECASE,
)
_ADDED = re.compile(r"\badd(?:ed|s|itive)?\b|-\s*inf|-\s*1e\d|infinity|negative", re.IGNORECASE)
_ONES, _ZEROS = ("True", "1", "1s", "1.0", "ones"), ("False", "0", "0s", "0.0", "zeros")
_EITHER = "|".join(re.escape(value) for value in sorted((*_ONES, *_ZEROS), key=len, reverse=True))
_VALUE = rf"(?<![\w.-])({_EITHER})(?![\w.]\w|\w)"
_SAYS = r"(?:=|:|means?|marks?|where|when|if|for|at|on|in|to|->)"
_AFTER = re.compile(_VALUE + rf"\s*{_SAYS}\s*([^,.;)\n]{{2,50}})")
_IS = r"(?:is|are|=|get|gets|have|marked)\s+(?:as\s+|by\s+|with\s+)?"
_BEFORE = re.compile(rf"([A-Za-z][\w' -]{{2,30}}?)\s+{_IS}{_VALUE}")


def stated_polarity(text: str, names: tuple[str, ...] = ()) -> str | None:
    """ "keep" or "drop", where comments or docstring say what True (or 1), or False (or 0), of a mask means, in a line that
    speaks of a mask or of the argument's name; None where they do not, or say both."""
    mask = re.compile("|".join(["mask", *(rf"\b{re.escape(name)}\b" for name in names)]), re.IGNORECASE)
    quoted = [a or b for a, b in re.findall(r'"{3}(.*?)"{3}|\'{3}(.*?)\'{3}', text, re.DOTALL)]
    prose = "\n".join([*re.findall(r"#(.*)", text), *quoted])
    stated = set()
    for line in prose.splitlines():
        if not mask.search(line) or _ADDED.search(line):
            continue  # a mask that is added to the scores is another kind
        for value, meaning in _meanings(line):
            drops = _DROP.search(meaning) is not None
            if drops or _KEEP.search(meaning):
                stated.add("drop" if drops == (value in _ONES) else "keep")
    return stated.pop() if len(stated) == 1 else None


def _meanings(line: str) -> list[tuple[str, str]]:
    """What a line says of values of a mask, "1 for words" and "padding is 0" alike: (value, meaning)."""
    ends, begins = _VALUE + r"|\b(?:and|or|else|otherwise)\b", r"\b(?:and|or|mask|which|that)\b"
    after = [(value, re.split(ends, meaning)[0]) for value, meaning in _AFTER.findall(line)]
    return after + [(value, re.split(begins, meaning)[-1]) for meaning, value in _BEFORE.findall(line)]
