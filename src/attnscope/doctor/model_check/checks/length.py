"""Text beyond the positions that the model has, or was made for."""

from typing import Any

from attnscope.doctor.model_check.case import Chart
from attnscope.doctor.model_check.runs import Beyond


def made_for(config: Any) -> tuple[int, str] | None:
    """How many positions the configuration speaks of, a stretched rotary embedding included, and how it says so."""
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
    said = f"config.max_position_embeddings = {limit}" + (f", stretched to {stretched}" if stretched > limit else "")
    return stretched, said


def examine(chart: Chart, raised: str = "") -> bool:
    """Longer than the configuration says? Asked after the pass; `raised` is what the model said, where it raised."""
    window = made_for(chart.config)
    if chart.ids is None or window is None:
        return False
    limit, said = window
    chart.conventions["made for"] = f"{limit} tokens"
    longest = max(len(chart.visible(row)) for row in range(len(chart.ids)))
    if longest <= limit:
        return False
    why = "The model has no position for what stands beyond." if raised else "Rotary angles beyond those of training give scores that the model never learned to read."  # fmt: skip
    evidence = f"{said}; {longest - limit} tokens lie beyond" + (f"; the model raises {raised}" if raised else "")
    _found(chart, f"the text has {longest} tokens, and the model was made for {limit}", evidence, limit, why)
    return True


def left_table(chart: Chart, beyond: Beyond) -> None:
    """The model looked up a row that its table does not have."""
    assert chart.ids is not None
    length = chart.ids.shape[1]
    table = chart.embedding()
    if table is not None and table.weight.shape[0] == beyond.size and beyond.count < length:
        _other_table(chart, beyond)
        return
    if beyond.high - beyond.low + 1 == beyond.count and beyond.count > 1:  # consecutive: positions
        limit = length - (beyond.high - beyond.size + 1)
        _found(chart, f"the text has {length} tokens, and the model has positions for {limit}",
               f"{beyond.path} has {beyond.size} rows, and row {beyond.high} was asked for", limit,
               "The model has no position for what stands beyond: the look-up raises, on a GPU for every later call too.")  # fmt: skip
        return
    _other_table(chart, beyond)


def _other_table(chart: Chart, beyond: Beyond) -> None:
    wrong = beyond.high if beyond.high >= beyond.size else beyond.low
    chart.find(
        "ids-beyond-embedding", f"a look-up outside {beyond.path}, which has {beyond.size} rows",
        why="On a CPU the look-up raises; on a GPU it ends every later call too.",
        evidence=f"row {wrong} was asked for",
        cure="give token_type_ids, position_ids and decoder_input_ids within their tables, or leave them out",
        invariant="every id is a row of its table", place=beyond.path,
    )  # fmt: skip


def _found(chart: Chart, title: str, evidence: str, limit: int, why: str) -> None:
    chart.find(
        "beyond-window", title, why=why, evidence=evidence,
        cure=f'split the text, or cut it: tokenizer(text, truncation=True, max_length={limit}, return_tensors="pt"); in attnscope: trace(…, truncate=True)',
        invariant="every token has a position that the model learned", place="the length of the text",
    )  # fmt: skip
