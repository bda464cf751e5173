"""`attnscope check` runs user code here, in a process of its own that can be killed.

`examine_file` starts a Python whose path does not begin with the current folder, under a supervisor that waits no longer than
the limit and ends whatever the code has started besides (`supervisor`). The answer bears a seal (`sealed`): nothing that the
user's code prints or writes, and no exit that it calls, is mistaken for a diagnosis.
"""

import contextlib
import json
import os
import secrets
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from attnscope.doctor.code_check.run.supervisor import ADOPTS, Ending, supervise
from attnscope.doctor.findings import finding
from attnscope.errors import InputError

_ROOT = str(Path(__file__).parents[4])  # the folder that holds the package, for a parent that runs from there
_GRACE = 15.0  # seconds that a supervisor may take beyond the limit


def _python(module: str) -> list[str]:
    """A Python that runs `main` of a module beside this one."""
    code = f"import sys; sys.path.append({_ROOT!r}); from attnscope.doctor.code_check.run.{module} import main; main()"
    return [sys.executable, "-P", "-c", code]


def examine_file(target: str, options: dict[str, Any], limit: float, colour: bool = False) -> dict[str, Any]:
    """{"code": the exit code, "text": the report, "json": the diagnosis} for FILE.py:NAME, within `limit` seconds.

    `options` are arguments of `attnscope.check`. Raises InputError where FILE.py or NAME is missing.
    """
    file, name = _parts(target)
    request = {"file": str(file), "name": name, "options": options, "colour": colour, "limit": limit}
    request["secret"] = secrets.token_hex(32)
    command = _python("checked_file")
    ending = _under_supervisor(command, request, limit) if ADOPTS else supervise(command, request, limit)
    if ending.answer is not None:
        return ending.answer
    if ending.late:
        return _stopped(name, options, "too-slow", took=f"was stopped after {limit:g} s (--limit)")
    last = ending.errors.strip().splitlines()[-1:] or ["no message"]
    return _stopped(name, options, "ended-the-process", code=ending.code, last=last[0])


def _under_supervisor(command: list[str], request: dict[str, Any], limit: float) -> Ending:
    """`supervise` in a process of its own, which ends with this one at the latest: its standard input ends then."""
    process = subprocess.Popen(
        _python("supervisor"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    told = b""
    try:
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(json.dumps({"command": command, "request": request, "limit": limit}).encode() + b"\n")
            process.stdin.flush()
        told = _read(process.stdout.fileno(), time.monotonic() + limit + _GRACE)
    finally:
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()
        try:
            process.wait(_GRACE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()
        lines = [json.loads(line) for line in told.splitlines(keepends=True) if line.endswith(b"\n")]
        if len(lines) == 1:  # the supervisor was killed: by the code, or for want of memory
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(lines[0]["child"], signal.SIGKILL)
    if len(lines) == 2:
        return Ending(**lines[1])
    return Ending(None, process.returncode, "its supervisor was ended too", False)


def _read(file: int, deadline: float) -> bytes:
    """All that comes until its end, or until the deadline."""
    parts = []
    while select.select([file], [], [], max(deadline - time.monotonic(), 0))[0]:
        part = os.read(file, 1 << 16)
        if not part:
            break
        parts.append(part)
    return b"".join(parts)


def _parts(target: str) -> tuple[Path, str]:
    """FILE.py and NAME. Raises InputError where they are not there."""
    before, mark, name = target.partition(".py:")
    file = Path(before + ".py")
    if not mark or not name:
        raise InputError(
            f"expected FILE.py:NAME, such as attention.py:my_attention or 'attention.py:Attention(30, 5)'; got {target!r}."
        )
    if not file.is_file():
        got = "a folder" if file.is_dir() else f"{file}, which does not exist"
        raise InputError(f"expected a file, got {got} (in {Path.cwd()}). Check the path.")
    return file.resolve(), name


def _stopped(name: str, options: dict[str, Any], id: str, **fields: Any) -> dict[str, Any]:
    from attnscope.doctor.diagnosis import Diagnosis

    diagnosis = Diagnosis(name, (finding(id, **fields),), hint=options.get("hint"))
    return {"code": diagnosis.exit_code, "text": "\n".join(diagnosis.lines()), "json": diagnosis.to_dict()}
