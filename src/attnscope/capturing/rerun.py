"""Run a model once more on a trace's own inputs: to check every row of it, or for its residual stream."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from attnscope.capturing.recorder import Recorder
from attnscope.capturing.stream.room import Room
from attnscope.errors import CaptureError, InputError, NotCaptured
from attnscope.tracing.held import open_held
from attnscope.tracing.modules import in_eval
from attnscope.tracing.stream import NO_STREAM, spelled_by
from attnscope.tracing.trace import Trace


def rerun(model: nn.Module, trace: Trace) -> Trace:
    """A trace of the same inputs that keeps every row of every site's output.

    `model`: the one that was traced. `trace`: one with `inputs`.
    """
    model = open_held(model, names=(trace.inputs or {}).keys()).model
    with in_eval(model), torch.no_grad(), Recorder(model, all_rows=True, own_thread=True) as recorder:
        model(**dict(trace.inputs or {}))
    return recorder.trace(tokens=trace.tokens, target=trace.target)


def rerun_for_stream(model: Any, trace: Trace, positions: Sequence[int] | None = None) -> Trace:
    """The trace with the residual streams of one more pass on its inputs.

    `model`: the one that was traced, or what holds it. `positions`: of the tokens whose stream is kept (None: all).

    Raises NotCaptured for a trace without inputs, InputError for another model, CaptureError where no stream could be followed.
    """
    if trace.inputs is None:
        raise NotCaptured(
            "this trace does not have the model's inputs (it was loaded from a file, or made of tensors): trace the text again with "
            'keep={"stream"}.'
        )
    held = open_held(model, names=trace.inputs.keys())
    model, recorder = held.model, Recorder(held.model, keep="stream", own_thread=True, room=Room(positions))
    with in_eval(model), torch.no_grad(), recorder:
        model(**dict(trace.inputs))
    again = recorder.trace(tokens=trace.tokens, target=trace.target)
    first, other = trace.sites[0], next((site for site in again.sites if site.path == trace.sites[0].path), None)
    tolerance = 1e-3 * float(first.q.abs().max()) if not first.weights_only else 0.0
    if other is None or not (first.weights_only or torch.allclose(first.q, other.q, rtol=0, atol=tolerance)):
        raise InputError("model=… is not the model that was traced, or it was changed since: it attends otherwise.")
    if not again.streams:
        reasons = [note for note in again.notes if note.startswith(NO_STREAM)]
        raise CaptureError(
            f"the residual stream of this model could not be followed: {' '.join(reasons) or 'it has no list of blocks that attend.'}"
        )
    reader = getattr(held, "reader", None)
    return replace(trace, streams=spelled_by(again.streams, reader if callable(reader) else None))
