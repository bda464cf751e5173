"""Capture: recorder.py (the record type and passes), interface.py (the only importer of transformers' attention
interface), needing.py (which models need the second net), functions.py and multihead.py (the second net: torch's own
functions), running.py (whose call it is), reading.py (masks, sinks and kinds out of a call), projection.py (W_O by data),
extras.py (kept on request)."""

from attnscope.capturing.recorder import Recorder, capture, may_attend, no_attention, rerun

__all__ = ["Recorder", "capture", "may_attend", "no_attention", "rerun"]
