"""What the words of the source say of a mask: whether True (or 1) means keep or drop, and which axes it has."""

import re

_DROP = (
    r"leav\w*|blanks?|empty|missing|absent|unused|unseen|unobserved|invisible|disallowed|filler|drop\w*|ignor\w*|mask(?:ed|ing|s)?\b"
    r"(?! *[=:])|mask out|hid\w*|pad(?:s|ded|ding|dings)?\b|forbid\w*|block\w*|exclu\w*|remov\w*|skip\w*|future|invalid|suppress\w*"
    r"|disabl\w*|off\b|inf(?:inity)?\b|zeroed|thr[eo]w\w*|discard\w*|prevent\w*|prohibit\w*|reject\w*|cut\w*|clos\w*|silenc\w*"
)
_KEEP = (
    r"keep\w*|kept|attend\w*|participat\w*|tak\w+ part|visib\w*|allow\w*|valid|real|may\b(?! not)|can\b(?! not)|see\w*|look\w*"
    r"|use[sd]?\b|through|select\w*|remain\w*|stay\w*|open\w*|contribut\w*|unmasked"
    r"|observed|present|actual\w*|genuine|includ\w*|permit\w*|part of|exist\w*|enabled|active|consider\w*"
)
_NO = r"(?:not|never|n[o']t|cannot|isn't|aren't|don't|doesn't|mustn't|must not|no|non|un|without)"
_BEFORE_IT = rf"\b(?P<no>{_NO}(?:\b|(?=mask|pad))[\s-]*(?:(?:be|to|a|an|the|any|being)\s+)*)?"
_POLAR = (  # nouns such as "token" count where no word says more
    re.compile(rf"{_BEFORE_IT}(?:(?P<drop>{_DROP})|(?P<keep>{_KEEP}))", re.IGNORECASE),
    re.compile(rf"{_BEFORE_IT}(?:(?P<drop>gaps?\b)|(?P<keep>tokens?\b|words?\b|text\b|content))", re.IGNORECASE),
)
_ADDED = re.compile(r"\badd(?:ed|s|itive)?\b|-\s*inf|-\s*1e\d|infinity|negative", re.IGNORECASE)
_ONES = ("True", "1", "1s", "1.0", "ones", "one", "nonzero", "non-zero")
_ZEROS = ("False", "0", "0s", "0.0", "zeros", "zero")
_TRUTH = re.compile(r"\b(True|False|bool(ean)?)\b")
_NUMBERS = re.compile(r"\bfloat\w*|(?<![\w.])[01]\.0(?![\w.])|\b(?:ones|zeros)\b|\b(?:0/1|1/0)\b", re.IGNORECASE)
_EITHER = "|".join(re.escape(value) for value in sorted((*_ONES, *_ZEROS), key=len, reverse=True))
_VALUE = rf"(?<![\w.-])({_EITHER})(?![\w.]\w|\w)"
_SAYS = r"(?:=|:|means?|marks?|where|when|if|for|at|on|in|to|->|indicates?|denotes?|stands? for)"
_THEN = r",\s*(?=(?:the|its?|that|this)\s+(?:scores?|weights?|logits?|keys?|positions?|tokens?|pairs?)\b)"
_AFTER = re.compile(_VALUE + rf"\s*(?:\(\w+\)\s*|{_THEN})?(?:{_SAYS}\s*|(?=[a-z]))([^,.;)\n]{{2,60}})")
_IS = r"(?:is|are|=|get|gets|have|marked)\s+(?:as\s+|by\s+|with\s+)?"
_BEFORE = re.compile(rf"([A-Za-z][\w' -]{{2,40}}?)\s+{_IS}{_VALUE}")
_BATCH = r"b|bs|bsz|n|batch\w*"
_WIDTH = r"d\w*|c|e|f|h|hs|size|width|dim\w*|embed\w*|emb|hidden\w*|head\w*|features?|channels?|model\w*"
_KEYS = r"t|s|l|n|m|k|tk|lk|len\w*|seq\w*|src_len|k_len|kv_len|keys?|tokens?|time|length|max_len|n_\w+"


def stated_polarity(text: str, names: tuple[str, ...] = ()) -> str | None:
    """ "keep" or "drop", where comments or docstring say what True (or 1), or False (or 0), of a mask means, in a line that
    speaks of a mask or of the argument's name; None where they do not, or say both."""
    stated = set()
    for line in _prose(text, names):
        if _ADDED.search(line) and not _TRUTH.search(line):
            continue  # a mask that is added to the scores is another kind
        for value, meaning in _meanings(line):
            polar = _polarity(meaning)
            if polar is not None:
                stated.add(polar if value in _ONES else {"keep": "drop", "drop": "keep"}[polar])
    return stated.pop() if len(stated) == 1 else None


def stated_as_numbers(text: str, name: str) -> bool:
    """Whether comments or docstring say that a mask holds 0 and 1 as floats; not where they speak of True and False beside, or of
    a mask that is added."""
    lines = _prose(text, (name,))
    others = any(_TRUTH.search(line) or _ADDED.search(line) for line in lines)
    return not others and any(_NUMBERS.search(line) for line in lines)


def stated_axes(text: str, name: str) -> str | None:
    """ "(batch, length)" as the words write it, where they say that this mask has these two axes; None where they say nothing, or
    other axes too."""
    found = set()
    for line in _prose(text, (name,)):
        speaks = re.search(rf"\b{re.escape(name)}\b|\bmask", line, re.IGNORECASE)
        found |= set(re.findall(r"\(\s*\w+(?:\s*,\s*\w+)+\s*\)", line[speaks.start() :] if speaks else ""))
    two = [axes for axes in found if re.fullmatch(rf"\(\s*(?:{_BATCH})\s*,\s*(?:{_KEYS})\s*\)", axes, re.IGNORECASE)]
    first = re.search(r"\w+", two[0]) if two else None
    if first is not None and first[0] in _lengths(text):
        return None  # of "Q: (n, d), mask: (n, m)" the n counts queries
    return two[0] if len(two) == len(found) == 1 else None


def _lengths(text: str) -> set[str]:
    """What the words call the length of a tensor: the n of "Q: (n, d)", and of "(b, n, d)"."""
    last = re.compile(rf"(\w+)\s*,\s*(?:{_WIDTH})\s*[)\]]", re.IGNORECASE)
    return {
        length
        for line in [*_quoted(text), *(line.partition("#")[2] for line in text.splitlines())]
        for length in last.findall(line)
    }


def _quoted(text: str) -> list[str]:
    """The lines of docstrings."""
    found = [a or b for a, b in re.findall(r'"{3}(.*?)"{3}|\'{3}(.*?)\'{3}', text, re.DOTALL)]
    return [line for part in found for line in part.splitlines()]


def _prose(text: str, names: tuple[str, ...]) -> list[str]:
    """Lines of comments and docstrings that speak of a mask: themselves, or by the code that they stand beside or above."""
    mask = re.compile("|".join(["mask", *(rf"\b{re.escape(name)}\b" for name in names)]), re.IGNORECASE)
    found = [line for line in _quoted(text) if mask.search(line)]
    lines = text.splitlines()
    for i, line in enumerate(lines):
        code, mark, comment = line.partition("#")
        below = lines[i + 1] if i + 1 < len(lines) and not code.strip() else ""
        if mark and (mask.search(line) or mask.search(below)):
            found.append(comment)
    return found


def _polarity(meaning: str) -> str | None:
    """ "keep" or "drop" by the first word that says so; a "not" before it turns it round."""
    said = next((found for one in _POLAR if (found := one.search(meaning))), None)
    if said is None:
        return None
    drops = said["drop"] is not None
    return "drop" if drops != (said["no"] is not None) else "keep"


def _meanings(line: str) -> list[tuple[str, str]]:
    """What a line says of values of a mask, "1 for words" and "padding is 0" alike: (value, meaning)."""
    ends, begins = _VALUE + r"|\b(?:and|or|else|otherwise)\b", r"\b(?:and|or|mask|which|that)\b"
    after = [(value, re.split(ends, meaning)[0]) for value, meaning in _AFTER.findall(line)]
    before = [(value, re.split(begins, meaning)[-1]) for meaning, value in _BEFORE.findall(line)]
    return after + before
