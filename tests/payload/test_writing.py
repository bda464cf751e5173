"""What stands at the path stays what it is: a link, a device, a FIFO, a file with its permissions."""

import errno
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import torch

from attnscope import InputError, OutputError, Trace
from attnscope.payload import atomic_write, attributes, leftovers
from attnscope.payload.atomic_write import write_atomically
from attnscope.payload.codec import load_trace

pytestmark = pytest.mark.skipif(os.name != "posix", reason="files of POSIX")
OLD, NEW = b"old content", b"new"
root = pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root gives files away")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def file(path: Path, bits: int = 0o644) -> Path:
    path.write_bytes(OLD)
    path.chmod(bits)
    return path


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("bits", [0o600, 0o640, 0o664, 0o755, 0o606])
def test_the_mode_of_a_file_stays(bits: int, tmp_path: Path) -> None:
    path = file(tmp_path / "t", bits)
    before = path.stat().st_ino
    assert write_atomically(path, NEW) == path
    assert (path.read_bytes(), mode(path)) == (NEW, bits)
    assert path.stat().st_ino != before, "replaced, not written over"


def test_a_new_file_follows_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_atomically(tmp_path / "t", NEW)
    finally:
        os.umask(before)
    assert mode(tmp_path / "t") == 0o640


def test_what_is_half_written_is_closed_to_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A private file's new content is private from its first byte."""
    seen = []
    path = file(tmp_path / "t", 0o600)
    keep = attributes.keep_attributes

    def looking(target: Path, before: Any, handle: int) -> list[str]:
        seen.append((stat.S_IMODE(os.fstat(handle).st_mode), os.fstat(handle).st_size))
        return keep(target, before, handle)

    monkeypatch.setattr(atomic_write, "keep_attributes", looking)
    write_atomically(path, NEW)
    assert seen == [(0o600, len(NEW))]


@pytest.mark.parametrize("hops", [1, 3])
def test_a_link_stays_and_its_file_is_written(hops: int, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    file(tmp_path / "there" / "t", 0o640)
    link = Path("there/t")  # relative to the link's own folder
    for number in range(hops):
        (tmp_path / f"link{number}").symlink_to(link)
        link = Path(f"link{number}")
    write_atomically(tmp_path / link, NEW)
    assert (tmp_path / link).is_symlink()
    assert ((tmp_path / "there" / "t").read_bytes(), mode(tmp_path / "there" / "t")) == (NEW, 0o640)
    assert names(tmp_path / "there") == ["t"]


def test_a_link_to_nothing_makes_its_file(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("new")
    write_atomically(tmp_path / "link", NEW)
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "new").read_bytes() == NEW
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(OutputError, match="Nothing was changed") as caught:
        write_atomically(tmp_path / "a", NEW)
    assert caught.value.errno == errno.ELOOP


def test_a_fifo_gets_the_bytes_and_stays(tmp_path: Path) -> None:
    path, got = tmp_path / "fifo", []
    os.mkfifo(path)
    reader = threading.Thread(target=lambda: got.append(path.read_bytes()))
    reader.start()
    write_atomically(path, NEW * 100_000)  # more than a pipe holds at once
    reader.join()
    assert got == [NEW * 100_000]
    assert stat.S_ISFIFO(path.stat().st_mode)
    assert names(tmp_path) == ["fifo"]


def test_a_fifo_that_nobody_reads_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(atomic_write, "WAIT", 0.0)
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(OutputError, match="no program reads this FIFO; start the reader first"):
        write_atomically(tmp_path / "fifo", NEW)
    assert stat.S_ISFIFO((tmp_path / "fifo").stat().st_mode)


def test_devices(tmp_path: Path) -> None:
    write_atomically("/dev/null", NEW)
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)
    (tmp_path / "link").symlink_to("/dev/null")
    write_atomically(tmp_path / "link", NEW)
    assert (tmp_path / "link").is_symlink()
    if os.path.exists("/dev/full"):
        with pytest.raises(OutputError, match="What was sent before may be a part"):
            write_atomically("/dev/full", NEW)


@root
def test_a_device_in_an_ordinary_folder(tmp_path: Path) -> None:
    path = tmp_path / "null"
    try:
        os.mknod(path, 0o666 | stat.S_IFCHR, os.makedev(1, 3))
        write_atomically(path, NEW)
    except (PermissionError, OutputError):
        pytest.skip("no devices here")
    assert stat.S_ISCHR(path.stat().st_mode)


@pytest.mark.parametrize("name", ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"])
@pytest.mark.parametrize("into", ["pipe", "file"])
@pytest.mark.packaging
def test_what_is_open_already_is_written_directly(name: str, into: str, tmp_path: Path) -> None:
    if not os.path.exists(name):
        pytest.skip(f"no {name}")
    code = f"""
import sys
print("before", flush=True)
from attnscope.payload.atomic_write import write_atomically
write_atomically({name!r}, b"new")
"""
    out = tmp_path / "out"
    with out.open("wb") as stdout:
        done = subprocess.run(
            [sys.executable, "-c", code],
            stdout=stdout if into == "file" else subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
    assert done.returncode == 0, done.stderr
    assert (out.read_bytes() if into == "file" else done.stdout) == b"before\nnew", "nothing is cut off"
    assert names(tmp_path) == ["out"]


def test_a_write_protected_file_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = file(tmp_path / "t", 0o444)
    access = os.access
    monkeypatch.setattr(
        os, "access", lambda p, how: access(p, how) and bool(os.stat(p).st_mode & 0o200)
    )  # root may all
    with pytest.raises(OutputError, match="write-protected"):
        write_atomically(path, NEW)
    assert (path.read_bytes(), mode(path)) == (OLD, 0o444)


@root
def test_the_owner_stays_where_it_may(tmp_path: Path) -> None:
    path = file(tmp_path / "t", 0o640)
    os.chown(path, 12345, 23456)
    write_atomically(path, NEW)
    assert (path.stat().st_uid, path.stat().st_gid, mode(path)) == (12345, 23456, 0o640)


@pytest.mark.parametrize(("before", "after"), [(0o660, 0o600), (0o664, 0o644), (0o775, 0o755), (0o600, 0o600)])
def test_an_owner_that_cannot_stay_is_said(
    before: int, after: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file of another's group is then open to no other group than before."""
    path = file(tmp_path / "t", before)
    real = os.stat(path)
    fields = list(real)
    fields[4:6] = real.st_uid + 1, real.st_gid + 1
    foreign = os.stat_result(fields)
    handle = os.open(path, os.O_RDWR)
    monkeypatch.setattr(os, "fchown", lambda *_: (_ for _ in ()).throw(PermissionError()))
    lost = attributes.keep_attributes(path, foreign, handle)
    os.close(handle)
    assert [f"user {real.st_uid + 1}" in lost[0], f"no longer {real.st_gid + 1}" in lost[1]] == [True, True]
    assert mode(path) == after


def test_other_names_of_a_file_are_said(tmp_path: Path) -> None:
    path = file(tmp_path / "t")
    os.link(path, tmp_path / "other")
    with pytest.warns(UserWarning, match="hard links"):
        write_atomically(path, NEW)
    assert (path.read_bytes(), (tmp_path / "other").read_bytes()) == (NEW, OLD)


@pytest.mark.skipif(not hasattr(os, "setxattr"), reason="Linux")
def test_extended_attributes_stay(tmp_path: Path) -> None:
    path = file(tmp_path / "t")
    try:
        os.setxattr(path, "user.origin", b"here")
    except OSError:
        pytest.skip("no attributes on this file system")
    write_atomically(path, NEW)
    assert os.getxattr(path, "user.origin") == b"here"


@pytest.mark.parametrize("path", [None, 3, b"t", ["t"], "a\0b", "\ud800"])
def test_paths_that_are_none(path: Any) -> None:
    with pytest.raises(InputError, match=r"expected a path|cannot name a file"):
        write_atomically(path, NEW)


def test_a_name_as_long_as_names_may_be(tmp_path: Path) -> None:
    path = tmp_path / ("n" * 255)
    write_atomically(path, NEW)
    assert names(tmp_path) == [path.name]


# -- what killed processes leave behind

KILLED = """
import os, sys
from pathlib import Path
from attnscope.payload import leftovers
handle, path = leftovers.create(Path(sys.argv[1]), 0o600)
os.write(handle, b"half")
print(path.name, flush=True)
sys.stdin.read()
"""


@pytest.mark.packaging
def test_left_over_files_are_swept_once_their_lock_is_free(tmp_path: Path) -> None:
    others = [".attnscope-notes.tmp", ".attnscope-0123456789abcdef.tmpx", "x.attnscope-0123456789abcdef.tmp"]
    for name in others:
        (tmp_path / name).write_bytes(b"mine")
    (tmp_path / ".attnscope-fedcba9876543210.tmp").symlink_to(others[0])
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    try:
        assert process.stdout is not None
        left = process.stdout.readline().strip()
        kept = {*others, ".attnscope-fedcba9876543210.tmp"}
        write_atomically(tmp_path / "t", NEW)
        assert set(names(tmp_path)) == {*kept, "t", left}, "somebody writes it"
        process.kill()
        process.wait()
        write_atomically(tmp_path / "t", NEW)
        assert set(names(tmp_path)) == {*kept, "t"}
        assert (tmp_path / others[0]).read_bytes() == b"mine"
    finally:
        process.kill()
        process.communicate()


def test_many_write_one_file_at_once(tmp_path: Path) -> None:
    """Nobody sweeps what another writes, and the file is always one of theirs."""
    path, contents = tmp_path / "t", [bytes([n]) * 20_001 for n in range(6)]

    def writing(data: bytes) -> None:
        for _ in range(15):
            write_atomically(path, data)

    threads = [threading.Thread(target=writing, args=(data,)) for data in contents]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        if path.exists():
            assert path.read_bytes() in contents
    for thread in threads:
        thread.join()
    assert names(tmp_path) == ["t"]


def test_a_file_swept_before_its_lock_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock, swept = leftovers._lock, []

    def late(handle: int, wait: bool) -> bool:
        if wait and not swept:
            swept.extend(tmp_path.iterdir())
            swept[0].unlink()
        return lock(handle, wait)

    monkeypatch.setattr(leftovers, "_lock", late)
    write_atomically(tmp_path / "t", NEW)
    assert len(swept) == 1
    assert (tmp_path / "t").read_bytes() == NEW


# -- everyone who writes


def test_traces_pages_and_figures_are_written_so(tmp_path: Path) -> None:
    trace = Trace.from_qkv(*(torch.randn(1, 4, 4) for _ in range(3)))
    view = trace.show()
    saves: list[tuple[str, Any]] = [("t.safetensors", trace.save), ("t.html", view.save), ("o.html", view.open)]
    for name, save in saves:
        file(tmp_path / f"real-{name}", 0o600)
        (tmp_path / name).symlink_to(f"real-{name}")
        save(tmp_path / name)
        assert (tmp_path / name).is_symlink()
        assert mode(tmp_path / f"real-{name}") == 0o600
        assert (tmp_path / name).read_bytes() != OLD
    assert len(load_trace(tmp_path / "t.safetensors").sites) == 1
    for save in (view.save, trace.save):
        with pytest.raises(InputError, match="expected a path"):
            save(None)
