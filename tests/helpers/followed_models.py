"""Tiny models traced with their residual stream, and how each of them writes into it."""

from typing import Any

from torch import Tensor

import attnscope
import tiny_models as tiny
from attnscope.tracing.trace import Trace

PRE_LN = (
    "llama",
    "gpt2",
    "gemma2",
    "qwen3",
    "gpt_neox",
    "opt",
    "gpt_oss",
    "olmo2",
    "granite",
    "cohere",
    "gptj",
    "falcon",
)
PRE_LN += ("deepseek", "gated")
POST_LN = ("bert", "distilbert", "albert", "electra")


def inputs_of(name: str) -> dict[str, Tensor]:
    reads = (tiny.KINDS | tiny.VARIANTS)[name].reads
    both = {"input_ids": tiny.ids(1, 13), "decoder_input_ids": tiny.ids(1, 7, seed=1)}
    return both if reads == "pair" else {"input_ids": tiny.ids(1, 13)}


def traced(name: str, model: Any = None, **options: Any) -> Trace:
    kind = (tiny.KINDS | tiny.VARIANTS)[name]
    model = tiny.model(name, kind.implementations[0]) if model is None else model
    return attnscope.trace(model, None, inputs=inputs_of(name), keep={"stream"}, **options)
