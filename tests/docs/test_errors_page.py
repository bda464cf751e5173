"""docs/reference/errors.md has a row for every message that attnscope raises on purpose, and no row that is out of date.

A message is read from the source: its constant beginning, with … for what is filled in.
"""

import ast
import functools
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from attnscope import errors

pytestmark = pytest.mark.source

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "reference" / "errors.md"
CLASSES = {name for name, value in vars(errors).items() if isinstance(value, type) and issubclass(value, Exception)}
SHORTEST = 7  # characters of a message in a row, below which it could be of anything


SOURCES = sorted((ROOT / "src" / "attnscope").rglob("*.py"))
# Messages that are another's, passed on: of a child process, or a PayloadError with the file's name before it.
PASSED_ON = {"cli/check.py", "payload/codec.py"}


def worded_by(name: str, tree: ast.Module) -> list[ast.FunctionDef]:
    """The functions of this name that word a message: of this module, else of another one of attnscope."""
    here = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name == name]
    return here or [node for node in everywhere() if node.name == name]


@functools.cache
def everywhere() -> tuple[ast.FunctionDef, ...]:
    trees = (ast.parse(path.read_text(encoding="utf-8")) for path in SOURCES)
    return tuple(node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))


def templates(node: ast.expr, tree: ast.Module) -> Iterator[str]:
    """The texts that an expression can be, with … for every part that is filled in."""
    match node:
        case ast.Constant(value=str(text)):
            yield text
        case ast.JoinedStr(values=parts):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in parts)
        case ast.BinOp(left=left):
            yield from templates(left, tree)
        case ast.Name(id=name):  # a constant of the module, or a variable that was worded just before
            for other in ast.walk(tree):
                if isinstance(other, ast.Assign) and any(
                    isinstance(t, ast.Name) and t.id == name for t in other.targets
                ):
                    yield from templates(other.value, tree)
        case ast.IfExp(body=body, orelse=orelse):
            yield from templates(body, tree)
            yield from templates(orelse, tree)
        case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name)):
            for function in worded_by(name, tree):
                for inner in ast.walk(function):
                    if isinstance(inner, ast.Return) and inner.value is not None:
                        yield from templates(inner.value, tree)


def raised(source: str) -> list[tuple[str, str, int]]:
    """(class, template, line) of every error of attnscope that this source makes."""
    tree = ast.parse(source)
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in CLASSES and node.args:
            texts = list(templates(node.args[0], tree)) or [""]  # "": it cannot be read here
            found += [(node.func.id, text, node.lineno) for text in texts]
    return found


def everything_raised() -> list[tuple[str, str, str]]:
    """(class, template, place) of every message in src/attnscope."""
    return [
        (kind, text, f"{path.relative_to(ROOT / 'src' / 'attnscope')}:{line}")
        for path in SOURCES
        for kind, text, line in raised(path.read_text(encoding="utf-8"))
    ]


def is_readable(text: str) -> bool:
    return bool(text.strip("… :"))


def rows(page: str) -> dict[str, list[str]]:
    """The messages in the first column of the tables below each heading `## Class`, without their marks."""
    found: dict[str, list[str]] = {}
    kind = ""
    for line in page.splitlines():
        if line.startswith("## "):
            kind = line.strip("# `")
        elif kind in CLASSES and (match := re.match(r"\| ``? ?(.+?) ?``? \|", line)):
            found.setdefault(kind, []).append(match[1].replace(r"\|", "|"))
    return found


def missing(messages: list[tuple[str, str, str]], page: str) -> list[str]:
    there = rows(page)
    return [
        f"{place}: {kind}: {text[:100]}"
        for kind, text, place in messages
        if is_readable(text) and not any(text.startswith(row) for row in there.get(kind, ()))
    ]


def out_of_date(messages: list[tuple[str, str, str]], page: str) -> list[str]:
    return [
        f"{kind}: {row}"
        for kind, found in rows(page).items()
        for row in found
        if not any(one == kind and text.startswith(row) for one, text, _ in messages)
    ]


def test_every_message_has_a_row() -> None:
    assert missing(everything_raised(), PAGE.read_text(encoding="utf-8")) == []


def test_every_message_can_be_read_from_the_source() -> None:
    unread = {place.rpartition(":")[0] for _, text, place in everything_raised() if not is_readable(text)}
    assert unread <= PASSED_ON


def test_every_row_is_a_message() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert out_of_date(everything_raised(), page) == []
    assert [row for found in rows(page).values() for row in found if len(row) < SHORTEST] == []


def test_every_row_has_a_cause_and_a_cure() -> None:
    lines = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| `")]
    cells = [re.split(r"(?<!\\)\|", line)[1:-1] for line in lines]
    assert [line for line, row in zip(lines, cells, strict=True) if len(row) != 3 or not all(map(str.strip, row))] == []


def test_a_message_without_a_row_is_found() -> None:
    source = """
def _explain(error):
    return f"port {error} is in use" if error else "cannot listen"

def f(x, y):
    raise InputError(f"head {x} is out of range: it has {y} heads.")
    raise InputError("text is empty" if x else f"{y} cannot be read")
    raise AddressError(_explain(y), y)
    raise ValueError("not attnscope's")
"""
    found = raised(source)
    assert [(kind, text) for kind, text, _ in found] == [
        ("InputError", "head … is out of range: it has … heads."),
        ("InputError", "text is empty"),
        ("InputError", "… cannot be read"),
        ("AddressError", "port … is in use"),
        ("AddressError", "cannot listen"),
    ]
    page = "## `InputError`\n| `head … is out of range` | a | b |\n| `text is empty` | a | b |\n| `… cannot be drawn` | a | b |\n"
    messages = [(kind, text, str(line)) for kind, text, line in found]
    assert [line.split(": ", 1)[1] for line in missing(messages, page)] == [
        "InputError: … cannot be read",
        "AddressError: port … is in use",
        "AddressError: cannot listen",
    ]
    assert out_of_date(messages, page) == ["InputError: … cannot be drawn"]
