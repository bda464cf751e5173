"""Every error that attnscope raises on purpose, as one tree. It is sorted by what you can do about the error.

AttnscopeError
├── InputError           an argument does not fit: change the call (also a ValueError)
├── NotCaptured          the trace does not hold what the call needs: trace again and keep more
├── CaptureError         the model's attention cannot be read: the message says what can be changed
├── LoadError            a model or tokenizer cannot be loaded: check its name, folder or task (also an OSError)
├── MissingDependency    an optional package is not installed: install the extra (also an ImportError)
├── PayloadError         bytes that are not a whole trace: save the trace again
│   └── UnreadableFile   a file that is missing or cannot be read: check its path (also an OSError)
├── OutputError          a file cannot be written: give another path (also an OSError)
└── AddressError         the server cannot have its host and port: give others (also an OSError)

Each message is one paragraph: what was expected, what attnscope got, what to do.
"""

from typing import Any

from attnscope.text.characters import printable


class AttnscopeError(Exception):
    """Base of all errors that attnscope raises on purpose.

    A message may quote a token or a name: characters that a terminal would act on are shown in it.
    """

    def __str__(self) -> str:
        return printable(super().__str__())


class InputError(AttnscopeError, ValueError):
    """An argument does not fit: an empty text, a head out of range, a batch where one text is expected."""


class NotCaptured(AttnscopeError):
    """The trace does not hold what the call needs; the message says how to keep it."""


class CaptureError(AttnscopeError):
    """A forward pass recorded no attention, or a call of attention that attnscope cannot reproduce."""


class LoadError(AttnscopeError, OSError):
    """A model or tokenizer cannot be loaded: a wrong name, a missing or incomplete folder, a task that is not there."""


class MissingDependency(AttnscopeError, ImportError):
    """An optional package is not installed. `extra` names attnscope's extra; the message has the pip command.

    >>> error = MissingDependency("figures need matplotlib", "plot")
    >>> print(error.extra, "|", error)
    plot | figures need matplotlib: pip install 'attnscope[plot]'.
    """

    extra: str

    def __init__(self, needs: str, extra: str, more: str = "") -> None:
        super().__init__(f"{needs}: pip install 'attnscope[{extra}]'.{more and ' ' + more}")
        self.extra = extra
        self._given = needs, extra, more

    def __reduce__(self) -> Any:  # pickle calls the class with `args`, which hold the message alone
        return type(self), self._given


class PayloadError(AttnscopeError):
    """Bytes that are not an attnscope trace, are cut short, or come from a newer version."""


class _SystemError(AttnscopeError, OSError):
    """An OSError with attnscope's message; `errno` and `strerror` are those of the system's error."""

    def __init__(self, message: str, cause: OSError | None = None) -> None:
        super().__init__(message)
        if cause is not None:
            self.errno, self.strerror = cause.errno, cause.strerror

    def __str__(self) -> str:  # OSError would write "[Errno 2] …" once errno is set
        return printable(str(self.args[0]))


class UnreadableFile(PayloadError, _SystemError):
    """A file that is missing, is a folder, or may not be read. `errno` is the system's."""


class OutputError(_SystemError):
    """A file cannot be written; what was there before is unchanged. `errno` is the system's."""


class AddressError(_SystemError):
    """The server cannot listen on this host and port: the port is in use, or the host is not this machine's."""
