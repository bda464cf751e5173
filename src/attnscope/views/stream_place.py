"""Where the level stream opens: at the last position that predicts, on the head that adds most to the prediction; where
nothing is predicted, on the link that a view opens on."""

from collections.abc import Mapping
from typing import Any

from attnscope.tracing.trace import Trace
from attnscope.views.stream_column import Line, column_at, parts_of, stream_of, stream_site

Place = tuple[str | None, int | None, int | None, Any]


def on_stream(
    trace: Trace,
    stack: str | None,
    layer: int | None,
    head: int | None,
    query: int | str | None,
    look: Mapping[str, Any],
) -> Place:
    """Stack, layer, head and query, of which those that are None are chosen; `look` may name a target.

    Raises NotCaptured where the trace holds no stream.
    """
    table, site = stream_of(trace), stream_site(trace)
    stack = site.stack if stack is None and layer is None else stack
    if query is None:
        predicting = [row for row, targets in enumerate(table.targets) if targets]
        if not predicting and len(table.positions) == len(trace.query_tokens(site)):
            return stack, layer, head, query
        query = table.positions[predicting[-1] if predicting else -1]
    at = trace.query_tokens(site).find(query, "query")
    if layer is None and head is None and at in table.positions:
        column = column_at(table, table.positions.index(at), look.get("target"), look.get("against"))
        best = max(_heads(parts_of(column.lines)), key=lambda part: abs(part.value or 0.0), default=None)
        if best is not None and any(one.layer == best.layer and one.stack == stack for one in trace.sites):
            layer, head = best.layer, best.head
    return stack, layer, head, query


def _heads(parts: list[Line]) -> list[Line]:
    return [part for part in parts if part.kind == "head" and part.value is not None]
