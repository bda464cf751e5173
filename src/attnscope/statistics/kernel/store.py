"""Where compiled code is kept: a folder in the user's cache for each processor, version and state of the source."""

import hashlib
import os
import platform
import sys
from functools import cache
from pathlib import Path

READY = "ready"  # an empty file: everything is there


def base() -> Path:
    """attnscope's folder in the user's cache, by the system's habit."""
    if sys.platform == "win32":
        cache = os.environ.get("LOCALAPPDATA") or "~/AppData/Local"
    elif sys.platform == "darwin":
        cache = "~/Library/Caches"
    else:
        cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(cache).expanduser() / "attnscope"


def any_ready() -> bool:
    """Whether something was kept, for whatever processor and version: without numba, so at no cost."""
    try:
        return any(base().glob(f"compiled-*/{READY}"))
    except OSError:
        return False


@cache
def folder() -> Path | None:
    """The folder for this processor, this version of numba and this source; None where none can be written."""
    import numba

    from attnscope.statistics.kernel import tile

    asked = (numba.__version__, platform.python_version(), *tile.processor())
    source = b"".join(path.read_bytes() for path in sorted(Path(__file__).parent.glob("*.py")))
    name = hashlib.sha256(" ".join(asked).encode() + source).hexdigest()[:16]
    try:
        found = base() / f"compiled-{name}"
        found.mkdir(mode=0o700, parents=True, exist_ok=True)
        probe = found / f".{os.getpid()}"
        probe.touch()
        probe.unlink()
    except (OSError, RuntimeError):  # RuntimeError: no home
        return None
    return found


def is_ready() -> bool:
    """Whether this processor's code is there."""
    found = folder()
    return found is not None and (found / READY).exists()


def mark_ready() -> None:
    """Everything has been compiled and kept."""
    found = folder()
    if found is not None:
        (found / READY).touch()
