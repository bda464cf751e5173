"""The arguments of BertViz's views as a Trace: weights and tokens of one text, of a pair, or of encoder and decoder."""

import operator
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import torch

from attnscope.errors import InputError
from attnscope.tracing.tokens import Tokens, tokens_of_strings
from attnscope.tracing.trace import Trace

NEEDS = {"encoder": ("encoder",), "decoder": ("decoder",), "cross": ("encoder", "decoder")}  # tokens, by stack
HOW = (
    'transformers returns weights when the model was loaded with attn_implementation="eager" and is called with '
    "output_attentions=True (in from_pretrained, output_attentions=True does both); otherwise they are None, or empty. "
    "attnscope.show(model, tokenizer, text) needs neither."
)


def trace_of(
    attention: Any,
    tokens: Any,
    sentence_b_start: Any,
    attentions: Mapping[str, Any],
    names: Mapping[str, Any],
    include_layers: Any,
) -> Trace:
    """A trace of weights only. `attentions` has the stacks "encoder", "decoder" and "cross", and `names` the tokens of the
    first two; None stands for an argument that was not given. The layers that remain keep their numbers."""
    stacks = {stack: given for stack, given in attentions.items() if given is not None}
    sides = {side: given for side, given in names.items() if given is not None}
    if attention is not None:
        if stacks or sides:
            stray = f"{next(iter(stacks))}_attention" if stacks else f"{next(iter(sides))}_tokens"
            raise InputError(
                f"expected attention or {stray}, got both. attention and tokens are for a model with one stack; an "
                "encoder-decoder model has encoder_attention, decoder_attention and cross_attention, with encoder_tokens and "
                "decoder_tokens."
            )
        if tokens is None:
            raise InputError("tokens is missing: a list of strings, such as tokenizer.convert_ids_to_tokens(ids).")
        layers = _layers("attention", attention, include_layers)
        return Trace.from_attentions(layers, _pair(tokens, sentence_b_start))
    if not stacks:
        raise InputError(
            "there is no attention: give attention and tokens; for an encoder-decoder model give at least one of "
            f"encoder_attention, decoder_attention and cross_attention. {HOW}"
        )
    for name, stray in (("tokens", tokens), ("sentence_b_start", sentence_b_start)):
        if stray is not None:
            raise InputError(
                f"{name} belongs to attention; encoder_attention, decoder_attention and cross_attention take encoder_tokens "
                "and decoder_tokens."
            )
    for stack in stacks:
        missing = [f"{side}_tokens" for side in NEEDS[stack] if side not in sides]
        if missing:
            raise InputError(f"{stack}_attention needs {' and '.join(missing)} too, the names of its queries and keys.")
    wanted = {stack: _layers(f"{stack}_attention", given, include_layers) for stack, given in stacks.items()}
    return Trace.from_attentions(wanted, sides)


def _layers(name: str, attention: Any, include: Any) -> Any:
    """The layers to include, with None in place of the others, so that the numbers stay."""
    if isinstance(attention, (list, tuple)) and not any(layer is not None for layer in attention):
        what = "is empty" if not attention else f"holds {len(attention)} layers, all None"
        raise InputError(
            f"{name} {what}. Take outputs.attentions of a model's output by this name: the last entry, outputs[-1], may be "
            f"another field. {HOW}"
        )
    if include is None:
        return attention
    whole = isinstance(attention, torch.Tensor) or hasattr(attention, "__array__")
    layers = list(attention) if whole or isinstance(attention, (list, tuple)) else [attention]
    wanted = numbers("include_layers", include)
    for layer in wanted:
        if not 0 <= layer < len(layers):
            raise InputError(f"include_layers has {layer}; {name} has layers 0 to {len(layers) - 1}.")
    return [layer if number in wanted else None for number, layer in enumerate(layers)]


def _pair(tokens: Any, start: Any) -> Any:
    """The tokens, each with the number of its sentence."""
    if start is None:
        return tokens
    count = len(tokens)
    try:
        start = operator.index(start)
    except TypeError:
        raise InputError(
            f"sentence_b_start is {start!r}; expected the position of sentence B's first token, from 0."
        ) from None
    if not 0 < start < count:
        raise InputError(
            f"sentence_b_start is {start}, and there are {count} tokens: sentence B begins between 1 and {count - 1}."
        )
    if not isinstance(tokens, Tokens):
        if isinstance(tokens, str) or not all(isinstance(token, str) for token in tokens):
            return tokens  # Trace.from_attentions refuses them with a message
        tokens = tokens_of_strings(list(tokens))
    return replace(tokens, segments=(0,) * start + (1,) * (count - start))


def numbers(name: str, given: Any) -> list[int]:
    """Numbers of layers or heads as a list, each once. Raises InputError for anything else."""
    if isinstance(given, (str, bytes)) or not isinstance(given, Iterable):
        raise InputError(f"{name} is {given!r}; expected a list of numbers from 0, such as {name}=[3, 5].")
    try:
        found = list(dict.fromkeys(operator.index(number) for number in given))
    except TypeError:
        raise InputError(f"{name} is {given!r}; expected a list of numbers from 0, such as {name}=[3, 5].") from None
    if not found:
        raise InputError(f"{name} is empty; leave it out to get all of them.")
    return found
