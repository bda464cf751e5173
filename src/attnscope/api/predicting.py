"""What methods of a Trace say of its residual stream: predictions, lens, attribution, the table that a page draws."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from attnscope.capturing import rerun_for_stream
from attnscope.predictions import (
    attribution as attributing,
    lens as seeing,
    predict as predicting,
    similarity as comparing,
    table as tabling,
    why as asking,
)
from attnscope.predictions.attribution import Attribution
from attnscope.predictions.lens import Lens
from attnscope.predictions.predict import Predictions
from attnscope.predictions.similarity import Similarity
from attnscope.predictions.streams import stream_of
from attnscope.predictions.targets import target_of
from attnscope.predictions.why import Why
from attnscope.tracing.stream import spelled_by
from attnscope.tracing.trace import Trace


def predictions_of(trace: Trace, query: Any, top: Any, model: Any, tokenizer: Any) -> Predictions:
    """See Trace.predictions."""
    return predicting.predictions(with_stream(trace, model, tokenizer), query, top)


def attribution_of(trace: Trace, target: Any, against: Any, query: Any, model: Any, tokenizer: Any) -> Attribution:
    """See Trace.attribution."""
    return attributing.attribution(with_stream(trace, model, tokenizer), target, against, query)


def lens_of(trace: Trace, query: Any, layer: Any, top: Any, model: Any, tokenizer: Any) -> Lens:
    """See Trace.lens."""
    return seeing.lens(with_stream(trace, model, tokenizer), query, layer, top)


def why_of(trace: Trace, layer: Any, head: Any, query: Any, key: Any, stack: Any, model: Any) -> Why:
    """See Trace.why."""
    return asking.why(with_stream(trace, model, None), layer, head, query, key, stack)


def similarity_of(trace: Trace, other: Any, pooling: Any, model: Any) -> Similarity:
    """See Trace.similarity."""
    second = with_stream(other, model, None) if isinstance(other, Trace) else other
    return comparing.similarity(with_stream(trace, model, None), second, pooling)


def with_stream_table(
    trace: Trace,
    positions: Sequence[int] | None = None,
    model: Any = None,
    tokenizer: Any = None,
    targets: Sequence[int | str] = (),
) -> Trace:
    """The trace with its StreamTable, which views and files hold.

    `targets`: tokens or labels that it holds at every position beside the most probable.
    `positions`: of the tokens to put in it; None: all whose stream was kept. `model`, `tokenizer`: as for Trace.predictions.
    """
    held = with_stream(trace, model, tokenizer, positions)
    named = [target_of(stream_of(held), one, "target").id for one in targets]
    return replace(trace, stream_table=tabling.stream_table(held, positions, named=named))


def with_stream(trace: Trace, model: Any, tokenizer: Any, positions: Sequence[int] | None = None) -> Trace:
    """The trace with its streams: those that it kept, else of one more run of `model` on its inputs."""
    if not trace.streams:
        if model is None:
            return trace  # which says what it lacks
        trace = rerun_for_stream(model, trace, positions)
    return trace if tokenizer is None else replace(trace, streams=spelled_by(trace.streams, tokenizer))
