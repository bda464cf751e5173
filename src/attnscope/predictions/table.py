"""The StreamTable of a trace: all that a page draws of the stream, at chosen positions."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from attnscope.errors import CaptureError, NotCaptured
from attnscope.predictions.lens import lens_top
from attnscope.predictions.parts import Parts, parts_of
from attnscope.predictions.readout import narrowed, readout
from attnscope.predictions.streams import capped, checked, label_place, logits_of, stream_of
from attnscope.predictions.targets import text_of, texts_of
from attnscope.tracing.stream import Node, Stream, forward, values
from attnscope.tracing.stream_table import StreamPart, StreamTable, Target
from attnscope.tracing.trace import Trace

TOP = 10


def stream_table(
    trace: Trace, positions: Sequence[int] | None = None, top: int = TOP, named: Sequence[int] = ()
) -> StreamTable:
    """The table at some `positions` (None: all that the trace kept) with the `top` targets of each. `named`: ids that are among them
    everywhere, in the place of the least probable.

    Raises NotCaptured for a trace without a stream, CaptureError where its receipt fails.
    """
    stream = stream_of(trace)
    chosen = tuple(stream.positions if positions is None else sorted(set(positions)))
    receipt = checked(stream)
    own = stream.returned
    predicting = _predicting(stream, chosen)  # rows of the table
    targets: tuple[tuple[Target, ...], ...] = ()
    logits = chances = torch.zeros(len(chosen), 0)
    if own is not None and predicting:
        rows = torch.stack([logits_of(stream, chosen[row]).float().cpu() for row in predicting])
        first = rows.index_fill(1, torch.tensor([*named], dtype=torch.long), torch.inf)
        found = first.topk(min(top, rows.shape[-1])).indices
        found = found.gather(-1, rows.gather(-1, found).argsort(dim=-1, descending=True))
        logits, chances = (
            _spread(made.gather(-1, found), predicting, len(chosen)) for made in (rows, rows.softmax(-1))
        )
        there = dict(zip(predicting, found.tolist(), strict=True))
        targets = tuple(tuple(Target(i, text_of(stream, i)) for i in there.get(row, ())) for row in range(len(chosen)))
    leaves = stream.leaves() if stream.head is None else stream.leaves(stream.head.logits)
    parts = parts_of(stream, leaves)
    contributions = None
    if targets and stream.head is not None:
        contributions, parts = _contributions(
            stream, [chosen[row] for row in predicting], [targets[row] for row in predicting], parts
        )
        contributions = _spread(contributions, predicting, len(chosen))
        error = float((contributions.sum(1) - logits).abs().max())
        receipt = replace(receipt, sum_error=error)
    lens_ids, lens_chances, words = _lens(stream, chosen)
    sizes, writes, turns = _sizes(stream, chosen, parts)
    return StreamTable(
        stream.stack,
        chosen,
        own.task if own is not None and targets else "",
        parts.blocks,
        parts.parts,
        targets,
        logits,
        chances,
        contributions,
        lens_ids,
        words,
        lens_chances,
        sizes,
        writes,
        turns,
        receipt,
        stream.no_head or _elsewhere(stream, chosen),
    )


def _predicting(stream: Stream, chosen: Sequence[int]) -> list[int]:
    """Which of the chosen positions a prediction is read from: each, or that of the labels of the whole text."""
    if stream.returned is None:
        return []
    if stream.returned.rows is not None:
        return [*range(len(chosen))]
    place = label_place(stream)
    return [] if place is None else [row for row, one in enumerate(chosen) if one == stream.positions[place]]


def _elsewhere(stream: Stream, chosen: Sequence[int]) -> str:
    """Why nothing is predicted at most positions; empty where something is at each."""
    if stream.returned is None or stream.returned.rows is not None:
        return ""
    place = label_place(stream)
    if place is None:
        return "the label of the whole text is not read from a token whose stream was kept"
    position = stream.positions[place]
    where = "" if position in chosen else ", which this view does not hold"
    return f"the label of the whole text is read from the token at {position}{where}"


def _spread(made: Float[Tensor, "p *N"], rows: Sequence[int], count: int) -> Float[Tensor, "P *N"]:
    """At the `rows` of a table of `count` positions; zero at the others."""
    if len(rows) == count:
        return made
    return made.new_zeros(count, *made.shape[1:]).index_copy_(0, torch.tensor([*rows]), made)


def _contributions(
    stream: Stream, positions: Sequence[int], targets: Sequence[Sequence[Target]], parts: Parts
) -> tuple[Float[Tensor, "P N C"], Parts]:
    """What each part adds to the logits of the targets of each position; the effect of a cap becomes a part."""
    head = stream.head
    assert head is not None
    rows = [[target.id for target in row] for row in targets]
    read = readout(stream, positions, rows)
    values = [read.of_leaf(leaf) for leaf in read.leaves]
    made = [values[at] if number is None else values[at][..., number] for at, number in parts.places]
    if head.cap is not None:
        raw = torch.cat(
            [
                forward(narrowed(head.logits, ids, stream.final), stream.cut([position]))
                for position, ids in zip(positions, rows, strict=True)
            ]
        )
        made.append((capped(stream, raw) - raw).T)
        parts = replace(parts, parts=(*parts.parts, StreamPart("softcap", "softcap")))
    return torch.stack([one.expand(len(rows[0]), len(positions)) for one in made]).permute(
        2, 0, 1
    ).cpu().contiguous(), parts


def _lens(stream: Stream, positions: Sequence[int]) -> tuple[Tensor | None, Tensor | None, tuple[tuple[str, ...], ...]]:
    own = stream.returned
    if own is None or own.names:
        return None, None, ()
    try:
        ids, chances = lens_top(stream, positions, 1)
    except (NotCaptured, CaptureError):
        return None, None, ()
    named = dict.fromkeys(ids.flatten().tolist())
    spelled = dict(zip(named, texts_of(stream.tokenizer, [*named]), strict=True))
    return ids[..., 0].int(), chances[..., 0], tuple(tuple(spelled[i] for i in row) for row in ids[..., 0].tolist())


def _sizes(
    stream: Stream, positions: Sequence[int], parts: Parts
) -> tuple[Float[Tensor, "P L1"], Float[Tensor, "P B"], Float[Tensor, "P B"]]:
    """‖x‖ at each boundary; of each block ‖what it wrote‖ and the cosine of x before and after it."""
    cut = stream.cut(positions)
    made = values(stream.states, cut)
    states = torch.stack([made[state].norm(dim=-1) for state in stream.states], 1)
    places = {(block.layer, block.kind): at for at, block in enumerate(parts.blocks)}
    writes = torch.zeros(len(positions), len(places), device=stream.device)
    turns = torch.ones(len(positions), len(places), device=stream.device)
    following = [join.before for join in stream.joins[1:]] + [stream.states[-1]]
    for join, after in zip(stream.joins, following, strict=True):
        before, final = made[join.before], made[after]
        leaves: dict[int, list[Node]] = {}
        for leaf in stream.leaves(join.written):
            if leaf.label is not None and leaf.label.block is not None:
                leaves.setdefault(places[leaf.label.block], []).append(leaf)
        running = before
        for at, several in leaves.items():
            wrote = forward(join.written, cut, {leaf: made[leaf] for leaf in several}).expand_as(before)
            running = running + wrote
            now = final if len(leaves) == 1 else running
            writes[:, at] = wrote.norm(dim=-1)
            turns[:, at] = torch.cosine_similarity(before if len(leaves) == 1 else running - wrote, now, dim=-1)
    return states.cpu(), writes.cpu(), turns.cpu()
