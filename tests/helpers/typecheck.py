"""beartype as the tests use it: on the modules that name shapes, and an int is a fine float, as in PEP 484."""

import functools
import inspect
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import jaxtyping
from beartype import BeartypeConf, beartype

check = beartype(conf=BeartypeConf(is_pep484_tower=True))
FIRST = 30  # calls of a function that are checked in each test: in loops of thousands, checks are most of the time
_tests = 0


def begin_test() -> None:
    """From here on, the first calls of every function are checked again."""
    global _tests
    _tests += 1


def check_first_calls() -> None:
    """Have jaxtyping check only the first calls of a function in each test. To be called before its import hook is at work."""
    jaxtyped = jaxtyping.jaxtyped

    def of_first_calls(function: Any = None, **options: Any) -> Any:
        if function is None:
            return functools.partial(of_first_calls, **options)
        checked = jaxtyped(function, **options)
        return _first_calls(function, checked) if inspect.isfunction(function) else checked

    # by both names: that of the hook, and that by which it comes to methods of classes and to properties
    jaxtyping.jaxtyped = jaxtyping._decorator.jaxtyped = of_first_calls


def _first_calls(function: Callable[..., Any], checked: Callable[..., Any]) -> Callable[..., Any]:
    test, calls = -1, 0

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        nonlocal test, calls
        if test != _tests:
            test, calls = _tests, 0
        calls += 1
        return (checked if calls <= FIRST else function)(*args, **kwargs)

    return call


def shaped_modules(package: str) -> list[str]:
    """Those of a package that import jaxtyping, read without importing them. To check the others costs a third of the tests' time
    and says what pyright says.
    """
    spec = find_spec(package)
    assert spec is not None
    assert spec.origin is not None
    root = Path(spec.origin).parent
    files = [path for path in root.rglob("*.py") if "from jaxtyping import" in path.read_text("utf-8")]
    return [".".join((package, *path.relative_to(root).with_suffix("").parts)) for path in files]
