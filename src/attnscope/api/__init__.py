"""The public functions that join rooms: trace, show, compare, roles and survey; and what methods of a Trace reach through the door."""

from attnscope.api.comparing import compare, show_comparison
from attnscope.api.head_roles import roles
from attnscope.api.predicting import attribution_of, lens_of, predictions_of, similarity_of, why_of, with_stream_table
from attnscope.api.showing import show, show_trace
from attnscope.api.surveys import survey
from attnscope.api.tracing import FOR_STEPS, trace
from attnscope.capturing import rerun
from attnscope.payload.codec import arrays, save
from attnscope.statistics.request import statistics_of

__all__ = [
    "FOR_STEPS",
    "arrays",
    "attribution_of",
    "compare",
    "lens_of",
    "predictions_of",
    "rerun",
    "roles",
    "save",
    "show",
    "show_comparison",
    "show_trace",
    "similarity_of",
    "statistics_of",
    "survey",
    "trace",
    "why_of",
    "with_stream_table",
]
