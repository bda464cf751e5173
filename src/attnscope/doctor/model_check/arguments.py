"""From the arguments of `check` to a Case. InputError says what was expected."""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from attnscope.doctor.model_check.case import Case
from attnscope.errors import InputError
from attnscope.tracing.check_text import check_characters

_OTHER_INPUT = ("pixel_values", "input_values", "input_features")  # of models that read images or sound
STARTED = "The decoder read its start token alone."
_ROW_INPUTS = ("input_ids", "attention_mask", "token_type_ids", "position_ids", "decoder_input_ids")


def open_case(model: Any, tokenizer: Any, text: Any, messages: Any, inputs: Any, text_pair: Any) -> Case:
    """Checks the arguments and makes the tensors that the model reads."""
    _check_arguments(model, tokenizer, text, messages, inputs)
    model = getattr(model, "_orig_mod", model)  # what torch.compile wraps
    texts = _check_texts(text, text_pair)
    notes: list[str] = []
    if inputs is not None:
        route, tensors = "inputs", _check_inputs(inputs)
        rows = tensors["input_ids"].shape[0] if "input_ids" in tensors else len(texts)
        if texts and len(texts) != rows:
            raise InputError(
                f"expected one text for each of the {rows} rows of inputs, got {len(texts)}. "
                "Give the text that each row was made from."
            )
    elif messages is not None:
        rendered = _render_chat(tokenizer, messages)
        route, texts = "messages", (rendered,)
        tensors = _tokenize(tokenizer, [rendered], add_special_tokens=False)
    else:
        route, tensors = "text", _tokenize_batch(tokenizer, texts, text_pair, notes)
    ids = tensors.get("input_ids")
    if ids is not None and ids.shape[1] == 0:
        raise InputError("the tokenizer made no tokens from this text. Give at least one word.")
    if route != "inputs":
        names = inspect.signature(model.forward).parameters
        if "input_ids" in names or not any(p.kind is p.VAR_KEYWORD for p in names.values()):
            tensors = {name: x for name, x in tensors.items() if name in names or name == "input_ids"}
    device = next((p.device for p in model.parameters() if not p.is_meta), torch.device("cpu"))
    tensors = {name: x.to(device) if isinstance(x, Tensor) else x for name, x in tensors.items()}
    case = Case(model, tokenizer, tensors, None if ids is None else ids.cpu(), texts, route, text_pair, notes=notes)
    _add_decoder_inputs(case, device)
    return case


def _check_arguments(model: Any, tokenizer: Any, text: Any, messages: Any, inputs: Any) -> None:
    if not isinstance(model, nn.Module):
        raise InputError(
            f"expected the model (a torch module) as the first argument, got {type(model).__name__}. "
            "The tokenizer is the second argument, the text the third."
        )
    if messages is not None and (text is not None or inputs is not None):
        raise InputError(
            "expected messages alone, got messages and another input. Give messages, or text, or inputs "
            "(inputs may come with the text that they were made from)."
        )
    if text is None and messages is None and inputs is None:
        raise InputError(
            "expected something to read, got nothing. Give a text (one string or several), messages=… (a chat) or "
            "inputs=… (ready tensors)."
        )
    if inputs is not None:
        return
    if not callable(tokenizer):
        raise InputError(
            f"expected a tokenizer as the second argument, got {_kind(tokenizer)}. "
            "A text needs a tokenizer; with ready tensors, pass inputs=…."
        )
    main_input = getattr(model, "main_input_name", "input_ids")
    if messages is None and main_input in _OTHER_INPUT:
        raise InputError(
            f"expected inputs=… for {type(model).__name__}, got a text: this model reads {main_input}. "
            "Pass inputs= as its processor returns them."
        )


def _kind(value: Any) -> str:
    return "none" if value is None else type(value).__name__


def _check_texts(text: Any, pair: Any) -> tuple[str, ...]:
    texts = (text,) if isinstance(text, str) else () if text is None else text
    if not isinstance(texts, (list, tuple)) or any(not isinstance(t, str) for t in texts):
        tensors = "; pass ids and masks as inputs=…" if isinstance(text, (Tensor, Mapping)) else ""
        raise InputError(f"text: expected one string, or a list of strings (a batch), got {_kind(text)}{tensors}.")
    if text is not None and (not texts or any(not t.strip() for t in texts)):
        raise InputError("text is empty: there is nothing to read. Give at least one word.")
    if pair is not None and (not isinstance(pair, str) or not pair.strip() or len(texts) != 1):
        raise InputError(
            f"text_pair: expected a string, the second sentence to one text, got {pair!r} to {len(texts)} texts. "
            "Check pairs one at a time."
        )
    for written in (*texts, pair or ""):
        check_characters(written, "text")
    return tuple(texts)


def _render_chat(tokenizer: Any, messages: Any) -> str:
    if not getattr(tokenizer, "chat_template", None):
        raise InputError(
            "messages: expected a tokenizer with a chat template, got one without. "
            "Pass a text instead, or load the tokenizer of a chat model."
        )
    try:
        return str(tokenizer.apply_chat_template(list(messages), tokenize=False))
    except Exception as error:  # a template is a program by the model's authors, and may raise anything
        raise InputError(
            f"the tokenizer's chat template refuses these messages ({type(error).__name__}: {error}). Give a list such as "
            '[{"role": "user", "content": "Hello."}], with the roles that this model knows.'
        ) from error


def _tokenize_batch(tokenizer: Any, texts: Sequence[str], pair: str | None, notes: list[str]) -> dict[str, Any]:
    """As the tokenizer does it by default, with its own padding for several texts."""
    if len(texts) == 1:
        return _tokenize(tokenizer, list(texts), **({} if pair is None else {"text_pair": [pair]}))
    if getattr(tokenizer, "pad_token_id", None) is None:
        longest = max(texts, key=len)
        notes.append("The tokenizer has no pad token, so the texts cannot be one batch: only the longest was run.")
        return _tokenize(tokenizer, [longest])
    return _tokenize(tokenizer, list(texts), padding=True)


def _tokenize(tokenizer: Any, texts: list[str], **options: Any) -> dict[str, Any]:
    try:
        encoded = tokenizer(texts, return_tensors="pt", **options)
        return {name: value for name, value in encoded.items() if isinstance(value, Tensor)}
    except Exception as error:
        raise InputError(
            f"the tokenizer ({type(tokenizer).__name__}) could not turn the text into ids ({type(error).__name__}: "
            f"{error}). Give a Hugging Face tokenizer as the second argument, or ready tensors: inputs=…."
        ) from error


def _check_inputs(inputs: Any) -> dict[str, Any]:
    if not isinstance(inputs, Mapping) or not inputs:
        got = "an empty one" if isinstance(inputs, Mapping) else _kind(inputs)
        raise InputError(
            "inputs: expected a dictionary of what the model's forward takes, such as {'input_ids': tensor}, "
            f"got {got}. Pass what the tokenizer or processor returned."
        )
    try:
        tensors = {n: torch.as_tensor(x) if isinstance(x, (list, tuple, np.ndarray)) else x for n, x in inputs.items()}
    except (ValueError, TypeError) as error:
        raise InputError(f"inputs: expected rows of one length, got what torch refuses ({error}). Pad them.") from error
    for name in _ROW_INPUTS:
        if isinstance(tensors.get(name), Tensor) and tensors[name].ndim == 1:
            tensors[name] = tensors[name][None]
    tensors = _choices_as_rows(tensors)
    ids, mask = tensors.get("input_ids"), tensors.get("attention_mask")
    if ids is not None:
        _check_ids(ids, mask)
    return tensors


def _choices_as_rows(tensors: dict[str, Any]) -> dict[str, Any]:
    """Inputs for multiple choice, [questions, choices, tokens], with a row for each choice."""
    ids = tensors.get("input_ids")
    if not isinstance(ids, Tensor) or ids.ndim != 3:
        return tensors
    return {
        name: x.flatten(0, 1) if isinstance(x, Tensor) and x.shape[:3] == ids.shape else x
        for name, x in tensors.items()
    }


def _check_ids(ids: Any, mask: Any) -> None:
    if isinstance(ids, Tensor) and ids.numel() == 0:
        raise InputError(
            f"inputs['input_ids']: expected at least one token, got shape {list(ids.shape)}. Give at least one word."
        )
    if not isinstance(ids, Tensor) or ids.ndim != 2 or ids.is_floating_point():
        got = f"{list(ids.shape)} of {ids.dtype}" if isinstance(ids, Tensor) else _kind(ids)
        raise InputError(
            f"inputs['input_ids']: expected whole numbers of shape [rows, tokens], got {got}. "
            'Pass what tokenizer(text, return_tensors="pt") returns.'
        )
    if isinstance(mask, Tensor) and mask.ndim == 2 and mask.shape != ids.shape:
        raise InputError(
            f"inputs['attention_mask']: expected one entry for each id, {list(ids.shape)}, got {list(mask.shape)}. "
            "Take both from one call of the tokenizer."
        )


def _add_decoder_inputs(case: Case, device: torch.device) -> None:
    """The start token for a decoder that has nothing to read; and no cache, which passes would share."""
    decoded = {"decoder_input_ids", "decoder_inputs_embeds", "labels"}
    if case.decoder and case.ids is not None and not decoded & case.inputs.keys():
        case.inputs["decoder_input_ids"] = torch.full((len(case.ids), 1), _start_token(case), device=device)
        case.started = True
        case.notes.append(STARTED)
    if "use_cache" not in case.inputs and getattr(case.config, "use_cache", None):
        case.inputs["use_cache"] = False


def _start_token(case: Case) -> int:
    """The first token that the decoder of an encoder-decoder model reads."""
    for owner in (case.config, getattr(case.model, "generation_config", None)):
        value = getattr(owner, "decoder_start_token_id", None)
        if isinstance(value, int):
            return value
    return case.pad_token() or 0
