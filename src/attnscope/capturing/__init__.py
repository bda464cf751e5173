"""A running model -> Trace. README.md says why this is hard and how it works."""

from attnscope.capturing.recorder import Recorder, capture
from attnscope.capturing.refusals import may_attend, no_attention
from attnscope.capturing.rerun import rerun, rerun_for_stream

__all__ = ["Recorder", "capture", "may_attend", "no_attention", "rerun", "rerun_for_stream"]
