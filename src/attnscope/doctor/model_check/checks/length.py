"""Text beyond the positions that the model has, or was made for."""

from typing import Any

import torch

from attnscope.doctor.model_check.case import Case
from attnscope.doctor.model_check.runs import LookUps, OutsideTable, attempt, training_flags

_PROBE = 5  # tokens of the text that show which rows of a table are positions


def made_for(config: Any) -> tuple[int, str] | None:
    """How many positions the configuration names, a stretched rotary embedding included, and the words for it."""
    if hasattr(config, "get_text_config"):
        config = config.get_text_config()
    limit = getattr(config, "max_position_embeddings", None)
    if not isinstance(limit, int) or limit <= 0:
        return None
    rope = getattr(config, "rope_parameters", None) or getattr(config, "rope_scaling", None) or {}
    stretched = limit
    for kind in [rope, *[x for x in rope.values() if isinstance(x, dict)]]:
        factor, original = kind.get("factor"), kind.get("original_max_position_embeddings")
        if isinstance(factor, (int, float)):
            stretched = max(stretched, int(factor * (original or limit)))
    words = f"config.max_position_embeddings = {limit}" + (f", stretched to {stretched}" if stretched > limit else "")
    return stretched, words


def table_of_positions(case: Case) -> tuple[int, str] | None:
    """How many positions the model's smallest table of them has, measured on the first tokens, and the words for it.

    RoBERTa's kin begin at row 2 of their table and OPT's too, so that not all rows are positions of a text.
    """
    given = case.inputs.get("input_ids")
    start = case.visible_ids()[:_PROBE]
    if given is None or len(start) < 2:
        return None
    look_ups: LookUps = []
    inputs = {name: x for name, x in case.inputs.items() if name in ("use_cache",)}
    decoder = case.inputs.get("decoder_input_ids")
    if decoder is not None:
        inputs["decoder_input_ids"] = decoder[:1, :1]
    with training_flags(case.model):
        attempt(case.model, {"input_ids": torch.tensor([start], device=given.device), **inputs}, look_ups=look_ups)
    embedding = case.embedding()
    found: list[tuple[int, str]] = []
    for path, table, rows in look_ups:
        first = rows.reshape(-1, rows.shape[-1])[0][: len(start)].tolist() if rows.ndim in (1, 2) else []
        positions = bool(first) and first != start and first == list(range(first[0], first[0] + len(start)))
        if positions and (embedding is None or table is not embedding.weight):
            words = f"{path or 'a table'} has {table.shape[0]} rows"
            if first[0]:
                words += f", and the first token takes row {first[0]}, so {table.shape[0] - first[0]} are left"
            found.append((table.shape[0] - first[0], words))
    return min(found, default=None)


def examine(case: Case, happened: str = "") -> bool:
    """Whether the text is longer than the configuration or the table allows. `happened`: what the model did with it, if it
    failed."""
    if case.ids is None or case.found("beyond-window"):
        return False
    windows = [window for window in (table_of_positions(case), made_for(case.config)) if window is not None]
    if not windows:
        return False
    limit, words = min(windows, key=lambda window: window[0])
    case.conventions["made for"] = f"{limit} tokens"
    longest = max(len(case.visible_ids(row)) for row in range(len(case.ids)))
    if longest <= limit:
        return False
    evidence = f"{words}; {longest - limit} tokens lie beyond" + (f"; {happened}" if happened else "")
    case.report("beyond-window", count=longest, limit=limit, evidence=evidence)
    return True


def report_lookup(case: Case, lookup: OutsideTable) -> None:
    """The model looked up a row that its table does not have: a position, or an id."""
    assert case.ids is not None
    length, embedding = case.ids.shape[1], case.embedding()
    in_embedding = embedding is not None and embedding.weight.shape[0] == lookup.size and lookup.count < length
    consecutive = lookup.high - lookup.low + 1 == lookup.count > 1  # as positions are
    if consecutive and not in_embedding:
        if examine(case, f"the model looked up row {lookup.high}"):
            return
        limit = length - (lookup.high - lookup.size + 1)
        evidence = f"{lookup.path} has {lookup.size} rows, and the model looked up row {lookup.high}"
        case.report("beyond-window", count=length, limit=limit, evidence=evidence)
        return
    wrong = lookup.high if lookup.high >= lookup.size else lookup.low
    case.report(
        "ids-beyond-embedding",
        subject="a look-up",
        table=lookup.path,
        rows=lookup.size,
        evidence=f"the model looked up row {wrong}",
        cure="give token_type_ids, position_ids and decoder_input_ids within their tables, or leave them out",
        place=lookup.path,
    )
