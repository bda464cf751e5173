"""Positions that no text fills: the learned vectors of prompt tuning and prefix tuning (peft)."""

from typing import Any

from attnscope.tracing.tokens import Tokens


def with_virtual(model: Any, named: Tokens, target: Tokens | None = None) -> tuple[Tokens, Tokens | None]:
    """What was read, and what the decoder read, after as many tokens named "virtual 0", "virtual 1" … as the model's active
    adapter puts before it. In a model with a decoder, prefix tuning puts them before what the decoder reads."""
    config = getattr(model, "active_peft_config", None)
    count = getattr(config, "num_virtual_tokens", None)
    if not isinstance(count, int) or count < 1 or getattr(config, "is_prompt_learning", False) is not True:
        return named, target
    if target is not None and "PREFIX" in str(getattr(config, "peft_type", "")):
        return named, _after(count, target)
    return _after(count, named), target


def _after(count: int, named: Tokens) -> Tokens:
    first = tuple(f"virtual {n}" for n in range(count))
    return Tokens(
        first + named.strings,
        special=(True,) * count + named.special,
        words=(None,) * count + named.words,
        word_text=named.word_text,
        segments=(0,) * count + named.segments,
        border=None if named.border is None else named.border + count,
        shown=first + named.shown,
    )
