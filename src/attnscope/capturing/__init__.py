"""Capture: recorder.py (the record type and passes), interface.py (the only importer of transformers' attention
interface), reading.py (masks, sinks and kinds out of a call), projection.py (W_O by data), extras.py (kept on request)."""

from attnscope.capturing.recorder import Recorder, capture, looks_like_attention, no_attention, rerun

__all__ = ["Recorder", "capture", "looks_like_attention", "no_attention", "rerun"]
