"""Every error attnscope raises, as one tree.

AttnscopeError
├── InputError          what was asked for does not fit (also a ValueError)
├── LoadError           a model or tokenizer could not be loaded (also an OSError)
├── CaptureError        a forward pass recorded no attention, or attention that is not understood
├── NotCaptured         the trace is fine, but does not hold what was asked for
├── PayloadError        bytes or a file that are not a trace, or are damaged
└── OutputError         a file could not be written (also an OSError)

Each message is one paragraph: what was expected, what came, what to do.
"""


class AttnscopeError(Exception):
    """Base of all errors raised on purpose by attnscope."""


class InputError(AttnscopeError, ValueError):
    """An argument that does not fit: empty text, a head out of range, a batch where one text is meant."""


class LoadError(AttnscopeError, OSError):
    """A model or tokenizer could not be loaded."""


class CaptureError(AttnscopeError):
    """No attention was recorded, or a call was met that attnscope does not understand."""


class NotCaptured(AttnscopeError):
    """The trace does not hold what was asked for; the message says how to get it."""


class PayloadError(AttnscopeError):
    """Bytes that are not an attnscope trace, are cut short, or come from a newer version."""


class OutputError(AttnscopeError, OSError):
    """A file could not be written; what stood there before is whole."""
