"""What goes wrong in a model's code or in ours: a clear answer, a line on stderr without the text, and the server lives."""

import logging
import traceback
from collections.abc import Callable
from typing import Any

import torch

from attnscope.errors import AttnscopeError
from attnscope.text.characters import printable

CHAIN = 4  # errors of a chain of causes that are logged
_log = logging.getLogger("attnscope.serve")


class Fault(Exception):
    """A model's code raised something; the message is the name of its class."""


class OutOfMemory(Exception):
    """Memory ran out."""


def safely(work: Callable[..., Any], *arguments: Any) -> Any:
    """In a thread: the result of the work.

    A model's code raises what it likes, and asyncio takes some of it for its own: StopIteration would never arrive, and
    SystemExit would end the server. Errors of attnscope are passed on; all others become OutOfMemory or Fault.
    """
    try:
        return work(*arguments)
    except AttnscopeError:
        raise
    except BaseException as error:
        wrong = error
    if out_of_memory(wrong):
        raise OutOfMemory
    tell(wrong)
    raise Fault(type(wrong).__name__)


def tell(error: BaseException) -> None:
    """Log where an error came from: files, lines, classes. Its message is left out, as it may hold the text."""
    lines, seen = [], error
    for _ in range(CHAIN):
        places = traceback.StackSummary.extract(traceback.walk_tb(seen.__traceback__))
        lines += [*places.format(), f"{type(seen).__module__}.{type(seen).__qualname__}\n"]
        before = seen.__cause__ or seen.__context__
        if before is None:
            break
        lines.append("raised because of:\n")
        seen = before
    _log.error(
        "an error (its message is not shown, as it may hold a reader's text):\n%s", printable("".join(lines).rstrip())
    )


def out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out: Python's error, torch's on a GPU, or torch's on the CPU, which has no type of its own."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    try:
        return isinstance(error, RuntimeError) and "allocate memory" in str(error)
    except BaseException:  # a message that cannot be made
        return False
