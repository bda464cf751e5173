"""The public functions that join rooms: trace, show, compare, roles and survey; and what methods of a Trace reach through the door."""

from attnscope.api.comparing import compare, show_comparison
from attnscope.api.groups import groups_of
from attnscope.api.head_roles import roles
from attnscope.api.keeping import ByItself
from attnscope.api.predicting import attribution_of, lens_of, predictions_of, similarity_of, why_of, with_stream_table
from attnscope.api.showing import show, show_trace
from attnscope.api.stream_level import with_table
from attnscope.api.surveys import survey
from attnscope.api.tracing import trace
from attnscope.capturing import rerun
from attnscope.payload.codec import arrays, save
from attnscope.statistics.request import statistics_of
from attnscope.statistics.weights_frame import weights_frame

__all__ = [
    "ByItself",
    "arrays",
    "attribution_of",
    "compare",
    "groups_of",
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
    "weights_frame",
    "why_of",
    "with_stream_table",
    "with_table",
]
