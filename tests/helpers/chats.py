"""Chats as tokens: a word or a mark a token, in the spelling of a byte-level vocabulary."""

import re
from collections.abc import Sequence

import torch

from attnscope.text.turns import turns_of
from attnscope.tracing.masks import MaskRule
from attnscope.tracing.site import Site
from attnscope.tracing.tokens import Tokens
from attnscope.tracing.trace import Trace

NEEDLE = (
    "Document 1: The harbour opened late. Fog stayed.\n\nDocument 2: The code is 7412. Keep it!\n\nWhat is the code?"
)


def pieces_of(text: str) -> list[str]:
    """ "The code.\\n\\nWhat" -> The Ġcode . ĊĊ What"""
    return [one.replace(" ", "Ġ").replace("\n", "Ċ") for one in re.findall(r" ?\w+|\n+| ?[^\w\s]", text)]


def chat(messages: Sequence[tuple[str, str]], answer: str = "") -> Tokens:
    """Messages as ChatML writes them, and the beginning of an answer; `answer`: what was generated."""
    strings: list[str] = []
    for role, text in messages:
        strings += ["<|im_start|>", role, "Ċ", *pieces_of(text), "<|im_end|>", "Ċ"]
    strings += ["<|im_start|>", "assistant", "Ċ"]
    border = len(strings)
    strings += pieces_of(answer)
    special = tuple(one.startswith("<|") for one in strings)
    shown = [one.replace("Ċ", "↵").lstrip("Ġ") for one in strings]
    turns, roles = turns_of(shown, special)
    return Tokens(tuple(strings), special=special, turns=turns, roles=roles, border=border if answer else None)


def traced(tokens: Tokens, heads: int = 3, layers: int = 2, size: int = 5, seed: int = 0) -> Trace:
    """A causal trace of random vectors of these tokens."""
    draw = torch.Generator().manual_seed(seed)
    count = len(tokens)
    sites = tuple(
        Site(
            *(torch.randn(heads, count, size, generator=draw) for _ in "qkv"),
            scaling=size**-0.5,
            layer=layer,
            mask=MaskRule(upper=0),
        )
        for layer in range(layers)
    )
    return Trace(sites, tokens)
