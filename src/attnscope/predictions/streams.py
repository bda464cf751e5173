"""The stream of a trace that predicts, and whether it may be believed."""

from typing import Any

import torch
from torch import Tensor

from attnscope.errors import CaptureError, NotCaptured
from attnscope.tracing.receipts import tolerance_of
from attnscope.tracing.stream import Head, Stream, forward, reached, values
from attnscope.tracing.stream_table import StreamReceipt
from attnscope.tracing.trace import Trace


def stream_of(trace: Trace, stack: str | None = None) -> Stream:
    """The stream of a stack; None: of the last one, which predicts. Raises NotCaptured where the trace has none."""
    found = [stream for stream in trace.streams if stack in (None, stream.stack)]
    if not found:
        raise NotCaptured(
            'this trace does not hold the residual stream: trace again with keep={"stream"}, or pass model=… to run it once more. A '
            "file does not keep it."
        )
    return found[-1]


def head_of(stream: Stream) -> Head:
    """What predicts from a stream, once its receipt holds. Raises NotCaptured without one, CaptureError where the parts do not add
    up to the model's own numbers."""
    if stream.head is None:
        raise NotCaptured(f"there is nothing to attribute a prediction to: {stream.no_head}.")
    checked(stream)
    return stream.head


def checked(stream: Stream) -> StreamReceipt:
    """The receipt of a stream. Raises CaptureError where it fails, with the reason."""
    receipt = receipt_of(stream)
    if not receipt.passed:
        where = "its logits" if receipt.stream_error <= receipt.tolerance else "embedding + Σ writes"
        error = receipt.logit_error if receipt.stream_error <= receipt.tolerance else receipt.stream_error
        raise CaptureError(
            f"the parts of the residual stream do not add up to the model's own numbers: {where} differ by {error:.1e} of the largest "
            f"(tolerance {receipt.tolerance:.0e}). Something was added that could not be followed, or the model was changed since it "
            "was traced; nothing is shown that would be wrong."
        )
    return receipt


def receipt_of(stream: Stream) -> StreamReceipt:
    """Computed from the leaves: every input of a norm, and the logits, against what the model had there."""
    state = tuple(_version(leaf.value) for leaf in stream.leaves()), _weights_state(stream)
    known = stream.__dict__.get("_known_receipt")
    if known is not None and known[0] == state:
        return known[1]
    cut = stream.cut()
    worst = 0.0
    for node, made in values([stream.final, *stream.states], cut).items():
        if node.seen is not None and node.label is None:
            worst = max(worst, difference(made, cut(node.seen)))
    receipt = StreamReceipt(worst, _logit_error(stream), None, tolerance_of(stream.dtype))
    stream.__dict__["_known_receipt"] = state, receipt
    return receipt


def label_place(stream: Stream) -> int | None:
    """Which of its positions the labels of the whole text are read from; None where they are not read from one that was kept."""
    own = stream.returned
    if own is None or own.places is None:
        return None
    return own.places[min(stream.row, len(own.places) - 1)]


def label_position(stream: Stream) -> int:
    """The position of the token that the labels of the whole text are read from. Raises NotCaptured where they are not read from one, or it was not kept."""
    head_of(stream)
    place = label_place(stream)
    if place is None:
        raise NotCaptured("the label is read from a token whose stream was not kept: trace again with all positions.")
    return stream.positions[place]


def logits_of(stream: Stream, position: int) -> Tensor:
    """The logits [V] at one of its positions: the model's own where they are kept, else from the stream."""
    place, own = stream.positions.index(position), stream.returned
    if own is not None and own.rows is None:
        return own.logits[min(stream.row, len(own.logits) - 1)]
    if own is not None and own.rows is not None and bool((own.rows == place).any()):
        return own.logits[min(stream.row, len(own.logits) - 1), int((own.rows == place).nonzero()[0])]
    return capped(stream, forward(head_of(stream).logits, stream.cut([position])))[0]


def capped(stream: Stream, logits: Tensor) -> Tensor:
    """After the model's cap: softcap · tanh(logits / softcap)."""
    cap = None if stream.head is None else stream.head.cap
    return logits if cap is None else cap * torch.tanh(logits / cap)


def difference(made: Tensor, own: Tensor) -> float:
    """The largest difference as a part of the largest number; NaN and infinities count as wrong."""
    if not bool(torch.isfinite(made).all() and torch.isfinite(own).all()):
        return float("inf")
    largest = float(own.abs().max())
    error = float((made - own).abs().max())
    return error / largest if largest else error


def _logit_error(stream: Stream) -> float | None:
    own = stream.returned
    if stream.head is None or own is None:
        return None
    if own.rows is not None:
        rows = own.rows.tolist()
    elif (place := label_place(stream)) is not None:
        rows = [place]
    else:
        return None
    made = capped(stream, forward(stream.head.logits, stream.cut([stream.positions[row] for row in rows])))
    logits = own.logits[min(stream.row, len(own.logits) - 1)].float()
    return difference(made, logits.reshape(made.shape))


def _version(x: Any) -> int | None:
    return None if x is None or x.is_inference() else x._version


def _weights_state(stream: Stream) -> tuple[Any, ...]:
    """Another value once a parameter on the way was written into."""
    roots = [stream.final] if stream.head is None else [stream.head.logits]
    steps = (step for node in reached(roots) for _, step in node.inputs)
    return tuple(_version(getattr(step, "weight", None)) for step in steps)
