"""attnscope check: the answer, its exit code, and one clear paragraph for whatever is wrong with the call."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import tiny_models as tiny
from attnscope.cli import main
from patience import PATIENCE
from tiny_tokenizers import CHATML, begins

TEXT = "the cat sat on a mat"
TEXTS = ["the cat sat on a mat", "a dog ran"]
CODE = """
import math

import torch

def right(query, key, value):
    return (query @ key.mT / math.sqrt(query.shape[-1])).softmax(-1) @ value

def unscaled(query, key, value):
    return (query @ key.mT).softmax(-1) @ value

def impatient(query, key, value):
    while True:
        pass

class Sized(torch.nn.Module):
    def __init__(self, size):
        super().__init__()

def uses_words(text):
    return text.split()

HEADS = 3
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A model with a chat template and left padding on disk."""
    path = tmp_path_factory.mktemp("model")
    tiny.model("gpt2", "sdpa").save_pretrained(path)
    begins(CHATML, ("<|im_start|>", "<|im_end|>"), padding_side="left").save_pretrained(path)
    return str(path)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("code") / "attention.py"
    path.write_text(CODE)
    path.with_name("broken.py").write_text("def attend(query, key, value)\n    return value\n")
    path.with_name("binary.py").write_bytes(b"\xff\xfe\x00")
    path.with_name("folder.py").mkdir()
    return str(path)


def check(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["check", "--quiet", *arguments])


def words(text: str) -> str:
    return " ".join(text.split())


# --- a model --------------------------------------------------------------------------------------------------------


def test_a_warning_passes_unless_strict(folder: str) -> None:
    found = check("--model", folder, TEXT)
    assert found.exit_code == 0, found.output
    assert "warning: plain text, although the tokenizer has a chat template [no-chat-template]" in words(found.stdout)
    assert check("--model", folder, TEXT, "--strict").exit_code == 1
    sound = check("--model", folder, "--chat", TEXT, "--strict")
    assert sound.exit_code == 0, sound.output
    assert "nothing found" in sound.stdout


def test_an_error_fails_and_json_carries_severity(folder: str) -> None:
    batch = check("--model", folder, *TEXTS, "--json")
    assert batch.exit_code == 1
    data = json.loads(batch.stdout)
    assert [(f["name"], f["severity"]) for f in data["findings"]] == [
        ("no-chat-template", "warning"),
        ("left-padding-positions", "error"),
    ]
    assert data["passed"] is False
    passed = check("--model", folder, TEXT, "--json")
    assert (passed.exit_code, json.loads(passed.stdout)["passed"]) == (0, True)


# --- code -----------------------------------------------------------------------------------------------------------


def test_code(file: str) -> None:
    right = check(f"{file}:right")
    assert right.exit_code == 0, right.output
    wrong = check(f"{file}:unscaled", "--json")
    assert wrong.exit_code == 1
    [found] = json.loads(wrong.stdout)["findings"]
    assert (found["name"], found["severity"]) == ("scale-missing", "error")
    assert check(f"{file}:unscaled", "--scaling", "1").exit_code == 0


def test_code_that_never_ends_is_stopped(file: str) -> None:
    stopped = check(f"{file}:impatient", "--limit", "0.5", "--json")
    assert stopped.exit_code == 1
    assert "stopped after 0.5 s" in json.loads(stopped.stdout)["findings"][0]["title"]


# --- --explain ------------------------------------------------------------------------------------------------------


def test_explain() -> None:
    result = check("--explain", "bos-doubled")
    assert result.exit_code == 0, result.output
    for part in ("bos-doubled (error)", "Why: ", "Cure: ", "Wrong:", "Right:", "Reference: https://"):
        assert part in result.stdout
    as_json = json.loads(check("--explain", "bos-doubled", "--json").stdout)
    assert as_json == {"id": "bos-doubled", "explanation": result.stdout.rstrip("\n")}


def test_every_id_that_a_check_prints_can_be_explained(folder: str) -> None:
    data = json.loads(check("--model", folder, *TEXTS, "--json").stdout)
    assert data["findings"]
    for found in data["findings"]:
        assert check("--explain", found["name"]).exit_code == 0


# --- wrong use ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "expected something to check, got nothing. For code: attnscope check attention.py:my_attention"),
        (["the cat"], "expected FILE.py:NAME, such as attention.py:my_attention, got 'the cat'"),
        (["the cat", "--chat"], "expected options for code, got --chat, which is for a model"),
        (["FILE"], "without a name. Add the function or class"),
        (["FILE:"], "expected FILE.py:NAME"),
        (["FILE:right", "FILE:unscaled"], "expected one FILE.py:NAME, got 2. Check them one at a time."),
        (["/no/such.py:attend"], "expected a file, got /no/such.py, which does not exist"),
        (
            ["FILE:unscled"],
            "defines, got 'unscled'. It defines right, unscaled, impatient, Sized, uses_words: choose one.",
        ),
        (["FILE:1 +"], "expected a name or a call after attention.py:"),
        (["FILE:Sized(1, 2)"], "expected a function or a module from Sized(1, 2), got TypeError"),
        (["FILE:HEADS"], "int"),
        (["--model"], "Option '--model' requires an argument"),
        (["MODEL"], "expected a text to check the model on, got none"),
        (["MODEL", " "], "expected a text to check the model on, got an empty one"),
        (["MODEL", "the cat", "--scaling", "1"], "expected options for a model, got --scaling, which is for code"),
        (["MODEL", "the cat", "--limit", "5"], "expected options for a model, got --limit, which is for code"),
        (["MODEL", "a", "b", "--chat"], "--chat: expected one text, a user's message, got 2 texts"),
        (["MODEL", "a", "--pair", "b", "--chat"], "--chat: expected one text, a user's message, got --pair too"),
        (["MODEL", "a", "b", "--pair", "c"], "text_pair: expected a string, the second sentence to one text"),
        (["MODEL", "FILE:right"], "which names code in a file. Leave out --model to check the code"),
        (["--model", "/no/such/folder", "a cat"], "there is no folder"),
        (["MODEL", "a cat", "--dtype", "float9"], "float9"),
        (["MODEL", "a cat", "--task", "mind-reading"], "there is no task 'mind-reading'"),
        (["--explain", "bos-dubled"], "expected the id of a finding, got 'bos-dubled'. Did you mean bos-doubled"),
        (["--explain", "bos-doubled", "a cat"], "expected --explain bos-doubled alone, got 'a cat' too"),
    ],
)
def test_wrong_use_is_one_paragraph(arguments: list[str], message: str, folder: str, file: str) -> None:
    given = [part.replace("FILE", file) for part in arguments]
    given = ["--model", folder, *given[1:]] if given[:1] == ["MODEL"] else given
    result = check(*given)
    assert result.exit_code == 2, result.output
    assert "Traceback" not in result.output
    assert message in result.stderr
    if result.stderr.startswith("attnscope: "):  # and not an error of click itself
        assert len(result.stderr.strip().splitlines()) == 1, result.stderr
        as_json = check(*given, "--json")
        assert as_json.exit_code == 2
        assert message in json.loads(as_json.stdout)["error"]


@pytest.mark.parametrize("name", ["broken", "binary"])
def test_a_file_that_python_cannot_read_is_a_finding(name: str, file: str) -> None:
    result = check(f"{Path(file).with_name(name)}.py:attend")
    assert result.exit_code == 1, result.output
    assert "its file raises SyntaxError" in words(result.stdout)


def test_a_folder_is_no_file(file: str) -> None:
    result = check(f"{Path(file).with_name('folder')}.py:attend")
    assert result.exit_code == 2
    assert "expected a file, got a folder" in result.stderr


# --- signs of life --------------------------------------------------------------------------------------------------


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "attnscope", "check", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)


def test_a_line_on_stderr_before_the_answer(file: str) -> None:
    shown = run(f"{file}:right")
    assert shown.stderr == f"checking {file}:right in a process of its own …\n"
    assert "nothing found" in shown.stdout
    assert run(f"{file}:right", "--quiet").stderr == ""


@pytest.mark.skipif(os.name != "posix", reason="needs a pseudo-terminal")
def test_the_line_comes_before_anything_heavy_is_imported(file: str) -> None:
    """The status is on the terminal while torch is not yet imported: no clock, so a busy machine cannot fail it."""
    code = (
        "import sys, attnscope.text.status as s\n"
        "real = s.print if hasattr(s, 'print') else print\n"
        "def first(*args, **options):\n"
        "    real('heavy:', sorted({'torch', 'numpy', 'transformers'} & set(sys.modules)), file=sys.stderr)\n"
        "s.print = first\n"
        "from attnscope.cli import main\n"
        "main(['check', '--model', 'no-such-org/none', 'a cat'])\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE)
    assert result.stderr.startswith("heavy: []\n"), result.stderr
