"""What the numbers of a survey depend on: the model, the code and the options; and where they were computed."""

import hashlib
import json
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor, nn

import attnscope
from attnscope._version import __version__
from attnscope.errors import AttnscopeError
from attnscope.tracing.modules import model_name

ROOMS = ("attention", "capturing", "models", "statistics", "surveys", "tracing")  # whose code makes the numbers
WHERE = ("torch", "transformers", "device", "threads", "cpu")  # rounding may differ with these, and nothing else


@dataclass(frozen=True)
class Options:
    """`shard`: documents of a shard, at most. `window`: tokens that the model reads at once; None: any number. `field`:
    names the text in a row. `texts`: whether the documents' own words are written. `statistics`: names of those on request,
    beside those of the model level."""

    shard: int
    window: int | None
    field: str
    texts: bool
    statistics: tuple[str, ...] = ()


@dataclass(frozen=True)
class Settings:
    """`told`: as the manifest has it. `options`: the same as an object."""

    told: dict[str, Any]
    options: Options

    @property
    def threads(self) -> int:
        return self.told["threads"]

    @property
    def digest(self) -> str:
        """A hash of all but where it was computed."""
        return _digest({name: value for name, value in self.told.items() if name not in WHERE})

    def differences(self, earlier: dict[str, Any]) -> tuple[list[str], list[str]]:
        """From an earlier manifest: those that make other numbers, and those that may round otherwise."""
        lines: tuple[list[str], list[str]] = [], []
        known = _flat(earlier)
        for name, value in _flat(self.told).items():
            before = known.get(name)
            if before != value:
                lines[name in WHERE].append(f"{name} was {before!r}, and is {value!r}")
        return lines


def settings_of(model: nn.Module, tokenizer: Any, options: Options, threads: int, device: str) -> Settings:
    """`device`: where the model will run."""
    told = {
        "model": {"name": model_name(model), "class": type(model).__name__, "weights": weights_digest(model)},
        "tokenizer": tokenizer_digest(tokenizer),
        "code": {"version": __version__, "source": code_digest()},
        "dtype": str(next(model.parameters()).dtype).removeprefix("torch."),
        "implementation": str(getattr(getattr(model, "config", None), "_attn_implementation", "")),
        "options": {**asdict(options), "statistics": [*options.statistics]},  # as JSON has it
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "device": device,
        "threads": threads,
        "cpu": f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}",
    }
    return Settings(told, options)


@contextmanager
def pinned(settings: Settings) -> Iterator[None]:
    """Compute as the manifest says: with its threads, and without the compiled pass, which takes over in mid-run. Raises
    AttnscopeError where this machine cannot."""
    here = {"torch": torch.__version__, "cpu": f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}"}
    if wrong := [f"{name} is {value}" for name, value in here.items() if value != settings.told[name]]:
        raise AttnscopeError(
            f"a worker of the survey is not as its manifest says: {'; '.join(wrong)}. Give workers with the same software and "
            "the same kind of processor."
        )
    threads, switch = torch.get_num_threads(), os.environ.get("ATTNSCOPE_COMPILED")
    torch.set_num_threads(settings.threads)
    os.environ["ATTNSCOPE_COMPILED"] = "0"
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        if switch is None:
            del os.environ["ATTNSCOPE_COMPILED"]
        else:
            os.environ["ATTNSCOPE_COMPILED"] = switch


def weights_digest(model: nn.Module) -> str:
    """A hash of every parameter and buffer; of those that are kept elsewhere, of their shapes alone."""
    found = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        if isinstance(tensor, Tensor):
            found.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
            if not tensor.is_meta:
                data = tensor.detach().cpu().contiguous().flatten()
                found.update(data.view(torch.uint8).numpy().data)
    return found.hexdigest()[:32]


def tokenizer_digest(tokenizer: Any) -> str:
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is not None:
        return _digest(backend.to_str())
    if hasattr(tokenizer, "to_json_string"):  # a processor
        return _digest(tokenizer.to_json_string())
    known = tokenizer.get_vocab() if hasattr(tokenizer, "get_vocab") else {}
    return _digest([type(tokenizer).__name__, sorted(known.items())])


def code_digest() -> str:
    """A hash of the rooms that make the numbers."""
    root, found = Path(attnscope.__file__).parent, hashlib.sha256()
    for path in sorted(path for room in ROOMS for path in (root / room).rglob("*.py")):
        if "atlas" not in path.parts:
            found.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    return found.hexdigest()[:32]


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:32]


def _flat(told: dict[str, Any], before: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in told.items():
        found |= _flat(value, f"{before}{name}.") if isinstance(value, dict) else {before + name: value}
    return found
