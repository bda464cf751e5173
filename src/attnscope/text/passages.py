"""Where passages of a text begin and end: documents of a retrieval prompt, paragraphs, sentences.

Each function gives spans [start, stop) of characters that follow each other. None of them knows a language: a sentence ends at its
mark where what follows does not go on in small letters, or where the text has no capitals.
"""

import re
from collections.abc import Sequence
from itertools import pairwise

Span = tuple[int, int]

_BLANK = re.compile(r"\n[^\S\n]*\n\s*")
_HEADING = re.compile(
    r"^[^\S\n]*(?:[#*]+\s*)?(?:<(?:document|doc|passage|source|context|chunk|article)\b[^>\n]*?(\d*)[^>\n\d]*>"
    r"|(?:document|doc|passage|source|context|chunk|article|excerpt|result)\s*[\[(#]?\s*(\d+)\s*[\])]?"
    r"|\[(\d+)\])",
    re.IGNORECASE | re.MULTILINE,
)
_CLOSING = re.compile(r"</(?:document|doc|passage|source|context|chunk|article)\s*>", re.IGNORECASE)
_END = re.compile(r"(?:[.!?…]+[\"'”’»)\]]*(?=\s)\s+|[。！？]+[」』”’）]*\s*|\n\s*(?=(?:[-*•]|\d+[.)])\s))(?=\S)")
_SHORT = re.compile(r"(?:\b[A-Z]|\b(?:Mr|Mrs|Ms|Dr|Prof|St|Jr|vs|cf|approx|Fig|No|[eE]\.g|[iI]\.e))\.\s+$")


def paragraphs(text: str) -> list[Span]:
    """Parts between blank lines; a blank line belongs to the paragraph before it."""
    return _cut(text, [found.end() for found in _BLANK.finditer(text)])


def sentences(text: str) -> list[Span]:
    """Sentences, and items of a list; the space behind one belongs to it."""
    cased = text != text.lower()
    return _cut(text, [found.end() for found in _END.finditer(text) if _ends(text, found, cased)])


def documents(text: str) -> list[tuple[int, int, str]]:
    """(start, stop, number as written, or "") of documents under headings such as "Document 3:", "[3]" or <document>: two of them or more.

    One goes on to the next heading or its closing tag; the last to the blank line after its first paragraph.
    """
    heads = list(_HEADING.finditer(text))
    if len(heads) < 2:
        return []
    ends = [head.start() for head in heads[1:]] + [len(text)]
    found: list[tuple[int, int, str]] = []
    for number, (head, end) in enumerate(zip(heads, ends, strict=True)):
        closing = _CLOSING.search(text, head.end(), end)
        if closing is not None:
            end = closing.end()
        elif number == len(heads) - 1:
            body = _BLANK.search(text, head.end())
            if body is not None and not text[head.end() : body.start()].strip(
                " :.\n-"
            ):  # a heading on a line of its own
                body = _BLANK.search(text, body.end())
            end = end if body is None else body.end()
        found.append((head.start(), end, next((one for one in head.groups() if one), "")))
    return found


def _ends(text: str, found: re.Match[str], cased: bool) -> bool:
    """Whether a sentence ends here: what follows does not go on in small letters, and no name is short for another."""
    return not (cased and text[found.end()].islower()) and not _SHORT.search(
        text[max(0, found.start() - 8) : found.end()]
    )


def _cut(text: str, at: Sequence[int]) -> list[Span]:
    ends = [0, *(one for one in at if 0 < one < len(text)), len(text)]
    return [(start, stop) for start, stop in pairwise(ends) if start < stop]
