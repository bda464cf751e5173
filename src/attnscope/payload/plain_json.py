"""Tokens and receipts as JSON, and numbers that JSON does not have."""

import math
from typing import Any

from attnscope.text.spelling import labels
from attnscope.tracing.receipts import Receipt, SiteReceipt
from attnscope.tracing.tokens import Tokens


def tokens_to_json(tokens: Tokens) -> dict[str, Any]:
    """A table of tokens, and of each what is shown: its label, its word, whether a space stands before it."""
    found = labels(tokens)
    return {
        "text": list(tokens.strings),
        "ids": list(tokens.ids),
        "special": list(tokens.special),
        "words": list(tokens.words),
        "word_text": list(tokens.word_text),
        "segments": list(tokens.segments),
        "offsets": [list(o) for o in tokens.offsets],
        "written": tokens.text,
        "border": tokens.border,
        "shown": list(tokens.shown),
        "whole": [label.whole for label in found],
        "tight": [label.tight for label in found],
        **_beside(tokens),
    }


def _beside(tokens: Tokens) -> dict[str, Any]:
    """What only some texts have: the turns of a chat, and the probabilities of what was generated."""
    found: dict[str, Any] = {}
    if tokens.roles:
        found |= {"turns": list(tokens.turns), "roles": list(tokens.roles)}
    if tokens.probability:
        found["probability"] = list(tokens.probability)
        found["runner_up"] = [None if one is None else list(one) for one in tokens.runner_up]
    return found


def tokens_from_json(table: dict[str, Any]) -> Tokens:
    return Tokens(
        tuple(table["text"]),
        tuple(table["ids"]),
        tuple(table["special"]),
        tuple(table["words"]),
        tuple(table["word_text"]),
        tuple(table["segments"]),
        tuple((start, end) for start, end in table.get("offsets", ())),
        table.get("written", ""),
        table["border"],
        tuple(table.get("shown", ())),
        tuple(table.get("turns", ())),
        tuple(table.get("roles", ())),
        tuple(table.get("probability", ())),
        tuple(None if one is None else (one[0], one[1]) for one in table.get("runner_up", ())),
    )


def site_receipt_to_json(receipt: SiteReceipt) -> dict[str, Any]:
    return _picked(receipt, "status max_error tolerance rows of no_key_rows note")


def receipt_to_json(receipt: Receipt) -> dict[str, Any]:
    return _picked(receipt, "passed max_error tolerance rows of")


def _picked(thing: Any, names: str) -> dict[str, Any]:
    return {name: getattr(thing, name) for name in names.split()}


def plain(value: Any) -> Any:
    """JSON has no NaN or infinity: they are written as strings."""
    if isinstance(value, float) and not math.isfinite(value):
        return "nan" if math.isnan(value) else ("inf" if value > 0 else "-inf")
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value
