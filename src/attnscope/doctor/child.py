"""`attnscope check` runs user code here, in a process of its own that can be killed.

`examine_file` is the parent's side: it starts `python -m attnscope.doctor.child`, waits no longer than the limit, and
reads the verdict from a file, so that nothing the user's code prints, and no exit it calls, can be taken for one.
"""

import ast
import contextlib
import importlib.util
import io
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from attnscope.errors import AttnscopeError, InputError


def examine_file(target: str, options: dict[str, Any], limit: float, colour: bool = False) -> dict[str, Any]:
    """{"code": 0, 1 or 2, "text": the report, "json": the diagnosis} for FILE.py:NAME, within `limit` seconds."""
    file, name = _parts(target)
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder, "answer.json")
        request = json.dumps({"file": str(file), "name": name, "options": options, "colour": colour, "answer": str(answer), "limit": limit})  # fmt: skip
        process = subprocess.Popen(
            [sys.executable, "-m", "attnscope.doctor.child"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        try:
            _, said = process.communicate(request, timeout=limit)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            return _stopped(name, "too-slow", f"it was stopped after {limit:g} s (--limit)", options)
        try:
            return json.loads(answer.read_text())
        except (OSError, ValueError):
            last = said.strip().splitlines()[-1:] or ["no message"]
            return _stopped(name, "ended-the-process", f"it ended its process (code {process.returncode}: {last[0]})", options)  # fmt: skip


def _parts(target: str) -> tuple[Path, str]:
    """FILE.py and NAME. Raises InputError where they are not there."""
    before, mark, name = target.partition(".py:")
    file = Path(before + ".py")
    if not mark or not name:
        raise InputError(f"{target!r} is not FILE.py:NAME, such as attention.py:my_attention or 'attention.py:Attention(30, 5)'.")  # fmt: skip
    if not file.is_file():
        raise InputError(f"there is no file {file}.")
    return file.resolve(), name


def _stopped(name: str, kind: str, title: str, options: dict[str, Any]) -> dict[str, Any]:
    from attnscope.doctor.diagnosis import Diagnosis, Finding

    found = Finding(kind, None, title, "", "look for a loop that never ends, or a call of exit", "", "it runs and returns", "the call itself")  # fmt: skip
    diagnosis = Diagnosis(name, (found,), hint=options.get("hint"))
    return {"code": 1, "text": "\n".join(diagnosis.lines()), "json": diagnosis.to_dict()}


def _load(file: str, name: str) -> Any:
    """The object: a name, or an expression such as Attention(30, 5), in the file's own namespace."""
    sys.path.insert(0, str(Path(file).parent))
    spec = importlib.util.spec_from_file_location(Path(file).stem, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[Path(file).stem] = module
    spec.loader.exec_module(module)
    try:
        tree = ast.parse(name, mode="eval")
    except SyntaxError:
        raise InputError(f"{name!r} is not a name or a call.") from None
    roots = [node.id for node in ast.walk(tree) if isinstance(node, ast.Name)]
    missing = [root for root in roots[:1] if not hasattr(module, root)]
    if missing:
        there = [n for n, v in vars(module).items() if getattr(v, "__module__", None) == module.__name__]
        raise InputError(f"{Path(file).name} has no {missing[0]!r}; it has {', '.join(there) or 'nothing of its own'}.")
    return eval(compile(tree, file, "eval"), vars(module))


def _examine(request: dict[str, Any]) -> dict[str, Any]:
    from rich.console import Console

    from attnscope.doctor import check, trial
    from attnscope.doctor.diagnosis import Diagnosis, Finding

    trial.LIMIT = min(trial.LIMIT, request["limit"])
    hidden = io.StringIO()
    try:
        with contextlib.redirect_stdout(hidden), contextlib.redirect_stderr(hidden):
            target = _load(request["file"], request["name"])
            diagnosis = check(target, **request["options"])
    except AttnscopeError as error:
        return {"code": 2, "text": str(error), "json": {"error": str(error)}}
    except BaseException as error:
        title = f"its file raises {type(error).__name__}: {error}"
        found = Finding(
            "raises", None, title, "", "make `python FILE.py` run first", "", "it can be imported", "the file"
        )
        diagnosis = Diagnosis(request["name"], (found,), hint=request["options"].get("hint"))
    out = io.StringIO()
    diagnosis.report(Console(file=out, force_terminal=request["colour"], width=None if request["colour"] else 120))
    return {"code": 0 if diagnosis else 1, "text": out.getvalue().rstrip(), "json": diagnosis.to_dict()}


def main() -> None:
    request = json.loads(sys.stdin.read())
    answer = _examine(request)
    Path(request["answer"]).write_text(json.dumps(answer))


if __name__ == "__main__":
    main()
