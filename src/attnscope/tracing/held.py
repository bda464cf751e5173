"""What people hold in their hands, opened: the transformers model inside a pipeline, a SentenceTransformer or a module of
one's own that passes a dictionary on.
"""

import inspect
import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from torch import nn

from attnscope.errors import InputError
from attnscope.tracing.signatures import parameters_of

# Of an object with a model: what reads for it, the first that is there.
_READERS = ("tokenizer", "processor", "image_processor", "feature_extractor")


@dataclass(frozen=True)
class Held:
    """`model`: the module to run. `reader`: its tokenizer or processor, None where there is none. `limit`: the most tokens
    that what was given lets through, None where it sets no limit. `notes`: what a reader of the trace must know."""

    model: Any
    reader: Any
    limit: int | None = None
    notes: tuple[str, ...] = ()


def module_of(given: Any) -> Any:
    """The module of an object that is none itself but holds one, such as a pipeline; anything else unchanged."""
    inside = None if isinstance(given, nn.Module) else getattr(given, "model", None)
    return inside if isinstance(inside, nn.Module) else given


def open_held(given: Any, reader: Any = None, names: Collection[str] = ("input_ids",)) -> Held:
    """The module that can be called with tensors of these `names`, and what reads for it.

    `given`: a module, or what holds one. `reader`: the user's own; it comes before the one of `given`. What cannot be
    opened is handed back as it is. Raises InputError where several models are inside, naming each.
    """
    if not hasattr(reader, "convert_ids_to_tokens") and hasattr(
        getattr(reader, "tokenizer", None), "convert_ids_to_tokens"
    ):
        reader = reader.tokenizer  # a processor of text and images: what reads the text in it
    module = module_of(given)
    if not isinstance(module, nn.Module):
        return Held(given, reader)
    path, model = _inside(module, names)
    if model is given:
        return Held(given, reader)
    if reader is None:
        reader = next((one for name in _READERS if (one := getattr(given, name, None)) is not None), None)
    notes = []
    if path:
        notes.append(
            f"The {type(model).__name__} inside this {type(given).__name__} was run: model{spelled('.' + path)}."
        )
    prompt = getattr(given, "default_prompt_name", None)
    if prompt and (words := (getattr(given, "prompts", None) or {}).get(prompt)):
        notes.append(f"Its encode() puts {words!r} before a text; this trace reads the text as it was given.")
    limit = getattr(given, "max_seq_length", None)
    return Held(model, reader, limit if isinstance(limit, int) else None, tuple(notes))


def spelled(path: str) -> str:
    """A module's path as Python: ".0.model" is [0].model."""
    return re.sub(r"\.(\d+)(?=\.|$)", r"[\1]", path)


def _inside(module: nn.Module, names: Collection[str]) -> tuple[str, nn.Module]:
    """Path and module of what takes these names: the module itself, or the one transformers model in it that does."""
    if _takes(module, names):
        return "", module
    found: list[tuple[str, nn.Module]] = []
    for path, inner in module.named_modules():
        around = any(path.startswith(f"{outer}.") for outer, _ in found)
        if path and not around and hasattr(inner, "main_input_name") and _takes(inner, names):
            found.append((path, inner))
    if len(found) > 1:
        paths = ", ".join(f"model{spelled('.' + path)} ({type(inner).__name__})" for path, inner in found)
        raise InputError(
            f"the forward of {type(module).__name__} does not take {' and '.join(sorted(names))}, and {len(found)} models "
            f"inside it do. Give one of them: {paths}."
        )
    return found[0] if found else ("", module)


def _takes(module: nn.Module, names: Collection[str]) -> bool:
    """Whether forward has one of these names as a parameter, or takes any."""
    try:
        own = parameters_of(module.forward)
    except (TypeError, ValueError):  # a forward made in C: nothing is known
        return True
    if not set(names).isdisjoint(own):
        return True
    try:
        inspect.signature(module.forward).bind(**dict.fromkeys(names))
    except TypeError:
        return False
    return True
