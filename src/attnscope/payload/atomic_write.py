"""Files written whole or not at all: what stands at the path stays what it is, with new content."""

import errno
import os
import stat
import time
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from attnscope.errors import OutputError
from attnscope.payload import leftovers
from attnscope.payload.attributes import keep_attributes
from attnscope.payload.paths import as_path
from attnscope.text.characters import printable

WAIT = 5.0  # seconds for a program that reads the other end of a FIFO


def write_atomically(path: Any, data: bytes | Iterable[bytes]) -> Path:
    """Write `data`, whole or in pieces, to a file beside `path` and rename it into place; what was there stays whole if anything fails.

    A symlink stays, and the file that it names is written. An existing file keeps its mode, its owner where you may give
    files away, and its access list. A device, a FIFO or an open file (/dev/stdout) gets the bytes directly. What cannot
    be kept is a UserWarning.

    `path`: a string or a Path. Raises InputError for other types, and OutputError (also an OSError) where the file
    cannot be written.
    """
    given = as_path(path)
    pieces = [data] if isinstance(data, bytes) else data
    direct = False
    try:
        target, direct = _follow(given)
        if direct:
            _write_directly(target, pieces)
        else:
            _replace(target, pieces)
    except OSError as error:
        left = "What was sent before may be a part of the data" if direct else "Nothing was changed there"
        raise OutputError(
            f"cannot write {given}: {error.strerror or error}. {left}; give another path, in a folder "
            "that exists and that you may write to.",
            error,
        ) from error
    return given


def _follow(path: Path) -> tuple[Path, bool]:
    """What is behind the symlinks of `path`, and whether it is written directly: a device, a FIFO, an open file."""
    for _ in range(40):  # as many as Linux follows
        folder = os.path.realpath(path.parent)
        if folder == "/dev/fd" or folder.startswith("/proc/"):
            return path, True
        if not path.is_symlink():
            break
        path = path.parent / os.readlink(path)
    else:
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
    try:
        kind = os.stat(path).st_mode
    except FileNotFoundError:
        return path, False
    if stat.S_ISDIR(kind):
        raise OSError(errno.EISDIR, os.strerror(errno.EISDIR))
    return path, not stat.S_ISREG(kind)


def _write_directly(path: Path, data: Iterable[bytes]) -> None:
    """Append to what is open at `path`: nothing that stands there is cut off."""
    flags = os.O_WRONLY | getattr(os, "O_NOCTTY", 0) | getattr(os, "O_BINARY", 0)
    if not stat.S_ISBLK(os.stat(path).st_mode):
        flags |= os.O_APPEND
    with os.fdopen(_open_for_reader(path, flags), "wb") as file:
        file.writelines(data)


def _open_for_reader(path: Path, flags: int) -> int:
    """Open without waiting for ever: a FIFO that nobody reads has no other end."""
    deadline = time.monotonic() + WAIT
    while True:
        try:
            handle = os.open(path, flags | getattr(os, "O_NONBLOCK", 0))
        except OSError as error:
            if error.errno != errno.ENXIO or not stat.S_ISFIFO(os.stat(path).st_mode):
                raise
            if time.monotonic() >= deadline:
                raise OSError(error.errno, "no program reads this FIFO; start the reader first") from error
            time.sleep(0.02)
        else:
            if hasattr(os, "O_NONBLOCK"):
                os.set_blocking(handle, True)
            return handle


def _replace(target: Path, data: Iterable[bytes]) -> None:
    try:
        before = os.stat(target)
    except FileNotFoundError:
        before = None
    if before is not None and not os.access(target, os.W_OK):
        raise PermissionError(errno.EACCES, "this file is write-protected")
    leftovers.sweep(target.parent)
    # what replaces a file is closed to others until it has that file's permissions
    handle, temporary = leftovers.create(target.parent, 0o666 if before is None else 0o600)
    lost: list[str] = []
    try:
        with os.fdopen(handle, "wb") as file:
            file.writelines(data)
            file.flush()
            if before is not None:
                lost = keep_attributes(target, before, handle)
            if os.name != "nt":  # while the lock is held; Windows renames only what is closed
                os.replace(temporary, target)
        if os.name == "nt":
            os.replace(temporary, target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    if lost:
        said = printable(f"{target} was written, but {'; '.join(lost)}.")
        warnings.warn(said, UserWarning, stacklevel=4)
