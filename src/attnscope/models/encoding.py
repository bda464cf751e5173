"""From a text, a pair of texts or a chat to token ids."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from attnscope.errors import InputError
from attnscope.tracing.check_text import check_characters
from attnscope.tracing.segments import segments_of_pair, segments_of_types
from attnscope.tracing.signatures import parameters_of

_ANY = frozenset({"args", "kwargs"})  # the parameters of a forward that names none, as a wrapper's


@dataclass(frozen=True)
class Encoded:
    """`inputs`: the model's, [1, T] each. `encoding`: the fast tokenizer's own, None where there is none. `texts`: what was
    read, one or two. `segments`: 0 and 1 for the texts of a pair where no encoding tells them apart."""

    inputs: dict[str, Any]
    encoding: Any
    texts: list[str]
    segments: tuple[int, ...] = ()


def encode(
    reader: Any,
    text: str | None,
    text_pair: str | None,
    messages: Sequence[Mapping[str, Any]] | None,
    continues: bool = False,
) -> Encoded:
    """What the tokenizer makes of a text, a pair of texts or a chat. `continues`: the model goes on from here."""
    if reader is None or not callable(reader):
        raise InputError(
            "a text needs a tokenizer as the second argument; with ready tensors, pass inputs=… instead of a text."
        )
    if isinstance(reader, nn.Module):
        raise InputError(
            f"expected a tokenizer as the second argument, got {type(reader).__name__}, which is a model: trace(model, tokenizer, text)."
        )
    tokenizer: Any = reader  # callable() would narrow the type to a plain function
    if messages is not None:
        if not getattr(tokenizer, "chat_template", None):
            raise InputError(
                "this tokenizer has no chat template, so messages cannot be turned into a text: pass text=… instead."
            )
        check_messages(messages)
        try:
            begins = continues or awaits_answer(messages)
            text = tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=begins)
        except Exception as error:  # a template is a program of the model's authors, and raises what it likes
            raise InputError(
                f"the tokenizer's chat template refuses these messages ({type(error).__name__}: {error}). Give a list such as "
                '[{"role": "user", "content": "Hello."}], with the roles that this model knows.'
            ) from error
        check_characters(str(text), "messages")
        encoded = tokenizer(text, return_tensors="pt", add_special_tokens=False)
        return Encoded(_tensors(encoded), _fast_encoding(encoded), [str(text)])
    for name, value in (("text", text), ("text_pair", text_pair)):
        if value is not None and not isinstance(value, str):
            hint = (
                "; pass one of them, or use attnscope.capture for a batch" if isinstance(value, (list, tuple)) else ""
            )
            raise InputError(f"expected {name} as one string, got {type(value).__name__}{hint}.")
        if value is not None and not value.strip():
            raise InputError(f"{name} is empty: there is nothing to attend to. Give at least one word.")
        check_characters(value or "", name)
    arguments: list[Any] = [text] if text_pair is None else [text, text_pair]
    encoded = _read_by(tokenizer, arguments)
    inputs, encoding = _tensors(encoded), _fast_encoding(encoded)
    if inputs["input_ids"].shape[-1] == 0:
        raise InputError(f"the tokenizer made no tokens of {text!r}. Give at least one word.")
    segments = _segments(tokenizer, inputs, text_pair) if text_pair is not None and encoding is None else ()
    return Encoded(inputs, encoding, [a for a in arguments if a is not None], segments)


def _read_by(tokenizer: Any, texts: list[Any]) -> Any:
    """What the tokenizer makes of one or two texts. Raises InputError where it is something else that can be called."""
    try:
        encoded = tokenizer(*texts, return_tensors="pt", truncation=False, padding=False)
    except Exception as error:
        if hasattr(tokenizer, "convert_ids_to_tokens"):
            raise
        got = f"it raised {type(error).__name__}: {error}"
    else:
        if isinstance(encoded, Mapping) and "input_ids" in encoded:
            return encoded
        got = f"it returned {type(encoded).__name__} without input_ids"
    raise InputError(
        f"the tokenizer ({type(tokenizer).__name__}) could not turn the text into ids: {got}. Give a Hugging Face tokenizer, or ready "
        "tensors as inputs=…."
    )


def _segments(tokenizer: Any, inputs: Mapping[str, Any], pair: str) -> tuple[int, ...]:
    """Which text a token is of, where the tokenizer is written in Python: by its token types, else by the second text's ids."""
    if told := segments_of_types(inputs.get("token_type_ids")):
        return told
    ids, special = inputs["input_ids"][0].tolist(), set(getattr(tokenizer, "all_special_ids", ()))
    alone = tokenizer(pair, add_special_tokens=False)["input_ids"]
    return segments_of_pair(ids, alone, [i in special for i in ids])


def check_messages(messages: Any) -> None:
    """A template prints what is missing as nothing, so a message of the wrong form would go through in silence."""
    expected = 'each is a mapping with a "role" and a "content", such as {"role": "user", "content": "Hello."}'
    if isinstance(messages, (str, Mapping)) or not isinstance(messages, Sequence) or not messages:
        got = "an empty one" if isinstance(messages, Sequence) and not messages else type(messages).__name__
        raise InputError(f"expected messages as a list of messages, got {got}: {expected}.")
    for position, message in enumerate(messages):
        known = isinstance(message, Mapping)
        # A call of a tool may stand in place of a content.
        if not known or "role" not in message or not ({"content", "tool_calls"} & message.keys()):
            got = f"the keys {', '.join(map(repr, message)) or 'of nothing'}" if known else repr(message)[:60]
            raise InputError(f"messages[{position}] is not a message: {expected}; got {got}.")


def awaits_answer(messages: Sequence[Mapping[str, Any]]) -> bool:
    """Whether the model speaks next. Then the chat ends with what its template puts before an answer, as in transformers' pipelines: from there
    the answer is written, and not from the end of the question."""
    return messages[-1]["role"] not in ("assistant", "model")


def _tensors(encoded: Any) -> dict[str, Any]:
    """What is a tensor of what a tokenizer gives, or a list of numbers from one that knows no tensors; [1, T] each."""
    made = {name: torch.as_tensor(x) if _is_numbers(x) else x for name, x in encoded.items()}
    return {name: x if x.ndim > 1 else x[None] for name, x in made.items() if isinstance(x, Tensor)}


def _is_numbers(value: Any) -> bool:
    row = value[0] if isinstance(value, list) and value and isinstance(value[0], list) else value
    return isinstance(row, list) and all(isinstance(one, int) for one in row)


def wanted_by(model: Any, ready: dict[str, Any]) -> dict[str, Any]:
    """What of a tokenizer's output the model's forward takes by name; all, where its signature does not say."""
    if hasattr(model, "get_base_model") and set(parameters_of(model.forward)) <= _ANY:
        model = model.get_base_model()  # peft's wrapper names nothing itself
    names = parameters_of(model.forward) if hasattr(model, "forward") else ()
    return {name: value for name, value in ready.items() if name in names} if "input_ids" in names else ready


def accepts(model: Any, name: str) -> bool:
    """Whether forward has this parameter; or names none, as wrappers do, and so takes any."""
    names = parameters_of(model.forward) if hasattr(model, "forward") else ()
    return name in names or set(names) <= _ANY


def _fast_encoding(encoded: Any) -> Any:
    encodings = getattr(encoded, "encodings", None)
    return encodings[0] if encodings else None
