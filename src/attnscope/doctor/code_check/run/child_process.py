"""`attnscope check` runs user code here, in a process of its own that can be killed.

`examine_file` is the parent's side: it starts a Python whose path does not begin with the current folder, waits no longer
than the limit, kills what the code has started besides, and reads the diagnosis from a file. So nothing that the user's code
prints, and no exit that it calls, is mistaken for a diagnosis.
"""

import ast
import contextlib
import importlib.util
import io
import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from attnscope.doctor.findings import finding
from attnscope.errors import AttnscopeError, InputError

_ROOT = str(Path(__file__).parents[4])  # the folder that holds the package, for a parent that runs from there
_START = (
    f"import sys; sys.path.append({_ROOT!r}); from attnscope.doctor.code_check.run.child_process import main; main()"
)


def examine_file(target: str, options: dict[str, Any], limit: float, colour: bool = False) -> dict[str, Any]:
    """{"code": the exit code, "text": the report, "json": the diagnosis} for FILE.py:NAME, within `limit` seconds.

    `options` are arguments of `attnscope.check`. Raises InputError where FILE.py or NAME is missing.
    """
    file, name = _parts(target)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        answer, request, errors = (Path(folder, part) for part in ("answer.json", "request.json", "errors.txt"))
        wanted = {"file": str(file), "name": name, "options": options, "colour": colour, "limit": limit}
        request.write_text(json.dumps({**wanted, "answer": str(answer)}))
        # Files, not pipes: a process that the code starts would hold a pipe open, and the end would never come.
        with request.open() as asked, errors.open("w") as stderr:
            process = subprocess.Popen(
                [sys.executable, "-P", "-c", _START],
                stdin=asked,
                stdout=subprocess.DEVNULL,
                stderr=stderr,
                start_new_session=True,
            )
            try:
                process.wait(timeout=limit)
            except subprocess.TimeoutExpired:
                return _stopped(name, options, "too-slow", took=f"was stopped after {limit:g} s (--limit)")
            finally:
                _kill(process)
        try:
            return json.loads(answer.read_text())
        except (OSError, ValueError):
            last = errors.read_text(errors="replace").strip().splitlines()[-1:] or ["no message"]
            return _stopped(name, options, "ended-the-process", code=process.returncode, last=last[0])


def _kill(process: subprocess.Popen) -> None:
    """The process, and whatever it started and left behind: its session, or on Windows its tree while it lives."""
    if os.name == "posix":
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    elif process.poll() is None:
        subprocess.run(["taskkill", "/F", "/T", "/PID", str(process.pid)], capture_output=True, check=False)
        process.kill()
    process.wait()


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


def _load(file: str, name: str) -> Any:
    """The object: a name, or an expression such as Attention(30, 5), in the file's own namespace.

    The file's folder comes last on the path, and its module has a name of its own, so that neither a file called
    random.py nor its neighbour stands in the way of what is imported from elsewhere.
    """
    sys.path.append(str(Path(file).parent))
    own = f"_checked_{Path(file).stem}"
    spec = importlib.util.spec_from_file_location(own, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[own] = module  # dataclasses and pickle look there
    spec.loader.exec_module(module)
    try:
        tree = ast.parse(name, mode="eval")
    except SyntaxError:
        raise InputError(
            f"expected a name or a call after {Path(file).name}:, such as my_attention or 'Attention(30, 5)', got {name!r}. "
            "Put quotes round a call."
        ) from None
    roots = [node.id for node in ast.walk(tree) if isinstance(node, ast.Name)]
    missing = [root for root in roots[:1] if not hasattr(module, root)]
    if missing:
        there = [n for n, v in vars(module).items() if getattr(v, "__module__", None) == module.__name__]
        choice = f"It defines {', '.join(there)}: choose one." if there else "It defines no function and no class."
        raise InputError(f"expected a name that {Path(file).name} defines, got {missing[0]!r}. {choice}")
    try:
        return eval(compile(tree, file, "eval"), vars(module))
    except Exception as error:
        raise InputError(
            f"expected a function or a module from {name}, got {type(error).__name__}: {error}. Give arguments that "
            f"{Path(file).name} accepts, such as '{Path(file).name}:Attention(30, 5)'."
        ) from None


def _examine(request: dict[str, Any]) -> dict[str, Any]:
    from rich.console import Console

    # Everything is imported before the user's file, so that no file of theirs takes the place of a module.
    from attnscope.doctor import check
    from attnscope.doctor.code_check.run import sandbox
    from attnscope.doctor.diagnosis import Diagnosis

    sandbox.LIMIT = min(sandbox.LIMIT, request["limit"])
    hidden = io.StringIO()
    try:
        with contextlib.redirect_stdout(hidden), contextlib.redirect_stderr(hidden):
            target = _load(request["file"], request["name"])
            diagnosis = check(target, **request["options"])
    except AttnscopeError as error:
        return {"code": 2, "text": str(error), "json": {"error": str(error)}}
    except BaseException as error:
        found = finding("file-raises", error=f"{type(error).__name__}: {error}")
        diagnosis = Diagnosis(request["name"], (found,), hint=request["options"].get("hint"))
    out = io.StringIO()
    diagnosis.report(Console(file=out, force_terminal=request["colour"], width=None if request["colour"] else 120))
    return {"code": diagnosis.exit_code, "text": out.getvalue().rstrip(), "json": diagnosis.to_dict()}


def main() -> None:
    request = json.loads(sys.stdin.read())
    answer = _examine(request)
    Path(request["answer"]).write_text(json.dumps(answer))
