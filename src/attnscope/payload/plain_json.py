"""Tokens and receipts as JSON, and numbers that JSON does not have."""

import base64
import math
from typing import Any

from attnscope.text.spelling import labels
from attnscope.tracing.grids import PatchGrid
from attnscope.tracing.groups import Group
from attnscope.tracing.receipts import Receipt, SiteReceipt
from attnscope.tracing.sounds import Sound
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
    """What only some tokens have: the turns of a chat, the probabilities of what was generated, the grids of images, a sound,
    groups."""
    found: dict[str, Any] = {}
    if tokens.roles:
        found |= {"turns": list(tokens.turns), "roles": list(tokens.roles)}
    if tokens.probability:
        found["probability"] = list(tokens.probability)
        found["rank"] = list(tokens.rank)
        found["runner_up"] = [None if one is None else list(one) for one in tokens.runner_up]
    if tokens.grids:
        found["grids"] = [_grid_to_json(grid) for grid in tokens.grids]
    if tokens.sound is not None:
        found["sound"] = _sound_to_json(tokens.sound)
    if tokens.groups:
        found["groups"] = [[one.name, one.kind, one.start, one.stop, one.parent] for one in tokens.groups]
    return found


def _grid_to_json(grid: PatchGrid) -> dict[str, Any]:
    png = base64.b64encode(grid.png).decode("ascii")
    return {"rows": grid.rows, "columns": grid.columns, "tokens": list(grid.tokens), "png": png}


def _grid_from_json(grid: dict[str, Any]) -> PatchGrid:
    return PatchGrid(grid["rows"], grid["columns"], tuple(grid["tokens"]), base64.b64decode(grid.get("png", "")))


def _sound_to_json(sound: Sound) -> dict[str, Any]:
    pixels = base64.b64encode(sound.pixels).decode("ascii")
    return _picked(sound, "positions each kind rows columns") | {"pixels": pixels}


def _sound_from_json(sound: dict[str, Any] | None) -> Sound | None:
    return None if sound is None else Sound(**{**sound, "pixels": base64.b64decode(sound["pixels"])})


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
        tuple(map(_grid_from_json, table.get("grids", ()))),
        _sound_from_json(table.get("sound")),
        tuple(Group(*one[:4]) for one in table.get("groups", ()) if one[1] == "own"),
        tuple(table.get("rank", ())),
    )


def site_receipt_to_json(receipt: SiteReceipt) -> dict[str, Any]:
    return _picked(receipt, "status max_error tolerance rows of no_key_rows note write_error write_tolerance")


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
