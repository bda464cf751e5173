"""The model's own predictions: the next tokens, what fills a place, or labels."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from attnscope.errors import InputError, NotCaptured
from attnscope.predictions.streams import logits_of, stream_of
from attnscope.predictions.targets import position_of, read_tokens, text_of
from attnscope.statistics.frames import data_frame
from attnscope.tracing.places import is_number
from attnscope.tracing.trace import Trace

WHAT = {"next": "the next token", "fill": "the token at this place", "label": "the label"}


@dataclass(frozen=True)
class Prediction:
    """One token or label that may be predicted. `id`, `text`: which. `logit`: the model's own. `probability`: softmax over all
    logits. `rank`: from 1, the most probable."""

    id: int
    text: str
    logit: float
    probability: float
    rank: int


@dataclass(frozen=True, repr=False)
class Predictions(Sequence[Prediction]):
    """The most probable predictions at one place, the first first.

    `task`: "next" tokens, "fill" (the token at this place) or "label". `position`: of the token; None for the whole text. `after`: that
    token as written.
    """

    task: str
    position: int | None
    after: str
    predictions: tuple[Prediction, ...]

    def __len__(self) -> int:
        return len(self.predictions)

    def __getitem__(self, index: Any) -> Any:
        return self.predictions[index]

    def to_frame(self) -> Any:
        """A DataFrame with a row for each. Raises MissingDependency without pandas."""
        return data_frame([vars(one) for one in self.predictions])

    def __repr__(self) -> str:
        place = "" if self.position is None else f" at position {self.position} ({self.after!r})"
        lines = [f"  {one.rank:3d}  {one.probability:7.2%}  {one.text!r}" for one in self.predictions]
        return "\n".join([f"Predictions of {WHAT[self.task]}{place}:", *lines])


def predictions(trace: Trace, query: Any = -1, top: Any = 10) -> Predictions:
    """The predictions at one position; `Trace.predictions` says what the arguments are."""
    if not is_number(top) or int(top) < 1:
        raise InputError(f"expected top as a number from 1 on, got {top!r}.")
    stream = stream_of(trace)
    if stream.returned is None:
        raise NotCaptured(f"there is nothing to predict with: {stream.no_head}.")
    whole = stream.returned.rows is None
    position = stream.positions[-1] if whole else position_of(trace, stream, query)
    logits = logits_of(stream, position).float()
    chances = logits.softmax(-1)
    best = logits.topk(min(int(top), len(logits)))
    found = tuple(
        Prediction(number, text_of(stream, number), logit, float(chances[number]), rank)
        for rank, (number, logit) in enumerate(zip(best.indices.tolist(), best.values.tolist(), strict=True), 1)
    )
    after = read_tokens(trace, stream).shown[position] if not whole else ""
    return Predictions(stream.returned.task, None if whole else position, after, found)
