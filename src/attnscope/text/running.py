"""Tokens as one text that can be read and searched, whatever the tokenizer."""

from dataclasses import dataclass

from attnscope.text.spelling import Table, labels

_PLAIN = str.maketrans({"↵": "\n", "⇥": "\t", "␣": " "})


@dataclass(frozen=True)
class RunningText:
    """`text`: what the tokens spell, special ones among them. `starts`, `ends`: where each token stands in it, without the space before."""

    text: str
    starts: tuple[int, ...]
    ends: tuple[int, ...]


def running_text(tokens: Table) -> RunningText:
    """The text of some tokens, by the labels that people read (text/spelling.py), with its line breaks."""
    parts: list[str] = []
    starts, ends, at = [], [], 0
    before = "\n"
    for label in labels(tokens):
        text = label.text if label.special else label.text.translate(_PLAIN)
        if not (label.tight or label.special or before.isspace() or text[:1].isspace()):
            parts.append(" ")
            at += 1
        starts.append(at)
        parts.append(text)
        at += len(text)
        ends.append(at)
        before = "\n" if label.special else text[-1:] or before
    return RunningText("".join(parts), tuple(starts), tuple(ends))
