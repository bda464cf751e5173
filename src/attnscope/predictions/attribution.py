"""Direct attribution: which parts of the residual stream made a logit, or the difference of two. The sum is exact."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from attnscope.errors import InputError
from attnscope.predictions.parts import parts_of
from attnscope.predictions.readout import narrowed, readout
from attnscope.predictions.streams import capped, checked, head_of, logits_of, stream_of
from attnscope.predictions.targets import notes_on, place_of, target_of
from attnscope.statistics.frames import data_frame
from attnscope.tracing.stream import forward
from attnscope.tracing.stream_table import StreamBlock, StreamPart, StreamReceipt, Target
from attnscope.tracing.trace import Trace


@dataclass(frozen=True)
class Contribution:
    """What one part adds. `part`: which. `value`: in logits; above 0 it speaks for the target. `layer`: from 0; None for what is of
    no layer."""

    part: StreamPart
    value: float
    layer: int | None = None

    @property
    def name(self) -> str:
        """Of the part, such as "L2H8"."""
        return self.part.name


@dataclass(frozen=True, repr=False)
class Sum(Sequence[Contribution]):
    """A number as the sum of contributions.

    `contributions`: one for each part, in the order in which they were written. `blocks`: those that wrote.
    """

    contributions: tuple[Contribution, ...]
    blocks: tuple[StreamBlock, ...]

    def __len__(self) -> int:
        return len(self.contributions)

    def __getitem__(self, index: Any) -> Any:
        return self.contributions[index]

    @property
    def total(self) -> float:
        """The sum of all contributions."""
        return sum(one.value for one in self.contributions)

    def of(self, name: str) -> float:
        """What the parts of a name add: "L2H8", "L2 MLP", or "L2 attention" for its heads and its bias. Raises InputError for one
        that is not there."""
        block = next((at for at, one in enumerate(self.blocks) if one.name == name), None)
        found = [
            one.value
            for one in self.contributions
            if one.name == name or (block is not None and one.part.block == block)
        ]
        if not found:
            names = [one.name for one in self.contributions]
            raise InputError(f"there is no part {name!r}; the parts are {', '.join(names[:12])} … {names[-1]}.")
        return sum(found)

    def top(self, count: int = 10) -> tuple[Contribution, ...]:
        """The largest in either direction, the largest first. `count`: how many."""
        return tuple(sorted(self.contributions, key=lambda one: -abs(one.value))[:count])

    def to_frame(self) -> Any:
        """A DataFrame with a row for each part. Raises MissingDependency without pandas."""
        rows = [
            {
                "part": one.name,
                "kind": one.part.kind,
                "layer": one.layer,
                "head": one.part.head,
                "contribution": one.value,
            }
            for one in self.contributions
        ]
        return data_frame(rows)

    def lines(self, own: float) -> list[str]:
        """For people: the largest, the rest, and how far the sum is from the model's `own` number."""
        top = self.top()
        rest = self.total - sum(one.value for one in top)
        more = [f"  {rest:+8.3f}  {len(self) - len(top)} other parts"] if len(self) > len(top) else []
        error = f"  they add up to {self.total:+.4f}, {abs(self.total - own):.1e} from the model's own {own:+.4f}"
        return [*(f"  {one.value:+8.3f}  {one.name}" for one in top), *more, error]


@dataclass(frozen=True, repr=False)
class Attribution(Sum):
    """A logit, or the difference of two, as the sum of what each part of the residual stream added (readout.py has the formula).

    `contributions`: one for each part, in the order in which they were written; the effect of a cap on the logits is the last
    one. `blocks`: those that wrote. `position`: of the token at which the prediction stands. `target`, `against`: what is predicted, and the
    alternative (None: the logit alone). `logit`: the model's own number, after the cap. `receipt`: whether they add up. `notes`: what a reader must know.
    """

    position: int
    target: Target
    against: Target | None
    logit: float
    receipt: StreamReceipt
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        than = f" − logit({self.against.text!r})" if self.against is not None else ""
        first = f"Attribution of logit({self.target.text!r}){than} at position {self.position}:"
        return "\n".join([first, *self.lines(self.logit), *self.notes])


def attribution(trace: Trace, target: Any, against: Any = None, query: Any = -1) -> Attribution:
    """The attribution at one position; `Trace.attribution` says what the arguments are."""
    stream = stream_of(trace)
    head_of(stream)
    position = place_of(trace, stream, query)
    wanted = target_of(stream, target, "target")
    other = None if against is None else target_of(stream, against, "against")
    read = readout(stream, position, [wanted.id], None if other is None else [other.id])
    parts = parts_of(stream, read.leaves)
    values = [read.of_leaf(leaf)[0, 0] for leaf in read.leaves]
    found = [
        Contribution(
            part,
            float(values[at] if head is None else values[at][head]),
            None if part.block is None else parts.blocks[part.block].layer,
        )
        for part, (at, head) in zip(parts.parts, parts.places, strict=True)
    ]
    own = logits_of(stream, position).float()
    words = stream.returned is None or not stream.returned.names
    notes = notes_on(stream.tokenizer, {"target": target, "against": against}, own) if words else ()
    own = float(own[wanted.id] - (0.0 if other is None else own[other.id]))
    if stream.head is not None and stream.head.cap is not None:
        ids = [wanted.id] if other is None else [wanted.id, other.id]
        raw = forward(narrowed(stream.head.logits, ids, stream.final), stream.cut([position]))[0]
        moved = capped(stream, raw) - raw
        found.append(Contribution(StreamPart("softcap", "softcap"), float(moved[0] - moved[1:].sum())))
    error = abs(sum(one.value for one in found) - own)
    receipt = replace(checked(stream), sum_error=error)
    return Attribution(tuple(found), parts.blocks, position, wanted, other, own, receipt, notes)
