"""Watches over one process that runs somebody else's code, and ends all that it leaves behind.

On Linux `supervise` runs in a process of its own, which adopts whatever the code starts: a child that leaves its session, or
whose parent has ended, becomes the supervisor's child and ends with it. The caller's own process adopts nothing. Elsewhere
`supervise` runs in the caller's process and ends the code's process group (macOS) or its tree as far as it still hangs
together (Windows): a process that has left that is not found. The standard library alone.
"""

import contextlib
import ctypes
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import IO, Any

from attnscope.doctor.code_check.run.sealed import opened

ADOPTS = sys.platform == "linux"
MOST_ERRORS = 1 << 14  # bytes at the end of what goes to stderr
MOST_ANSWER = 1 << 26  # bytes of one line
_SUBREAPER, _DUMPABLE, _DEATH_SIGNAL = 36, 4, 1  # prctl(2)
_PATIENCE = 5.0  # seconds for the last of a tree to end


@dataclass(frozen=True)
class Ending:
    """How it ended: with an answer, by itself (`code`, the end of stderr), or `late`."""

    answer: dict[str, Any] | None
    code: int | None
    errors: str
    late: bool


def supervise(
    command: Sequence[str],
    request: dict[str, Any],
    limit: float,
    *,
    stopped: Callable[[], bool] = lambda: False,
    started: Callable[[int], None] = lambda pid: None,
) -> Ending:
    """Runs `command`, hands it the request, and waits for its sealed answer, its end, or `limit` seconds; then ends its tree.

    `request` goes to its standard input and holds the secret of the seal. `stopped`: whether the caller has gone.
    """
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        preexec_fn=_die_with_parent if os.getpid() == _own_process else None,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    answers: queue.Queue[dict[str, Any]] = queue.Queue()
    errors = bytearray()
    threading.Thread(target=_read_answer, args=(process.stdout, request["secret"], answers), daemon=True).start()
    threading.Thread(target=_read_errors, args=(process.stderr, errors), daemon=True).start()
    answer, late, deadline = None, False, time.monotonic() + limit
    try:
        started(process.pid)
        with contextlib.suppress(OSError):  # it may have ended before it read
            process.stdin.write(json.dumps(request).encode())
            process.stdin.close()
        while answer is None and not late and not stopped():
            ended = process.poll() is not None
            with contextlib.suppress(queue.Empty):
                answer = answers.get(timeout=0.5 if ended else 0.03)
            if ended:
                break
            late = time.monotonic() > deadline
        code = process.poll()
    finally:
        _end(process)
    return Ending(answer, code, errors.decode(errors="replace"), late and answer is None)


def _read_answer(stream: IO[bytes], secret: str, answers: "queue.Queue[dict[str, Any]]") -> None:
    """The first line with the right seal; whatever else is written there is left out."""
    with contextlib.suppress(OSError, ValueError):
        while line := stream.readline(MOST_ANSWER):
            answer = opened(line, secret)
            if answer is not None:
                answers.put(answer)
                return


def _read_errors(stream: IO[bytes], kept: bytearray) -> None:
    with contextlib.suppress(OSError, ValueError):
        while part := os.read(stream.fileno(), 1 << 16):
            kept += part
            del kept[:-MOST_ERRORS]


# --- the end ------------------------------------------------------------------------------------------------------------


def _end(process: subprocess.Popen) -> None:
    if os.getpid() == _own_process:
        _end_descendants()
    elif os.name == "posix":
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    elif process.poll() is None:
        subprocess.run(["taskkill", "/F", "/T", "/PID", str(process.pid)], capture_output=True, check=False)
        process.kill()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_PATIENCE)


def _end_descendants() -> None:
    """All processes below this one. They are stopped first, so that none starts another while they are ended."""
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline:
        held: set[int] = set()
        while new := _descendants() - held:
            for pid in new:
                _signal(pid, signal.SIGSTOP)
            held |= new
        for pid in held:
            _signal(pid, signal.SIGKILL)
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:  # none is left for an init that may not take note of its end
                pass
        except ChildProcessError:
            return
        time.sleep(0.005)


def _descendants() -> set[int]:
    """Processes below this one that have not ended, by the parents that the kernel names."""
    below: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError, ValueError):
                with open(f"/proc/{name}/stat", "rb") as file:
                    state, parent = file.read().rpartition(b")")[2].split()[:2]  # a program's name may hold anything
                below.setdefault(int(parent), []).append(int(name) if state != b"Z" else -int(name))
    found: set[int] = set()
    waiting = [os.getpid()]
    while waiting:
        for pid in below.get(waiting.pop(), ()):
            waiting.append(abs(pid))
            if pid > 0:
                found.add(pid)
    return found


def _signal(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


# --- a process of its own -----------------------------------------------------------------------------------------------

_own_process = -1  # the id of the process that `main` runs in


def main() -> None:
    """Reads a command, a request and a limit from standard input; writes the child's id and the Ending to standard output.

    It stops early when its standard input ends, which happens with the caller at the latest.
    """
    global _own_process
    _own_process = os.getpid()
    prctl = _prctl()
    prctl(_SUBREAPER, 1)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    task = json.loads(sys.stdin.buffer.readline())
    gone = threading.Event()

    def wait_for_end() -> None:
        sys.stdin.buffer.read()
        gone.set()

    # It is started only now: a process that forks while a thread runs may inherit a lock that is held.
    def started(pid: int) -> None:
        prctl(_DUMPABLE, 0)  # the code runs as the same user, and shall not read the secret out of this process
        threading.Thread(target=wait_for_end, daemon=True).start()
        print(json.dumps({"child": pid}), flush=True)

    ending = supervise(task["command"], task["request"], task["limit"], stopped=gone.is_set, started=started)
    print(json.dumps(asdict(ending)), flush=True)
    os._exit(0)  # a thread may still wait for a line


def _prctl() -> Callable[[int, int], int]:
    """prctl(2); what a system refuses is done without."""
    try:
        return ctypes.CDLL(None).prctl
    except (OSError, AttributeError):
        return lambda option, value: -1


def _die_with_parent() -> None:
    _prctl()(_DEATH_SIGNAL, signal.SIGKILL)
