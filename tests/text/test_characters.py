"""What comes from outside is printed with its control characters shown, on every way to a terminal."""

import io
import re
import warnings
from dataclasses import replace
from typing import Any

import click
import pytest
import torch
from click.testing import CliRunner
from rich.console import Console

import attnscope
from attnscope import InputError, Trace, errors
from attnscope.cli import main, show as show_module
from attnscope.doctor.diagnosis import Diagnosis
from attnscope.errors import AttnscopeError
from attnscope.render.terminal import draw
from attnscope.text.characters import half_character, printable
from attnscope.text.status import status
from attnscope.tracing.trace import ModelInfo

# clears the screen, sets the title, moves back, 8-bit CSI, turns the direction, half a character
HOSTILE = "a\x1b[2J\x1b]0;title\x07\x9b31m\rb\x08\u202ec\ud800"
ACTED_ON = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\ud800-\udfff]")


def safe(text: str) -> str:
    """The text, which must hold the hostile name in shown form and nothing that a terminal acts on."""
    assert not ACTED_ON.search(text), ascii(text)
    assert "⟨U+001B⟩" in text
    return text


@pytest.fixture(scope="module")
def trace() -> Trace:
    """Hostile wherever a file can be hostile: `ascii` characters that JSON holds."""
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(2, 4, 3, generator=generator) for _ in range(3))
    made = Trace.from_qkv(q, k, v, tokens=[f"{HOSTILE}{n}" for n in range(4)])
    site = replace(made.sites[0], note=HOSTILE, path=HOSTILE, stack=HOSTILE)
    return replace(
        made.replace_sites([site]),
        model=ModelInfo(name=HOSTILE, class_name=HOSTILE),
        notes=(HOSTILE,),
        source={"text": HOSTILE[:-1]},
    )


def test_printable() -> None:
    assert printable("é 猫 \u2068a\u2069\n\t") == "é 猫 \u2068a\u2069\n\t"
    assert printable("\x1b[31m\x9b\r\u202e\ud800") == "⟨U+001B⟩[31m⟨U+009B⟩⟨U+000D⟩⟨U+202E⟩⟨U+D800⟩"
    assert printable("\x1b[1;31mred\x1b[0m \x1b[2J", colours=True) == "\x1b[1;31mred\x1b[0m ⟨U+001B⟩[2J"
    assert (half_character("ab\udc00"), half_character("😀")) == (2, None)


def test_a_view_in_a_terminal(trace: Trace) -> None:
    view = trace.show()
    out = io.StringIO()
    draw(view, Console(file=out, width=100, color_system=None), ("head", "neuron"))
    safe(out.getvalue())


def test_reprs(trace: Trace) -> None:
    site, view = trace.sites[0], trace.show()
    for thing in (trace, site, view, trace.tokens, site.verify(), trace.verify(), attnscope.compare(trace, trace)):
        assert not ACTED_ON.search(repr(thing)), type(thing)
        assert not ACTED_ON.search(str(thing)), type(thing)
    safe(repr(trace) + repr(view))
    assert not ACTED_ON.search(repr(site.steps(0, 1)))
    assert not ACTED_ON.search(view.code)


def test_errors() -> None:
    for error in vars(errors).values():
        if isinstance(error, type) and issubclass(error, AttnscopeError) and error is not errors.MissingDependency:
            safe(str(error(f"got {HOSTILE}")))
    safe(str(errors.MissingDependency(HOSTILE, "plot")))
    tokens = attnscope.Trace.from_qkv(*torch.ones(3, 1, 2, 2), tokens=[HOSTILE, "b"]).tokens
    with pytest.raises(InputError) as caught:
        tokens.find("none")
    safe(str(caught.value))
    assert str(InputError("one\ntwo")) == "one\ntwo"


def test_status_lines(capsys: pytest.CaptureFixture[str]) -> None:
    with status(f"loading {HOSTILE} …"):
        pass
    safe(capsys.readouterr().err)


def test_the_doctors_report() -> None:
    diagnosis = Diagnosis(HOSTILE, notes=(HOSTILE,), not_examined=(HOSTILE,), conventions={"mask": HOSTILE})
    out = io.StringIO()
    diagnosis.report(Console(file=out, width=100, color_system=None))
    for text in (out.getvalue(), repr(diagnosis)):
        assert safe(text).count("⟨U+009B⟩") == 4
    assert diagnosis.to_json().isascii()


@pytest.mark.parametrize(
    "arguments",
    [
        ["show", "a text", "--model", f"/no/such/{HOSTILE[:-1]}", "--quiet"],
        ["show", "a text", "--model", f"/no/such/{HOSTILE[:-1]}"],
        ["show", "a text", f"--{HOSTILE[:-1]}"],
        ["show", "a text", "--layer", HOSTILE[:-1]],
        [HOSTILE[:-1]],
        [f"--{HOSTILE[:-1]}"],
        ["check", f"{HOSTILE[:-1]}.py"],
        ["check", "--explain", HOSTILE[:-1]],
        ["serve", "--origin", HOSTILE[:-1], "--port", "0", "--no-open", "--quiet"],
    ],
    ids=lambda arguments: " ".join(arguments)[:12].strip("\x1b"),
)
def test_commands(arguments: list[str]) -> None:
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 2
    assert not ACTED_ON.search(result.output), ascii(result.output)


def test_an_error_that_is_not_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise ZeroDivisionError(HOSTILE)

    monkeypatch.setattr(show_module, "load", broken)
    result = CliRunner().invoke(main, ["show", "a text"])
    assert result.exit_code == 1
    assert "Traceback" in safe(result.output)
    assert "ZeroDivisionError" in result.output


def test_click_itself_still_ends_as_it_does(monkeypatch: pytest.MonkeyPatch) -> None:
    def aborted(*_: Any, **__: Any) -> Any:
        raise click.Abort

    assert CliRunner().invoke(main, ["show", "--help"]).exit_code == 0
    monkeypatch.setattr(show_module, "load", aborted)
    assert "Aborted!" in CliRunner().invoke(main, ["show", "a text"]).output


def test_a_warning_of_a_written_file(tmp_path: Any) -> None:
    path = tmp_path / "a\x1b[2J"
    path.write_bytes(b"old")
    (tmp_path / "other").hardlink_to(path)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        attnscope.payload.atomic_write.write_atomically(path, b"new")
    safe(str(caught[0].message))
