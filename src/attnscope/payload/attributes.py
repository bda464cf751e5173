"""What a file that replaces another takes over from it: owner, permissions, access list."""

import os
import stat
from pathlib import Path

_OF_THE_SYSTEM = "security."  # labels and signatures that the system gives to each new file


def keep_attributes(target: Path, before: os.stat_result, handle: int) -> list[str]:
    """Give the open file `handle` what `target` has. `before`: the stat of `target`.

    Returns what could not be kept, in words; the file is then open to nobody who could not read the old one. Raises
    OSError where its permissions or its access list cannot be kept at all.
    """
    if os.name == "nt":  # where a file takes its permissions from its folder
        return []
    lost = []
    mode = stat.S_IMODE(before.st_mode)
    new = os.fstat(handle)
    if not (new.st_uid == before.st_uid or _chown(handle, before.st_uid, -1)):
        lost.append(f"it belongs to you now, and no longer to user {before.st_uid}")
        mode &= ~stat.S_ISUID
    if not (new.st_gid == before.st_gid or _chown(handle, -1, before.st_gid)):
        lost.append(f"its group is no longer {before.st_gid}")
        # another group gets what everybody gets
        mode = mode & ~(stat.S_ISGID | stat.S_IRWXG) | (mode & mode << 3 & stat.S_IRWXG)
    os.fchmod(handle, mode)
    if hasattr(os, "listxattr"):
        lost += _copy_extended(target, handle)
    if before.st_nlink > 1:
        lost.append("its other names (hard links) keep the old content")
    return lost


def _chown(handle: int, user: int, group: int) -> bool:
    try:
        os.fchown(handle, user, group)
    except OSError:
        return False
    return True


def _copy_extended(target: Path, handle: int) -> list[str]:
    """Extended attributes, the access list among them."""
    try:
        names = [name for name in os.listxattr(target) if not name.startswith(_OF_THE_SYSTEM)]
    except OSError:  # a file system without them
        return []
    lost = []
    for name in names:
        try:
            os.setxattr(handle, name, os.getxattr(target, name))
        except OSError as error:
            if name == "system.posix_acl_access":
                raise OSError(error.errno, "its access list cannot be kept") from error
            lost.append(f"its attribute {name!a} could not be kept")
    return lost
