"""Numbers that are documented as fp32 stay fp32 inside torch.autocast, which would narrow every product."""

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import ParamSpec, TypeVar

import torch

_Given = ParamSpec("_Given")
_Made = TypeVar("_Made")

_DEVICES = ("cpu", "cuda", "mps", "xpu")


def without_autocast(function: Callable[_Given, _Made]) -> Callable[_Given, _Made]:
    """`function`, computed in the dtypes of its arguments wherever it is called."""

    @functools.wraps(function)
    def exact(*args: _Given.args, **kwargs: _Given.kwargs) -> _Made:
        if not torch._C._is_any_autocast_enabled():
            return function(*args, **kwargs)
        with autocast_off():
            return function(*args, **kwargs)

    return exact


@contextlib.contextmanager
def autocast_off() -> Iterator[None]:
    """A with block in which no device narrows anything."""
    with contextlib.ExitStack() as stack:
        for device in _DEVICES:
            if torch.is_autocast_enabled(device):
                stack.enter_context(torch.autocast(device, enabled=False))
        yield
