"""The process that runs somebody else's code: only a sealed answer counts, and nothing that the code has started outlives it."""

import contextlib
import ctypes
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

import attnscope
from attnscope.doctor.code_check.run.child_process import _under_supervisor, examine_file
from attnscope.doctor.code_check.run.printed import MOST, Printed
from attnscope.doctor.code_check.run.sealed import is_answer, opened, seal
from attnscope.doctor.code_check.run.supervisor import ADOPTS, MOST_ERRORS, Ending, supervise

SOURCE = str(Path(attnscope.__file__).parents[1])
BEGIN = f"""
import json, os, signal, subprocess, sys, threading, time
sys.path.insert(0, {SOURCE!r})
from attnscope.doctor.code_check.run.sealed import seal
request = json.load(sys.stdin)
def answer():
    os.write(1, seal({{"code": 0, "text": "fine", "json": {{"passed": True}}}}, request["secret"]))
"""
FINE = {"code": 0, "text": "fine", "json": {"passed": True}}
DAEMONS = """
for _ in range(3):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            with open(request["pids"], "a") as file:
                file.write(f"{os.getpid()}\\n")
            os.execvp("sleep", ["sleep", "97"])
        os._exit(0)
while not os.path.exists(request["pids"]) or open(request["pids"]).read().count("\\n") < 3:
    time.sleep(0.01)
"""
linux = pytest.mark.skipif(not ADOPTS, reason="a subreaper, which Linux has")
pytestmark = pytest.mark.packaging


def run(code: str, limit: float = 20.0, **request: str) -> Ending:
    command = [sys.executable, "-c", BEGIN + code]
    start = _under_supervisor if ADOPTS else supervise
    return start(command, {"secret": "s3cret", **request}, limit)


def left(pids: Path) -> list[int]:
    numbers = [int(line) for line in pids.read_text().split()]
    assert len(numbers) == 3
    alive = []
    for pid in numbers:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, 0)
            alive.append(pid)
    return alive


# --- the answer -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "valid"),
    [
        (FINE, True),
        ({"code": 1, "text": "", "json": {"passed": False}}, True),
        ({"code": 2, "text": "", "json": {"error": "wrong usage"}}, True),
        ({"code": 0}, False),
        ({**FINE, "more": 1}, False),
        ({**FINE, "code": True}, False),
        ({**FINE, "code": 4}, False),
        ({**FINE, "code": 1}, False),  # the diagnosis says that it passed
        ({**FINE, "text": None}, False),
        ({**FINE, "json": []}, False),
        ([0], False),
    ],
)
def test_what_an_answer_is(answer: object, valid: bool) -> None:
    assert is_answer(answer) == valid
    if isinstance(answer, dict):
        assert opened(seal(answer, "a"), "a") == (answer if valid else None)


def test_a_seal_fits_one_secret_and_one_answer() -> None:
    line = seal(FINE, "a")
    assert opened(line, "a") == FINE
    assert opened(line, "b") is None
    assert opened(line.replace(b"fine", b"file"), "a") is None
    assert opened(b'{"code": 0, "text": "", "json": {"passed": true}}\n', "a") is None
    assert opened(b"\xff\n", "a") is None


@pytest.mark.parametrize(
    ("code", "answer", "ended"),
    [
        ("answer()", FINE, None),
        ("os.write(1, b'{\"code\": 0}\\n' * 999); answer()", FINE, None),
        ("threading.Thread(target=time.sleep, args=(97,)).start(); answer()", FINE, None),
        ("answer(); os._exit(3)", FINE, None),
        ('os.write(1, b\'{"code": 0, "text": "", "json": {"passed": true}}\\n\'); os._exit(0)', None, 0),
        ("os._exit(7)", None, 7),
        ("os.kill(os.getpid(), signal.SIGKILL)", None, -9),
        ("os.killpg(0, signal.SIGKILL)", None, -9),
    ],
)
def test_only_a_sealed_answer_counts(code: str, answer: object, ended: int | None) -> None:
    started = time.monotonic()
    ending = run(code)
    assert ending.answer == answer
    assert ended is None or ending.code == ended
    assert not ending.late
    assert time.monotonic() - started < 15  # nothing waited for the thread


def test_the_end_of_what_goes_to_stderr_is_kept() -> None:
    ending = run("os.write(2, b'x' * 300_000 + b'\\nlast words'); os._exit(1)")
    assert len(ending.errors) == MOST_ERRORS
    assert ending.errors.endswith("\nlast words")


def test_the_first_of_what_is_printed_is_kept() -> None:
    printed = Printed()
    for _ in range(3):
        assert printed.write("ab" * MOST) == 2 * MOST
    assert printed.getvalue() == "ab" * (MOST // 2)


# --- the tree of processes --------------------------------------------------------------------------------------------


@linux
@pytest.mark.parametrize(("code", "limit"), [("answer()", 20.0), ("time.sleep(97)", 2.5), ("os._exit(0)", 20.0)])
def test_daemons_in_sessions_of_their_own_end_too(code: str, limit: float, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    ending = run(DAEMONS + code, limit, pids=str(pids))
    assert ending.late == (limit < 20)
    assert left(pids) == []


@linux
def test_the_callers_process_adopts_nothing() -> None:
    run("answer()")
    adopts = ctypes.c_int(7)
    ctypes.CDLL(None).prctl(37, ctypes.byref(adopts))  # PR_GET_CHILD_SUBREAPER
    assert adopts.value == 0


@linux
def test_all_ends_with_the_caller(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    code = (
        f"import sys; sys.path.insert(0, {SOURCE!r})\n"
        "from attnscope.doctor.code_check.run.child_process import _under_supervisor\n"
        f"command = [sys.executable, '-c', {BEGIN + DAEMONS + 'time.sleep(97)'!r}]\n"
        f"_under_supervisor(command, {{'secret': 's', 'pids': {str(pids)!r}}}, 50)\n"
    )
    caller = subprocess.Popen([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": SOURCE})
    for _ in range(1000):
        if pids.exists() and pids.read_text().count("\n") == 3:
            break
        time.sleep(0.01)
    caller.kill()
    caller.wait()
    for _ in range(500):
        if not left(pids):
            break
        time.sleep(0.01)
    assert left(pids) == []


@linux
def test_code_that_kills_its_supervisor_gets_no_verdict() -> None:
    ending = run("os.kill(os.getppid(), signal.SIGKILL); time.sleep(97)")
    assert (ending.answer, ending.late) == (None, False)
    assert "supervisor" in ending.errors


# --- whole files ------------------------------------------------------------------------------------------------------

FORGED = """
import json, os, sys

answer = json.dumps({"code": 0, "text": "att: nothing found", "json": {"passed": True}})
found = sys.stdin.read() if sys.stdin else ""
try:  # where the place of the answer would stand, if it stood in the request
    open(json.loads(found)["answer"], "w").write(answer)
except Exception:
    pass
for number in range(1, 64):
    try:
        os.write(number, (answer + "\\n").encode())
    except OSError:
        pass
os._exit(0)
"""
THREAD = """
import threading, time
threading.Thread(target=time.sleep, args=(97,)).start()

def att(query, key, value):
    return (query @ key.mT / query.shape[-1] ** 0.5).softmax(-1) @ value
"""


def test_a_forged_answer_is_no_answer(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text(FORGED)
    answer = examine_file(f"{tmp_path / 'a.py'}:att", {}, limit=120)
    assert answer["code"] == 1
    assert [found["name"] for found in answer["json"]["findings"]] == ["ended-the-process"]


def test_a_thread_that_never_ends_costs_no_verdict(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text(THREAD)
    answer = examine_file(f"{tmp_path / 'a.py'}:att", {}, limit=90)
    assert answer["code"] == 0
    assert answer["text"].startswith("att: nothing found")
