"""The texts of a call of effects, each with its target and alternative; and the call in words."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from attnscope.errors import InputError
from attnscope.head_effects.asked import OwnTokens
from attnscope.tracing.places import is_number

Case = tuple[Any, Any, Any]  # text, target, alternative


def cases_of(texts: Any, target: Any, against: Any) -> list[Case]:
    """Each text with its target and alternative. Raises InputError where they do not fit."""
    several = [texts] if isinstance(texts, (str, Mapping)) else [*texts] if isinstance(texts, Sequence) else []
    if not several:
        raise InputError("effects needs a text, or a list of texts: effects(model, tokenizer, texts, target=…).")
    alone = isinstance(texts, (str, Mapping))
    wanted, other = (
        _per_text(one, len(several), alone, name) for one, name in ((target, "target"), (against, "against"))
    )
    cases = []
    for text, its, alternative in zip(several, wanted, other, strict=True):
        its = OwnTokens() if its is None else its
        if isinstance(text, tuple):
            if not 2 <= len(text) <= 3:
                raise InputError(f"expected (text, target) or (text, target, against), got {len(text)} things.")
            text, its, alternative = (*text, alternative)[:3]
        if not isinstance(text, (str, Mapping)):
            raise InputError(f"expected texts as text or mappings of inputs, got {type(text).__name__}.")
        cases.append((text, its, alternative))
    return cases


def _per_text(given: Any, count: int, alone: bool, name: str) -> list[Any]:
    if alone or given is None or isinstance(given, (str, OwnTokens)) or is_number(given):
        return [given] * count
    found = list(given)
    if len(found) != count:
        raise InputError(
            f"{name} is a list of {len(found)}, and there are {count} texts: give one for all, or one for each."
        )
    return found


def asked_in_words(cases: Sequence[Case], tokenizer: Any) -> str:
    """What is asked. `tokenizer`: spells ids."""

    def word(one: Any) -> str:
        if isinstance(one, str) or one is None or not hasattr(tokenizer, "decode"):
            return repr(one)
        return repr(tokenizer.decode([one] if is_number(one) else list(one)))

    targets = {(repr(target), repr(other)): (target, other) for _, target, other in cases}
    target, other = next(iter(targets.values()))
    if isinstance(target, OwnTokens):
        return "the text itself"
    said = f"{word(target)}" + ("" if other is None else f" against {word(other)}")
    return said if len(targets) == 1 else f"{said}, and others by text"


def key_of(model: str, cases: Sequence[Case], reference: str, more: Any) -> str:
    """What tells two calls apart."""
    said = repr((model, [_told(case) for case in cases], reference, more))
    return hashlib.sha256(said.encode()).hexdigest()[:16]


def _told(case: Any) -> Any:
    text, *rest = case
    return (
        {name: value.tolist() if hasattr(value, "tolist") else value for name, value in text.items()}
        if isinstance(text, Mapping)
        else text,
        rest,
    )
