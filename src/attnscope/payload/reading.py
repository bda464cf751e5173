"""A file opened to be read whole: a regular file, of a size that this machine can hold."""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path
from typing import Any

from attnscope.errors import PayloadError, UnreadableFile
from attnscope.payload.paths import as_path

SMALL = 64_000_000  # bytes, below which nobody asks for room
COPIES = 2  # of a file in memory while it is read: its bytes, and its tensors


@contextmanager
def open_file(path: Any) -> Iterator[tuple[FileIO, int]]:
    """The file at `path`, unbuffered, and its size.

    Raises InputError for a path of another type, OSError, and UnreadableFile for what has no size: a device, a FIFO.
    """
    place = as_path(path)
    handle = os.open(place, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    found = os.fstat(handle)
    if not stat.S_ISREG(found.st_mode):
        os.close(handle)
        raise UnreadableFile(
            f"cannot read {path}: it is {_kind(found.st_mode)} and not a file. Give the path of a file that Trace.save wrote.",
            OSError(number := errno.EISDIR if stat.S_ISDIR(found.st_mode) else errno.EINVAL, os.strerror(number)),
        )
    with os.fdopen(handle, "rb", buffering=0) as file:
        yield file, found.st_size


def read_whole(file: FileIO, size: int) -> bytes:
    """All bytes of `file`, which has `size`. Raises PayloadError where they need more memory than there is."""
    room = available() if size > SMALL else None
    try:
        if room is not None and COPIES * size > room:
            raise MemoryError
        file.seek(0)
        return file.readall()
    except MemoryError:
        raise PayloadError(
            f"reading it takes {COPIES * size / 1e9:.1f} GB of memory, and this machine has less"
            f"{'' if room is None else f' ({room / 1e9:.1f} GB are free)'}. Close other programs, or trace a shorter text."
        ) from None


def available() -> int | None:
    """Bytes of memory that are free for this process; None where the system does not say."""
    free = []
    with suppress(OSError, ValueError, KeyError):  # not on Linux
        free.append(1024 * _table("/proc/meminfo")["MemAvailable:"])
    with suppress(OSError, ValueError, KeyError):  # no group, or one without a limit ("max")
        group = Path("/sys/fs/cgroup")
        used, found = int((group / "memory.current").read_text()), _table(group / "memory.stat")
        cache = found["file"] - found["shmem"]
        free.append(int((group / "memory.max").read_text()) - used + cache)
    return min(free, default=None)


def _table(path: Any) -> dict[str, int]:
    """The first two words of each line: a name and a number."""
    lines = (line.split() for line in Path(path).read_text().splitlines())
    return {words[0]: int(words[1]) for words in lines}


def _kind(mode: int) -> str:
    kinds = {stat.S_IFIFO: "a FIFO", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device", stat.S_IFSOCK: "a socket"}
    return "a folder" if stat.S_ISDIR(mode) else kinds.get(stat.S_IFMT(mode), "something else")
