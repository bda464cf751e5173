"""What show() does for the level stream: it puts the table of a stream that was kept into the view."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from attnscope.api.predicting import with_stream_table
from attnscope.errors import CaptureError
from attnscope.predictions.streams import label_place, logits_of
from attnscope.predictions.targets import NO_PREDICTIONS, notes_on, target_count
from attnscope.tracing.stream import NO_STREAM, Stream
from attnscope.tracing.trace import Trace
from attnscope.views.budget import bytes_in

NUMBERS = 4 * 10  # bytes of one part at one position: ten targets
NOTHING: Mapping[str, Any] = MappingProxyType({})
LENS = 2e9  # multiplications for a lens that nobody asked for: some 50 ms


def with_table(
    trace: Trace, level: str, look: Mapping[str, Any] = NOTHING, few: bool = False, max_mb: float = 12
) -> Trace:
    """The trace with the table of its stream, where it kept one: at all positions, or at the last ones that fit into half of a page.

    `look`: may name a target and an alternative, which the table then holds. `max_mb`: the size of the page. `few`: nobody asked for the stream, so the table is of the
    last positions, whose lens takes no noticeable time; the level stream says how to get the others.

    Raises CaptureError where the stream is not the model's own and the view opens on it; other levels open without it, and a note says
    why.
    """
    if trace.stream_table is not None or not trace.streams:
        return trace
    given = {name: look[name] for name in ("target", "against") if look.get(name) is not None}
    if given and level != "stream" and target_count(trace.streams[-1]) == 0:
        given, trace = (
            {},
            replace(trace, notes=(*trace.notes, f"{' and '.join(given)} changed nothing: {NO_PREDICTIONS}.")),
        )
    stream, fit = trace.streams[-1], _that_fit(trace, bytes_in(max_mb) / 2)
    if few:
        fit = fit[-max(1, int(LENS / max(1, _lens_of_one(stream)))) :]
    if (place := label_place(stream)) is not None and stream.positions[place] not in fit:
        fit = (stream.positions[place], *fit[1:])
    try:
        made = with_stream_table(trace, fit, targets=tuple(given.values()))
    except CaptureError as error:
        if level == "stream":
            raise
        return replace(trace, streams=(), notes=(*trace.notes, f"{NO_STREAM} is not shown: {error}"))
    if not given or stream.returned is None or stream.returned.names:
        return made
    return replace(made, notes=(*made.notes, *notes_on(stream.tokenizer, given, logits_of(stream, fit[-1]))))


def _that_fit(trace: Trace, room: float) -> Sequence[int]:
    """The last positions, as many as fit into so many bytes."""
    parts = sum(site.heads + 3 for site in trace.sites)  # the heads, an MLP and the biases of each layer
    return tuple(trace.streams[-1].positions)[-max(1, int(room / (NUMBERS * parts))) :]


def _lens_of_one(stream: Stream) -> int:
    """Multiplications of the lens at one position."""
    if stream.head is None or stream.returned is None or stream.returned.names:
        return 0
    return len(stream.states) * stream.states[-1].width[-1] * stream.head.logits.width[0]
