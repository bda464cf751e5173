"""The command line answers mistakes with one paragraph and exit code 2, never with a traceback."""

import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import tiny_models as tiny
from attnscope.cli import main


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A model and tokenizer on disk."""
    path = tmp_path_factory.mktemp("model")
    tiny.model("bert", "sdpa").save_pretrained(path)
    tiny.tokenizer().save_pretrained(path)
    return str(path)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["show", *arguments, "--no-open", "--quiet"])


def check_refused(result: Result, message: str) -> None:
    assert result.exit_code == 2, result.output
    assert isinstance(result.exception, SystemExit), result.exception
    assert "Traceback" not in result.output
    assert message in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1, "one paragraph"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([""], "text is empty"),
        (["the cat " * 40], "the text has 82 tokens, and this model reads at most 61"),
        (["the cat", "--layer", "9"], "layer 9 is out of range: this trace has attention in layers 0 to 1"),
        (
            ["the cat", "--layer", "1", "--head", "7"],
            "head 7 is out of range: layer 1 has 3 heads, so head goes from 0 to 2",
        ),
        (["the cat", "--head", "L9H0"], "layer 9 is out of range"),
        (["the cat", "--head", "third"], "expected a head as a number or a name"),
        (["the cat", "--query", "ship"], 'query "ship" is not among the tokens: [CLS] the cat [SEP]'),
        (["the cat", "--query", "99"], "query 99 is out of range: the text has 4 tokens"),
        (["the cat", "--key", "-5"], "key -5 is out of range"),
        (["the cat", "--stack", "decoder"], "there is no stack 'decoder'"),
        (["the cat", "--generate", "3"], "BertModel cannot generate text"),
        (["the cat", "--target", "a dog"], "text_target is for encoder-decoder models"),
        (["the cat", "--task", "mind-reading"], "there is no task 'mind-reading'"),
        (["the cat", "--layer", "1", "--head", "-4"], "head -4 is out of range"),
        (["the cat", "--level", "grid", "--terminal"], "a terminal draws the levels 'stream', 'head' and 'neuron'"),
    ],
)
def test_mistakes(arguments: list[str], message: str, folder: str, tmp_path: Path) -> None:
    out = tmp_path / "page.html"
    check_refused(run(*arguments, "--model", folder, "--out", str(out)), message)
    assert not out.exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["shew", "the cat"], "No such command 'shew'"),
        (["show"], "Missing argument 'TEXT'"),
        (["show", "the", "cat"], "unexpected extra argument (cat)"),
        (["show", "the cat", "--modle", "demo"], "No such option '--modle'"),
        (["show", "the cat", "--layer", "two"], "'two' is not a number or a name such as L2"),
        (["show", "the cat", "--level", "galaxy"], "'galaxy' is not one of 'stream', 'model', 'head'"),
        (["show", "the cat", "--generate", "-1"], "-1 is not in the range"),
        (["show", "the cat", "--max-mb", "0"], "0.0 is not in the range x>0"),
        (["show", "the cat", "--max-mb", "nan"], "nan is not a finite number"),
        (["show", "the cat", "--max-mb", "inf"], "inf is not a finite number"),
        (["demo", "again"], "unexpected extra argument (again)"),
        (["serve", "--keep-mb", "nan"], "nan is not a finite number"),
        (["serve", "--port", "65536"], "65536 is not in the range"),
        (["serve", "--max-tokens", "1"], "1 is not in the range"),
    ],
)
def test_mistakes_that_need_no_model(arguments: list[str], message: str) -> None:
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 2, result.output
    assert isinstance(result.exception, SystemExit), result.exception
    assert message in result.stderr
    assert "--help" in result.stderr


def test_an_unknown_model_offline() -> None:
    check_refused(run("the cat", "--model", "no-such-org/no-such-model"), "could not be loaded")


def test_a_folder_that_holds_no_model(tmp_path: Path) -> None:
    check_refused(run("the cat", "--model", str(tmp_path)), "could not be loaded as a model")


def test_a_page_that_cannot_be_written(folder: str, tmp_path: Path) -> None:
    check_refused(run("the cat", "--model", folder, "--out", str(tmp_path / "no" / "page.html")), "cannot write")
    check_refused(run("the cat", "--model", folder, "--out", ""), "a file without an ending")
    taken = tmp_path / "page.txt"
    taken.write_text("before")
    check_refused(run("the cat", "--model", folder, "--out", str(taken)), "ends in .html")
    assert taken.read_text() == "before"


def test_an_existing_page_stays_whole(folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    page = tmp_path / "page.html"
    page.write_text("before")

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    check_refused(run("the cat", "--model", folder, "--out", str(page)), "No space left on device")
    assert page.read_text() == "before"
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]


def test_a_long_text_is_cut_on_request(folder: str, tmp_path: Path) -> None:
    out = tmp_path / "page.html"
    result = run("the cat " * 40, "--model", folder, "--truncate", "--out", str(out))
    assert result.exit_code == 0, result.output
    assert str(out) in result.stdout
    assert "cut to the 61 tokens" in " ".join(result.stdout.split())
    assert out.exists()


def test_the_stream_explains_the_tokens_that_are_named(tmp_path: Path) -> None:
    tiny.model("llama").save_pretrained(tmp_path)
    tiny.tokenizer().save_pretrained(tmp_path)
    named = ["--prediction", "mat", "--against", "dog"]
    result = run("the cat", "--model", str(tmp_path), "--level", "stream", "--terminal", *named)
    assert result.exit_code == 0, result.output
    assert re.match(r"“mat” (over|under) “dog” by ", result.stdout), result.stdout


def test_a_text_is_shown(folder: str, tmp_path: Path) -> None:
    out = tmp_path / "page.html"
    result = run(
        "the cat sat on a mat", "--model", folder, "--layer", "1", "--head", "2", "--query", "cat", "--out", str(out)
    )
    assert result.exit_code == 0, result.output
    for expected in ("layer 1", "head 2", "mat", "%"):
        assert expected in result.stdout
