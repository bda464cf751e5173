"""Run a model once more on a trace's own inputs, to check every row of it."""

import torch
from torch import nn

from attnscope.capturing.recorder import Recorder
from attnscope.tracing.held import open_held
from attnscope.tracing.modules import in_eval
from attnscope.tracing.trace import Trace


def rerun(model: nn.Module, trace: Trace) -> Trace:
    """A trace of the same inputs that keeps every row of every site's output.

    `model`: the one that was traced. `trace`: one with `inputs`.
    """
    model = open_held(model, names=(trace.inputs or {}).keys()).model
    with in_eval(model), torch.no_grad(), Recorder(model, all_rows=True, own_thread=True) as recorder:
        model(**dict(trace.inputs or {}))
    return recorder.trace(tokens=trace.tokens, target=trace.target)
