"""The retrieval score: which heads copy a sentence that is hidden in a long text, token by token, into the answer."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from attnscope.errors import InputError
from attnscope.statistics.kinds.definitions import KINDS
from attnscope.statistics.table import HeadStatistics, StatisticsTable
from attnscope.text.pieces import read_pieces
from attnscope.tracing.tokens import Tokens
from attnscope.tracing.trace import Trace

TOKENS = 32  # that the model may generate


@dataclass(frozen=True)
class Sample:
    """A text that ends where the model answers, and what is hidden in it.

    `text`: as one string, or a chat as a list of messages. `needle`: the sentence to be found, as it stands in the text.
    `answer`: what a right answer holds, whatever its case.
    """

    text: str | Sequence[Any]
    needle: str
    answer: str


class RetrievalSums:
    """What is known of a retrieval score so far: `start` it, `update` it with samples, `merge`, `finish`.

    `hits`: by (stack, layer, head), added up over the samples that were answered right. `right`, `asked`: how many samples.
    """

    def __init__(self) -> None:
        self.hits: dict[tuple[str | None, int, int], float] = {}
        self.right = self.asked = 0

    @classmethod
    def start(cls) -> "RetrievalSums":
        """Of no sample yet."""
        return cls()

    def update(self, trace: Trace, needle: str, answer: str) -> bool:
        """Add a trace of a text and what the model generated greedily after it; whether the answer is right. Others do not
        count."""
        tokens, border = trace.tokens, trace.tokens.border
        if border is None or not tokens.ids:
            raise InputError(
                "expected a trace of a text and its continuation, for a retrieval score: trace(…, generate=32)."
            )
        place = needle_tokens(trace, needle)
        self.asked += 1
        if answer.casefold() not in "".join(_texts(tokens, border)).casefold():
            return False
        self.right += 1
        ids = torch.tensor(tokens.ids)
        for site in trace.sites:
            if site.kind == "self" and site.keys == len(tokens):
                for head, value in enumerate(_hits(site.weights, ids, border, place, site.query_offset).tolist()):
                    name = site.stack, site.layer, head
                    self.hits[name] = self.hits.get(name, 0.0) + value
        return True

    def merge(self, other: "RetrievalSums") -> None:
        """Add the sums of other samples."""
        self.right, self.asked = self.right + other.right, self.asked + other.asked
        for name, value in other.hits.items():
            self.hits[name] = self.hits.get(name, 0.0) + value

    def finish(self) -> StatisticsTable:
        """The mean over the samples answered right; without one, a table of no heads and a note."""
        rows = [
            HeadStatistics(stack, layer, head, {"retrieval": value / self.right})
            for (stack, layer, head), value in self.hits.items()
        ]
        note = f"{self.right} of {self.asked} samples were answered right; the others do not count."
        column = next(kind for kind in KINDS if kind.name == "retrieval")
        return StatisticsTable(tuple(rows), (column,), notes=(note,))


def retrieval(model: Any, tokenizer: Any, samples: Iterable[Sample], tokens: int = TOKENS) -> StatisticsTable:
    """The retrieval score of every head (Wu et al. 2024, as their code has it): greedy decoding, and of each token generated,
    whether the head's largest weight lies in the needle, on that very token. A token that comes twice counts twice, so a
    score can exceed 1.

    `model`, `tokenizer`: as in attnscope.trace. `samples`: texts with something to find. `tokens`: how many the model may
    generate. Samples that are not answered right do not count; the table's note says how many were.

    Raises InputError for a needle that does not stand in its text, and without samples.
    """
    import attnscope

    sums = RetrievalSums.start()
    for sample in samples:
        given: dict[str, Any] = {"text": sample.text} if isinstance(sample.text, str) else {"messages": sample.text}
        trace = attnscope.trace(model, tokenizer, generate=tokens, **given)
        sums.update(trace, sample.needle, sample.answer)
    if not sums.asked:
        raise InputError("expected samples with something to find, got none.")
    return sums.finish()


def needle_tokens(trace: Trace, needle: str) -> range:
    """The positions of the tokens of the needle, where it stands first."""
    tokens = trace.tokens
    start = tokens.text.find(needle) if needle else -1
    if start < 0 or not tokens.offsets:
        raise InputError(
            f"expected needle as it stands in the text that was read, got {needle!r}. The tokenizer must be a fast one, which "
            "tells the characters of each token."
        )
    stop = start + len(needle)
    border = tokens.border if tokens.border is not None else len(tokens)
    inside = [i for i, (low, high) in enumerate(tokens.offsets[:border]) if low < stop and high > start]
    return range(inside[0], inside[-1] + 1)


def _hits(weights: Any, ids: Tensor, border: int, place: range, offset: int) -> Tensor:
    """By head: for how many generated tokens its argmax is that token in the needle, over the length of the needle."""
    asking = torch.arange(border - 1, len(ids) - 1)
    top = weights(None, asking - offset).cpu().argmax(-1)
    right = (top >= place.start) & (top < place.stop) & (ids[top] == ids[asking + 1])
    return right.double().sum(-1) / len(place)


def _texts(tokens: Tokens, border: int) -> list[str]:
    pieces = read_pieces(tokens.strings, tokens.special)
    return [piece.text for piece, special in zip(pieces[border:], tokens.special[border:], strict=True) if not special]
