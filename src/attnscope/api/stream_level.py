"""What show() does for the level stream: it keeps the stream while it traces, and puts its table into the view."""

from collections.abc import Collection

from attnscope.api.predicting import with_stream_table
from attnscope.errors import CaptureError
from attnscope.tracing.trace import Trace

MOST = 16e6  # bytes of contributions in a page
NUMBERS = 4 * 10  # bytes of one part at one position: ten targets


def keeping_stream(level: str, keep: Collection[str] | None) -> Collection[str] | None:
    """What to keep: the stream too, where the view opens on it and the caller did not say what to keep."""
    return keep if keep is None or level != "stream" else {*keep, "stream"}


def with_table(trace: Trace, level: str) -> Trace:
    """The trace with the table of its stream, where it kept one: at all positions, or at the last ones that fit into a page.

    Raises CaptureError where the stream is not the model's own and the view opens on it; other levels open without it.
    """
    if trace.stream_table is not None or not trace.streams:
        return trace
    stream = trace.streams[-1]
    parts = sum(site.heads + 3 for site in trace.sites)  # the heads, an MLP and the biases of each layer
    positions = tuple(stream.positions)
    fit = max(1, int(MOST / (NUMBERS * parts)))
    try:
        return with_stream_table(trace, positions[-fit:])
    except CaptureError:
        if level == "stream":
            raise
        return trace
