"""Temporary files beside the file that is written, and those that a killed process left behind.

Who writes one holds a lock on it. The system frees the lock when the process ends, in whatever way: a temporary file
whose lock is free belongs to nobody, and the next one who writes into the folder removes it.
"""

import os
import re
import secrets
import stat
from contextlib import suppress
from pathlib import Path
from typing import Any

try:
    import fcntl
except ImportError:  # Windows, which does not remove a file that somebody has open
    fcntl: Any = None

PREFIX, SUFFIX = ".attnscope-", ".tmp"
_OURS = re.compile(re.escape(PREFIX) + "[0-9a-f]{16}" + re.escape(SUFFIX))


def create(folder: Path, mode: int) -> tuple[int, Path]:
    """A new file in `folder`, open for writing and locked. `mode`: its permissions, of which the umask takes some."""
    while True:
        path = folder / f"{PREFIX}{secrets.token_hex(8)}{SUFFIX}"
        try:
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), mode)
        except FileExistsError:
            continue
        if not _lock(handle, wait=True) or os.fstat(handle).st_nlink:
            return handle, path
        os.close(handle)  # swept between its making and its lock


def sweep(folder: Path) -> None:
    """Remove the temporary files in `folder` whose lock is free. What cannot be removed stays."""
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if _OURS.fullmatch(entry.name):
                with suppress(OSError):
                    _remove_if_free(entry.path)


def _remove_if_free(path: str) -> None:
    if fcntl is None:
        os.unlink(path)
        return
    handle = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode) or not _lock(handle, wait=False):
            return
        if os.path.samestat(found, os.lstat(path)):
            os.unlink(path)
    finally:
        os.close(handle)


def _lock(handle: int, wait: bool) -> bool:
    """Whether this process holds the lock now. Some network file systems have no locks: nothing is swept there."""
    if fcntl is None:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError:
        return False
    return True
