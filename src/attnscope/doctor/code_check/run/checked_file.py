"""The process that runs the user's file: it examines what the file defines and hands back one sealed answer.

The request, with the secret of the seal, comes on standard input and is read to its end; the answer goes to what standard
output was. Both streams are replaced before the file is loaded, so that neither can be found there. Code in this process can
look for the secret all the same: docs/doctor.md says what that means for a grade.
"""

import ast
import contextlib
import importlib.util
import io
import json
import os
import sys
from pathlib import Path
from typing import Any

from attnscope.doctor.code_check.run.printed import Printed
from attnscope.doctor.code_check.run.sealed import seal
from attnscope.doctor.findings import finding
from attnscope.errors import AttnscopeError, InputError


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
    hidden = Printed()
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
    request = json.loads(sys.stdin.buffer.read())
    secret = request.pop("secret")
    place = os.dup(sys.stdout.fileno())  # a program that the code starts does not inherit it
    with open(os.devnull, "r+b") as nothing:
        for stream in (0, 1):
            os.dup2(nothing.fileno(), stream)
    line = memoryview(seal(_examine(request), secret))
    while line:
        line = line[os.write(place, line) :]
    os._exit(0)  # a thread of the code that never ends does not hold up the answer
