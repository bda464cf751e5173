"""The column of the level stream: what each block and head adds at one position, from the embedding to the prediction.

The page computes the same in heads/stream-column.ts; tests/cases/stream.json holds the two together.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from attnscope.errors import InputError, NotCaptured
from attnscope.predictions.targets import target_of
from attnscope.text.spelling import visible
from attnscope.tracing.site import Site
from attnscope.tracing.stream import NO_STREAM
from attnscope.tracing.stream_table import StreamTable
from attnscope.tracing.trace import Trace
from attnscope.views.state import State

TASKS = {"next": "next token", "fill": "token at this place", "label": "label", "": ""}
ENOUGH = 26  # rows that need no folding
LITTLE = 0.1  # of the largest part or block: layers below it stand together


@dataclass(frozen=True)
class Line:
    """One row: the embedding, a block, or what is of no block, with the parts whose sum it is.

    value: to logit(target) − logit(against); None where nothing is attributed. running: the sum of all rows up to this one;
    None of a part. turn: degrees between x before and after the block. write: ‖what it added‖. stage: which stage ends here, 0 after the embedding,
    l + 1 after layer l. parts: the largest first; none where the row is one part. folded: how many blocks stand together here.
    """

    kind: str
    name: str
    layer: int | None = None
    block: int | None = None
    head: int | None = None
    value: float | None = None
    running: float | None = None
    turn: float | None = None
    write: float | None = None
    stage: int | None = None
    parts: "tuple[Line, ...]" = ()
    folded: int = 0

    @property
    def size(self) -> float:
        """The largest |contribution| of the row and its parts."""
        return max(abs(self.value or 0.0), *(abs(part.value or 0.0) for part in self.parts), 0.0)


@dataclass(frozen=True)
class Prediction:
    """A target as it is shown, with its logit and probability."""

    id: int
    text: str
    logit: float
    probability: float


@dataclass(frozen=True, eq=False)
class Column:
    """What `column_of` returns. difference: logit(target) − logit(against). attributed: whether rows have contributions.

    passed: whether these are the model's own numbers. mine: |Σ parts − logit|, the largest, computed again.
    """

    table: StreamTable
    row: int
    predictions: tuple[Prediction, ...]
    target: Prediction | None
    against: Prediction | None
    difference: float
    lines: tuple[Line, ...]
    attributed: bool
    passed: bool
    mine: float | None

    @property
    def pair(self) -> str:
        """What the rows add up to: "Mary − John"."""
        if self.target is None:
            return ""
        return f"{self.target.text} − {self.against.text}" if self.against else self.target.text

    def lens(self, line: Line) -> tuple[str, float] | None:
        """The lens's token after a row, and its probability; None where no stage ends there."""
        if line.stage is None or self.table.lens_probabilities is None:
            return None
        text = shown(self.table.lens_text[self.row][line.stage])
        return text, float(self.table.lens_probabilities[self.row, line.stage])

    def length(self, line: Line) -> float | None:
        """‖x‖ after a row; None where no stage ends there."""
        return None if line.stage is None else float(self.table.sizes[self.row, line.stage])

    @property
    def strongest(self) -> Line | None:
        """The row whose largest part adds most."""
        parted = [line for line in self.lines if line.parts]
        return max(parted, key=lambda line: abs(line.parts[0].value or 0.0), default=None)


def shown(text: str) -> str:
    """A predicted token without the space before it; white space and nothing are made visible."""
    return visible(text).strip()


def told(texts: Sequence[str]) -> list[str]:
    """Tokens of one list, in which none may look like another."""
    names = [shown(text) for text in texts]
    return [
        name if names.count(name) == 1 else visible(text).replace(" ", "␣")
        for name, text in zip(names, texts, strict=True)
    ]


def with_targets(trace: Trace, look: Mapping[str, Any]) -> dict[str, Any]:
    """What a view is asked to look at, with the ids of a target and of an alternative that are given as text."""
    return {
        name: target_named(trace, name, value) if name in ("target", "against") else value
        for name, value in look.items()
    }


def target_named(trace: Trace, name: str, value: Any) -> Any:
    """The id of a target that is given as text, by the rule of `attnscope.predictions.targets`; anything else as it is.

    Raises NotCaptured without a table, and InputError for a text that no position offers.
    """
    if not isinstance(value, str):
        return value
    offered = {target.text: target.id for row in reversed(stream_of(trace).targets) for target in reversed(row)}
    if trace.streams and trace.streams[-1].tokenizer is not None:
        found = target_of(trace.streams[-1], value, name).id
        if found in offered.values():
            return found
    else:  # of a file, which has no tokenizer
        for one in (value, f" {value}"):
            if one in offered:
                return offered[one]
    there = ", ".join(map(repr, list(offered)[-10:]))
    raise InputError(
        f"{name} {value!r} is not among the targets that this view keeps, such as {there}. show({name}={value!r}) keeps it."
    )


def stream_of(trace: Trace) -> StreamTable:
    """The trace's table. Raises NotCaptured, which says how to get it."""
    if trace.stream_table is None:
        reason = next((note for note in trace.notes if note.startswith(NO_STREAM)), None)
        raise NotCaptured(
            'this trace does not hold the residual stream, so it has no level "stream": '
            + (reason or 'trace again with keep={"stream"}, or show(model, tokenizer, text, level="stream").')
        )
    return trace.stream_table


def stream_site(trace: Trace) -> Site:
    """The first layer of self-attention that writes into this stream; positions count along its queries."""
    stack = stream_of(trace).stack
    return next((one for one in trace.sites if one.stack == stack and one.kind == "self"), trace.sites[0])


def row_of(trace: Trace, state: State) -> int:
    """The row of the state's query. Raises InputError where the stream is not held there, naming where it is."""
    table, site = stream_of(trace), stream_site(trace)
    if trace.site(state.layer, state.stack).query_tokens != site.query_tokens:
        raise InputError(f"the stream of this trace is that of the {table.stack}: give stack={table.stack!r}.")
    if state.query not in table.positions:
        there = ", ".join(map(str, table.positions[:12])) + (" …" if len(table.positions) > 12 else "")
        raise InputError(f"the stream is held at positions {there}, and not at query {state.query}.")
    return table.positions.index(state.query)


def column_of(trace: Trace, state: State) -> Column:
    """The column of the state's query. Ids that this position does not offer give way to the most probable.

    `trace`: one with a StreamTable. `state`: its query, target and against are read. Raises NotCaptured without a table, and
    InputError where it does not hold the query.
    """
    return column_at(stream_of(trace), row_of(trace, state), state.target, state.against)


def column_at(table: StreamTable, row: int, wanted: int | None, other: int | None) -> Column:
    """The same of a row of a table; `wanted` and `other` are ids of targets, None the most probable."""
    targets = table.targets[row] if table.targets else ()
    names = told([target.text for target in targets])
    predictions = tuple(
        Prediction(target.id, name, float(table.logits[row, c]), float(table.probabilities[row, c]))
        for c, (target, name) in enumerate(zip(targets, names, strict=True))
    )
    ids = [one.id for one in predictions]

    def at(found: int | None, avoided: int | None) -> int | None:
        column = ids.index(found) if found in ids else None
        if column is not None and column != avoided:
            return column
        return next((c for c in range(len(ids)) if c != avoided), None)

    spared = ids.index(other) if wanted is None and other in ids else None
    target = at(wanted, spared)
    against = at(other, target) if len(ids) > 1 else None
    passed, mine = _check(table, row)
    attributed = table.contributions is not None and target is not None and passed

    def value(part: int) -> float | None:
        if not attributed or table.contributions is None:
            return None
        given = table.contributions[row, part].double()
        return float(given[target] - (given[against] if against is not None else 0.0))

    chosen = None if target is None else predictions[target]
    compared = None if against is None else predictions[against]
    difference = (chosen.logit if chosen else 0.0) - (compared.logit if compared else 0.0)
    lines = _lines(table, row, value, attributed)
    return Column(table, row, predictions, chosen, compared, difference, lines, attributed, passed, mine)


def parts_of(lines: Sequence[Line]) -> list[Line]:
    """Every head, MLP, embedding and bias by itself."""
    return [part for line in lines for part in (line.parts or (line,))]


def folded(column: Column) -> list[Line]:
    """The rows; where there are many, runs of layers of which every part is small stand together in one."""
    lines = column.lines
    if not column.attributed or len(lines) <= ENOUGH:
        return list(lines)
    least = LITTLE * max(line.size for line in lines)
    loud = {line.layer for line in lines if line.size >= least}
    out: list[Line] = []
    run: list[Line] = []
    for line in (*lines, None):
        if line is not None and line.layer is not None and line.layer not in loud:
            run.append(line)
            continue
        out += run if not run or run[0].layer == run[-1].layer else [_together(run)]
        run = []
        if line is not None:
            out.append(line)
    return out


def row_name(line: Line, part: bool = False) -> str:
    """A row's name beside the number of its layer; a `part` of another row has its whole name."""
    if line.folded:
        return f"{line.folded} blocks"
    return line.name if part or line.block is None else line.name.split(" ", 1)[1]


def _together(run: list[Line]) -> Line:
    return Line(
        "fold",
        f"L{run[0].layer}–L{run[-1].layer}",
        layer=run[0].layer,
        value=sum(line.value or 0.0 for line in run),
        running=run[-1].running,
        stage=run[-1].stage,
        folded=len(run),
    )


def _lines(table: StreamTable, row: int, value: Callable[[int], float | None], attributed: bool) -> tuple[Line, ...]:
    leaves = [
        Line(
            part.kind,
            part.name,
            layer=None if part.block is None else table.blocks[part.block].layer,
            block=part.block,
            head=part.head,
            value=value(n),
        )
        for n, part in enumerate(table.parts)
    ]
    first = [leaf for leaf in leaves if leaf.block is None and leaf.kind == "embedding"]
    lines = [Line("embedding", "embedding", stage=0, **_sum(first, attributed))]
    for b, block in enumerate(table.blocks):
        following = table.blocks[b + 1].layer if b + 1 < len(table.blocks) else None
        cosine = float(table.turns[row, b])
        lines.append(
            Line(
                block.kind,
                block.name,
                layer=block.layer,
                block=b,
                turn=math.nan if math.isnan(cosine) else math.degrees(math.acos(max(-1.0, min(1.0, cosine)))),
                write=float(table.writes[row, b]),
                stage=None if following == block.layer else block.layer + 1,
                **_sum([leaf for leaf in leaves if leaf.block == b], attributed),
            )
        )
    if not attributed:  # what is of no block has no turn and no length: nothing but what it adds
        return tuple(lines)
    rest = [leaf for leaf in leaves if leaf.block is None and leaf.kind != "embedding"]
    biases = [leaf for leaf in rest if leaf.kind == "bias"]
    if len(biases) > 1:
        rest = [leaf for leaf in rest if leaf.kind != "bias"]
        lines.append(Line("bias", "other biases", **_sum(biases, attributed)))
    lines += rest
    running, out = 0.0, []
    for line in lines:
        running += line.value or 0.0
        out.append(replace(line, running=running))
    return tuple(out)


def _sum(parts: list[Line], attributed: bool) -> dict[str, Any]:
    """What a row gets from its parts; one alone is the row itself."""
    if not attributed:
        return {}
    several = sorted(parts, key=lambda part: -abs(part.value or 0.0)) if len(parts) > 1 else ()
    head = parts[0].head if len(parts) == 1 else None
    return {"value": sum(part.value or 0.0 for part in parts), "head": head, "parts": tuple(several)}


def _check(table: StreamTable, row: int) -> tuple[bool, float | None]:
    """Whether the receipt passed and the parts of each target add up to its logit; and how far they are from it."""
    passed = table.receipt.passed
    if table.contributions is None or not table.targets[row]:
        return passed, None
    given, logits = table.contributions[row].double(), table.logits[row].double()
    mine = float((given.sum(0) - logits).abs().max()) if logits.numel() else 0.0
    largest = max(
        1.0, float(given.abs().max()) if given.numel() else 0.0, float(logits.abs().max()) if logits.numel() else 0.0
    )
    within = mine <= max(table.receipt.tolerance, 1e-5) * largest
    return passed and within, mine
