"""Text beyond the positions that the model has, or was made for."""

from typing import Any

from attnscope.doctor.model_check.case import Case
from attnscope.doctor.model_check.runs import OutsideTable


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


def examine(case: Case, raised: str = "") -> bool:
    """Whether the text is longer than the configuration allows. `raised` is the model's own error, if it raised."""
    window = made_for(case.config)
    if case.ids is None or window is None:
        return False
    limit, words = window
    case.conventions["made for"] = f"{limit} tokens"
    longest = max(len(case.visible_ids(row)) for row in range(len(case.ids)))
    if longest <= limit:
        return False
    evidence = f"{words}; {longest - limit} tokens lie beyond" + (f"; the model raises {raised}" if raised else "")
    case.report("beyond-window", count=longest, limit=limit, evidence=evidence)
    return True


def report_lookup(case: Case, lookup: OutsideTable) -> None:
    """The model looked up a row that its table does not have: a position, or an id."""
    assert case.ids is not None
    length, embedding = case.ids.shape[1], case.embedding()
    in_embedding = embedding is not None and embedding.weight.shape[0] == lookup.size and lookup.count < length
    consecutive = lookup.high - lookup.low + 1 == lookup.count > 1  # as positions are
    if consecutive and not in_embedding:
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
