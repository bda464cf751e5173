"""attnscope: a microscope for self-attention.

    model, tokenizer = attnscope.load("demo")
    attnscope.show(model, tokenizer, "The cat sat.")

Importing it is light: each name brings in what it needs when you first use it. `__init__.pyi` lists the names.
"""

from pkgutil import iter_modules
from typing import Any

import lazy_loader

_find, _names, _ = lazy_loader.attach_stub(__name__, __file__)
__all__ = sorted({*_names()} - {module.name for module in iter_modules(__path__)} - {"__version__"})  # pyright: ignore


def __getattr__(name: str) -> Any:
    try:
        return _find(name)
    except AttributeError:
        if name in _names():
            raise
        raise AttributeError(f"module 'attnscope' has no attribute {name!r}; it has {', '.join(__all__)}") from None


def __dir__() -> list[str]:
    return _names()
