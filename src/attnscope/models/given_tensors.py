"""Ready tensors, checked before the model sees them: what it would say of them itself is no help, or nothing."""

import inspect
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from attnscope.errors import InputError

# Inputs whose first axis is the batch.
_ROWS = frozenset(
    "input_ids attention_mask token_type_ids decoder_input_ids pixel_values input_features inputs_embeds".split()
)
_PARTS = frozenset({"pixel_values", "input_features", "input_values"})
_IDS = ("input_ids", "decoder_input_ids")
_NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


def ready_tensors(model: Any, inputs: Any) -> dict[str, Any]:
    """Ready tensors: a batch of one; lists and arrays become tensors. Raises InputError for what cannot be right."""
    if not isinstance(inputs, Mapping):
        raise InputError(
            f"expected inputs as a mapping of what the model's forward takes, such as {{'input_ids': tensor}}, got {type(inputs).__name__}. "
            "Pass what the tokenizer or processor returned; ids alone are given as ids=…."
        )
    if not inputs:
        raise InputError("inputs is empty: give the tensors that the model's forward takes, such as input_ids.")
    _check_names(model, inputs)
    ready = {name: _tensor(name, x) for name, x in inputs.items()}
    # Beside ids, the first axis of pixels and sounds may count images, crops, patches or clips of the one text.
    rows = _ROWS - _PARTS if "input_ids" in ready or "inputs_embeds" in ready else _ROWS
    for name in (_ROWS | _PARTS) & ready.keys():
        value = ready[name]
        if value.ndim == 1:
            ready[name] = value = value[None]
        if name in rows and value.shape[0] != 1 and (name != "pixel_values" or value.ndim > 2):
            raise InputError(
                f"inputs[{name!r}] is a batch of {value.shape[0]} rows, and a trace is of one: pass one row "
                "({name: value[:1] for name, value in inputs.items()}), or use attnscope.capture and recorder.trace(index=…)."
            )
        if 0 in value.shape:
            raise InputError(f"inputs[{name!r}] has shape {list(value.shape)}: there is nothing to attend to.")
    for name in _IDS:
        if name in ready:
            _check_ids(name, ready[name], beside=not _PARTS.isdisjoint(ready))
    _check_mask(ready)
    return ready


def _tensor(name: str, given: Any) -> Any:
    """Lists and arrays as tensors; what the model has a name of its own for stays."""
    made = given
    if isinstance(given, (list, tuple, np.ndarray)):
        try:
            made = torch.as_tensor(given)
        except (TypeError, ValueError, RuntimeError) as error:
            if name not in _ROWS | _PARTS:
                return given
            raise InputError(
                f"inputs[{name!r}] is no tensor, and cannot be made one ({str(error).splitlines()[0]}). Give rows of one length "
                "of numbers, as the tokenizer or processor returns them."
            ) from None
    if name in _ROWS | _PARTS and not isinstance(made, Tensor):
        raise InputError(
            f"expected inputs[{name!r}] as a tensor or a list of numbers, got {type(given).__name__}. Pass what the tokenizer or "
            "processor returned."
        )
    if isinstance(made, Tensor) and made.is_complex() and name not in _IDS:
        raise InputError(
            f"inputs[{name!r}] has complex numbers ({str(made.dtype).removeprefix('torch.')}); expected real ones. Of a spectrum, give its "
            "magnitude (x.abs()), as the processor does; of pairs of numbers, torch.view_as_real(x)."
        )
    return made


def _check_names(model: Any, inputs: Mapping[Any, Any]) -> None:
    """Refuse inputs none of which the model's forward names: it would take them in silence, and miss its own."""
    try:
        signature = inspect.signature(model.forward).parameters.values()
    except (AttributeError, TypeError, ValueError):
        return
    named = [one.name for one in signature if one.kind in _NAMED]
    if named and not any(name in named for name in inputs):
        shown = ", ".join(named[:8]) + (", …" if len(named) > 8 else "")
        raise InputError(
            f"inputs has {', '.join(map(repr, list(inputs)[:4]))}, and the forward of {type(model).__name__} takes {shown}. Give the "
            "tensors by these names."
        )


def _check_ids(name: str, ids: Tensor, beside: bool) -> None:
    """`beside`: there are images or sounds, whose places in the text some models mark by ids below 0."""
    if ids.is_floating_point() or ids.is_complex() or ids.dtype == torch.bool:
        raise InputError(
            f"expected inputs[{name!r}] as whole numbers, got {str(ids.dtype).removeprefix('torch.')}. Pass what the tokenizer returns; "
            "vectors in place of ids are inputs_embeds."
        )
    if ids.numel() and int(ids.min()) < 0 and not beside:
        raise InputError(
            f"inputs[{name!r}] has {int(ids.min())}, and ids count from 0. -100 marks labels that a loss leaves out: give the ids "
            "from before that."
        )


def _check_mask(ready: Mapping[str, Any]) -> None:
    mask, ids = ready.get("attention_mask"), ready.get("input_ids")
    if not isinstance(mask, Tensor):
        return
    if mask.is_floating_point() and bool(mask.isnan().any()):
        raise InputError(
            "inputs['attention_mask'] holds NaN. Give 1 for tokens that may be seen and 0 for padding, as the tokenizer does."
        )
    if mask.ndim == 2 and mask.dtype != torch.bool and mask.numel() and float(mask.min()) < 0:
        raise InputError(
            f"inputs['attention_mask'] holds {mask.min():g}. With two axes it says which tokens may be seen: give 1 for these and 0 for padding, "
            "as the tokenizer does."
        )
    if mask.is_floating_point() and mask.ndim == 4 and bool((mask == 1).any()) and bool((mask * (mask - 1) == 0).all()):
        raise InputError(
            "inputs['attention_mask'] has four axes and holds 0 and 1 as floats. Such a mask is added to the scores, and then a 1 would hide "
            "nothing. If 1 means that a query may look, give mask.bool(); if 0 means it, give mask == 0."
        )
    past = ready.get("past_key_values") is not None
    if isinstance(ids, Tensor) and ids.ndim == 2 and mask.ndim == 2 and mask.shape != ids.shape and not past:
        raise InputError(
            f"inputs['attention_mask'] has shape {list(mask.shape)}, and input_ids {list(ids.shape)}: give one entry for each token. "
            "Take both from one call of the tokenizer."
        )
