"""Paths as callers give them."""

import os
from pathlib import Path
from typing import Any

from attnscope.errors import InputError


def as_path(path: Any) -> Path:
    """The path with "~" as the home folder.

    `path`: a string or a Path. Raises InputError for anything else, and for a name that no file can have.
    """
    given = os.fspath(path) if isinstance(path, os.PathLike) else path
    if not isinstance(given, str):
        raise InputError(f"expected a path as a string or a Path, got {_brief(path)}.")
    try:
        if b"\0" in os.fsencode(given):
            raise ValueError("a zero byte")
        return Path(given).expanduser()
    except (ValueError, RuntimeError) as error:  # a character that names cannot have; a home folder that is not known
        raise InputError(f"the path {_brief(given)} cannot name a file ({error}). Give another path.") from error


def _brief(value: Any) -> str:
    return (
        f"{type(value).__name__} {ascii(value)[:80]}" if isinstance(value, (str, bytes, int)) else type(value).__name__
    )
