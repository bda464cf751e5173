"""Files that are there whole or not at all, whatever happens to the process or the machine."""

import os
import secrets
from contextlib import suppress
from pathlib import Path

from attnscope.errors import OutputError

TEMPORARY = ".tmp"


def write_whole(path: Path, data: "bytes | memoryview") -> None:
    """Write to a temporary name beside `path`, wait until the disk has it, and rename. Raises OutputError."""
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(6)}{TEMPORARY}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        _sync_folder(path.parent)
    except OSError as error:
        with suppress(OSError):  # whatever stood in the way of writing it
            temporary.unlink(missing_ok=True)
        raise failed(path, error) from error


def folder_at(path: Path) -> Path:
    """The folder, made where it is not there. Raises OutputError."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise failed(path, error) from error
    return path


def failed(path: Path, error: OSError) -> OutputError:
    """What to say of a file that cannot be written."""
    return OutputError(
        f"the survey cannot write {path}: {error.strerror or error}. What was finished stays; make room, or let it write there, "
        "and go on with resume=True, or --resume.",
        error,
    )


def sweep(folder: Path) -> None:
    """Remove what a killed process left half written."""
    for path in folder.glob(f"*{TEMPORARY}"):
        path.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
