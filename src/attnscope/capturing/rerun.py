"""Run a model once more on a trace's own inputs, to check every row of it."""

import torch
from torch import nn

from attnscope.capturing.recorder import Recorder
from attnscope.tracing.held import open_held
from attnscope.tracing.trace import Trace


def rerun(model: nn.Module, trace: Trace) -> Trace:
    """A trace of the same inputs that keeps every row of every site's output.

    `model`: the one that was traced. `trace`: one with `inputs`.
    """
    model = open_held(model, names=(trace.inputs or {}).keys()).model
    recorder = Recorder(model, all_rows=True, own_thread=True)
    was_training = model.training
    model.eval()
    recorder.open()
    try:
        with torch.no_grad():
            model(**dict(trace.inputs or {}))
    finally:
        recorder.close()
        model.train(was_training)
    return recorder.trace(tokens=trace.tokens, target=trace.target)
