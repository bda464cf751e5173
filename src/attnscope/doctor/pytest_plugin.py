"""A pytest plugin: a failed `assert attnscope.check(f)` shows the report.

pytest loads it in every run where attnscope is installed (entry point `pytest11`), so it imports nothing of attnscope. It acts
only after an AssertionError, and only where a Diagnosis has been made. pytest keeps the parts of an assertion that it has
rewritten in the frame that failed; the Diagnosis is one of them, or a variable there.
"""

import re
import sys
from types import FrameType
from typing import Any

import pytest

_MOST = 3  # reports in one message


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_makereport(item: Any, call: Any) -> None:
    """Adds the reports to the error before pytest writes its own report."""
    error = None if call.excinfo is None else call.excinfo.value
    module = sys.modules.get("attnscope.doctor.diagnosis")
    if module is None or not isinstance(error, AssertionError) or error.__traceback__ is None:
        return
    last = error.__traceback__
    while last.tb_next is not None:
        last = last.tb_next
    if last.tb_frame.f_code.co_filename == module.__file__:
        return  # raise_for_errors has put the report into its message
    for failed in _failed(last.tb_frame, module.Diagnosis):
        error.args = (_with_report(str(error), failed),)


def _failed(frame: FrameType, kind: type) -> list[Any]:
    """The diagnoses that are false: in the assertion, or else among the variables of the frame."""
    values = {name: value for name, value in frame.f_locals.items() if isinstance(value, kind) and not value}
    asserted = [value for name, value in values.items() if name.startswith("@py_assert")]
    return list({id(value): value for value in asserted or values.values()}.values())[:_MOST]


def _with_report(message: str, diagnosis: Any) -> str:
    """The message with the report below it; pytest's one-line rendering of the report is cut to its headline."""
    headline, _, report = repr(diagnosis).partition("\n")
    lines = []
    for line in message.splitlines():
        before, found, after = line.partition(f"{headline}\\n")
        call = re.search(r" = [^=]*$", after) if found and before.startswith(" +") else None
        lines.append(before + headline + (call.group() if call else "") if found else line)
    text = "\n".join(lines)
    return "\n".join([*([text] if text else []), *([] if headline in text else [headline]), report]).rstrip()
