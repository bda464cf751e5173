"""From what the user gives to a Chart; InputError says what was expected."""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from attnscope.doctor.model_check.case import Chart
from attnscope.errors import InputError


def open_chart(
    model: Any, tokenizer: Any, text: Any, messages: Any, inputs: Any, text_pair: Any
) -> Chart:  # fmt: skip
    """Checks the arguments and makes the tensors that the model is to read."""
    if not isinstance(model, nn.Module):
        raise InputError(f"the first argument must be the model, a torch module; {type(model).__name__} came. The tokenizer is the second, the text the third.")  # fmt: skip
    model = getattr(model, "_orig_mod", model)  # what torch.compile wraps
    if messages is not None and (text is not None or inputs is not None):
        raise InputError("give messages, or text, or inputs (which may come with the text they were made of); messages came with another.")  # fmt: skip
    if text is None and messages is None and inputs is None:
        raise InputError("there is nothing to read: give a text (one string or several), messages=… (a chat) or inputs=… (ready tensors).")  # fmt: skip
    if inputs is None and not callable(tokenizer):
        raise InputError(f"a text needs a tokenizer as the second argument, and {'none' if tokenizer is None else type(tokenizer).__name__} came; with ready tensors, pass inputs=….")  # fmt: skip
    texts = _texts(text, text_pair)
    notes: list[str] = []
    if inputs is not None:
        route, ready = "inputs", _ready(inputs)
        rows = ready["input_ids"].shape[0] if "input_ids" in ready else len(texts)
        if texts and len(texts) != rows:
            raise InputError(
                f"inputs has {rows} rows and {len(texts)} texts came: give the text that each row was made of."
            )
    elif messages is not None:
        rendered = _rendered(tokenizer, messages)
        route, texts = "messages", (rendered,)
        ready = _tensors(tokenizer, [rendered], add_special_tokens=False)
    else:
        main = getattr(model, "main_input_name", "input_ids")
        if main in ("pixel_values", "input_values", "input_features"):
            raise InputError(f"{type(model).__name__} reads {main}, not text: pass inputs=…, as its processor returns them.")  # fmt: skip
        route, ready = "text", _tokenized(tokenizer, texts, text_pair, notes)
    ids = ready.get("input_ids")
    if ids is not None and ids.shape[1] == 0:
        raise InputError("the tokenizer made no tokens of this text: give at least one word.")
    if route != "inputs":
        names = inspect.signature(model.forward).parameters
        ready = {name: x for name, x in ready.items() if name in names} if "input_ids" in names else ready
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    ready = {name: x.to(device) if isinstance(x, Tensor) else x for name, x in ready.items()}
    chart = Chart(model, tokenizer, ready, None if ids is None else ids.cpu(), texts, route, text_pair, notes=notes)
    _complete(chart, device)
    return chart


def _texts(text: Any, pair: Any) -> tuple[str, ...]:
    texts = () if text is None else (text,) if isinstance(text, str) else tuple(text) if isinstance(text, (list, tuple)) else None  # fmt: skip
    if texts is None or any(not isinstance(t, str) for t in texts):
        raise InputError(f"text is one string, or a list of strings (a batch); {type(text).__name__} came"
                         + ("; ids and masks go into inputs=…." if isinstance(text, (Tensor, Mapping)) else "."))  # fmt: skip
    if text is not None and (not texts or any(not t.strip() for t in texts)):
        raise InputError("text is empty: there is nothing to read. Give at least one word.")
    if pair is not None and (not isinstance(pair, str) or not pair.strip() or len(texts) != 1):
        raise InputError(f"text_pair is the second sentence to one text: a string; {pair!r} came beside {len(texts)} texts.")  # fmt: skip
    return texts


def _rendered(tokenizer: Any, messages: Any) -> str:
    if not getattr(tokenizer, "chat_template", None):
        raise InputError("this tokenizer has no chat template, so messages cannot be turned into a text: pass a text instead.")  # fmt: skip
    try:
        return str(tokenizer.apply_chat_template(list(messages), tokenize=False))
    except Exception as error:  # a template is a program of the model's authors, and raises what it likes
        raise InputError(
            f"the tokenizer's chat template refuses these messages ({type(error).__name__}: {error}). Give a list such as "
            '[{"role": "user", "content": "Hello."}], with the roles that this model knows.'
        ) from error


def _tokenized(tokenizer: Any, texts: Sequence[str], pair: str | None, notes: list[str]) -> dict[str, Any]:
    """As the tokenizer does it by default; several texts are padded as it pads."""
    if len(texts) == 1:
        return _tensors(tokenizer, list(texts), **({} if pair is None else {"text_pair": [pair]}))
    if getattr(tokenizer, "pad_token_id", None) is None:
        longest = max(texts, key=len)
        notes.append("The tokenizer has no pad token, so the texts cannot be one batch: only the longest was run.")
        return _tensors(tokenizer, [longest])
    return _tensors(tokenizer, list(texts), padding=True)


def _tensors(tokenizer: Any, texts: list[str], **options: Any) -> dict[str, Any]:
    try:
        encoded = tokenizer(texts, return_tensors="pt", **options)
        return {name: value for name, value in encoded.items() if isinstance(value, Tensor)}
    except Exception as error:
        raise InputError(
            f"the tokenizer ({type(tokenizer).__name__}) could not turn the text into ids ({type(error).__name__}: "
            f"{error}). Give a Hugging Face tokenizer as the second argument, or ready tensors: inputs=…."
        ) from error


def _ready(inputs: Any) -> dict[str, Any]:
    if not isinstance(inputs, Mapping) or not inputs:
        raise InputError(f"inputs is what the model's forward takes, by name, such as {{'input_ids': tensor}}; {'an empty one' if isinstance(inputs, Mapping) else type(inputs).__name__} came.")  # fmt: skip
    try:
        ready = {n: torch.as_tensor(x) if isinstance(x, (list, tuple, np.ndarray)) else x for n, x in inputs.items()}
    except (ValueError, TypeError) as error:
        raise InputError(f"inputs could not be made into tensors ({error}): rows of a batch have one length.") from error  # fmt: skip
    for name in ("input_ids", "attention_mask", "token_type_ids", "position_ids", "decoder_input_ids"):
        if isinstance(ready.get(name), Tensor) and ready[name].ndim == 1:
            ready[name] = ready[name][None]
    ids, mask = ready.get("input_ids"), ready.get("attention_mask")
    if ids is not None:
        if not isinstance(ids, Tensor) or ids.ndim != 2 or ids.is_floating_point():
            came = f"{list(ids.shape)} of {ids.dtype}" if isinstance(ids, Tensor) else type(ids).__name__
            raise InputError(f"inputs['input_ids'] must be whole numbers of shape [rows, tokens]; {came} came.")
        if 0 in ids.shape:
            raise InputError(f"inputs['input_ids'] has shape {list(ids.shape)}: there is nothing to read.")
        if isinstance(mask, Tensor) and mask.ndim == 2 and mask.shape != ids.shape:
            raise InputError(f"inputs['attention_mask'] has shape {list(mask.shape)}, and input_ids {list(ids.shape)}: one entry for each id.")  # fmt: skip
    return ready


def _complete(chart: Chart, device: torch.device) -> None:
    """What the forward pass needs besides: a decoder's start, and no cache."""
    config = chart.config
    if chart.decoder and chart.ids is not None and not {"decoder_input_ids", "decoder_inputs_embeds", "labels"} & chart.inputs.keys():  # fmt: skip
        chart.inputs["decoder_input_ids"] = torch.full((len(chart.ids), 1), start_token(chart), device=device)
        chart.notes.append("The decoder read its start token alone.")
    if "use_cache" not in chart.inputs and getattr(config, "use_cache", None):
        chart.inputs["use_cache"] = False


def start_token(chart: Chart) -> int:
    """What the decoder of an encoder-decoder model reads first."""
    for owner in (chart.config, getattr(chart.model, "generation_config", None)):
        value = getattr(owner, "decoder_start_token_id", None)
        if isinstance(value, int):
            return value
    return chart.pad() or 0
