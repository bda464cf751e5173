"""Files written whole or not at all."""

import os
import tempfile
from pathlib import Path
from typing import Any

from attnscope.errors import OutputError


def write_atomically(path: Any, data: bytes) -> Path:
    """Write `data` beside `path` and rename it into place; what was there stays whole if anything fails.

    Raises OutputError (also an OSError) where the file cannot be written.
    """
    target = Path(path).expanduser()
    temporary: str | None = None
    try:
        handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=".tmp")
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, target)
    except BaseException as error:
        if temporary is not None and os.path.exists(temporary):
            os.unlink(temporary)
        if not isinstance(error, OSError):
            raise
        raise OutputError(
            f"cannot write {target}: {error.strerror or error}. Nothing was changed there; give another path, in a folder "
            "that exists and that you may write to.",
            error,
        ) from error
    return target


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
