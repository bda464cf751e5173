"""What can be seen in the ids alone: the table's end, the begin token, what was cut off."""

from attnscope.doctor.model_check.case import Chart
from attnscope.doctor.model_check.checks import special_tokens

_PROBE = "zebra"


def examine(chart: Chart) -> None:
    if chart.ids is None:
        chart.not_examined.append("special tokens, chat template, length: these inputs hold no input_ids")
        return
    ids_in_table(chart)
    if chart.tokenizer is None or not callable(chart.tokenizer):
        chart.not_examined.append("special tokens, chat template, cut texts: no tokenizer was given")
        return
    begin_token(chart)
    special_tokens.special_pieces(chart)
    special_tokens.chat_template(chart)
    cut(chart)


def ids_in_table(chart: Chart) -> None:
    table = chart.embedding()
    if table is None or chart.ids is None:
        chart.not_examined.append("ids beyond the embedding: the model names no table for its input_ids")
        return
    size = table.weight.shape[0]
    wrong = ((chart.ids < 0) | (chart.ids >= size)).nonzero().tolist()
    known = len(chart.tokenizer) if hasattr(chart.tokenizer, "__len__") else None
    if not wrong:
        if known is not None and known > size:
            chart.notes.append(f"The tokenizer has {known} entries and the model's table {size} rows; none of the entries beyond it is in this text.")  # fmt: skip
        return
    shown = ", ".join(f"token {t} of row {b} ({chart.strings([int(chart.ids[b, t])])}) has id {int(chart.ids[b, t])}" for b, t in wrong[:3])  # fmt: skip
    grown = known is not None and known > size and all(size <= int(chart.ids[b, t]) < known for b, t in wrong)
    chart.find(
        "ids-beyond-embedding", f"{len(wrong)} id{'s' * (len(wrong) > 1)} outside the embedding, which has {size} rows",
        why="On a CPU the look-up raises; on a GPU it ends every later call too, or reads what lies beside the table.",
        evidence=shown + (f"; the tokenizer has {known} entries" if known is not None else ""),
        cure=(f"model.resize_token_embeddings({known}), and train the new rows; or load model and tokenizer from the same name"
              if grown else "load both from the same name: model, tokenizer = attnscope.load(name)"),
        invariant="every id is a row of the embedding", place="the ids",
    )  # fmt: skip


def frame(chart: Chart) -> tuple[list[int], list[int]] | None:
    """The ids that the tokenizer itself puts before and after one text; None where that cannot be told."""
    try:
        bare, full = chart.encode(_PROBE, special=False), chart.encode(_PROBE)
    except Exception:  # a tokenizer that is none of Hugging Face's
        return None
    for start in range(len(full) - len(bare) + 1):
        if bare and full[start : start + len(bare)] == bare:
            return full[:start], full[start + len(bare) :]
    return None


def begin_token(chart: Chart) -> None:
    around = frame(chart)
    if around is None:
        chart.not_examined.append("the begin token: what the tokenizer adds to a text cannot be told")
        return
    before, after = around
    chart.conventions["the tokenizer adds"] = f"{chart.strings(before)} … {chart.strings(after)}".strip() if before or after else "no special tokens"  # fmt: skip
    own = getattr(chart.tokenizer, "bos_token_id", None)
    begin = before[0] if before else own
    if begin is None:
        return
    name = chart.strings([begin])
    assert chart.ids is not None
    for row in range(len(chart.ids)):
        seen = chart.visible(row)
        if begin == chart.pad() and chart.mask is None and len(chart.ids) > 1:
            continue  # the row may be padded with it; `padding` looks at that
        if len(seen) > 1 and seen[0] == seen[1] == begin and (before or len(chart.ids) == 1 or chart.pad() != begin):
            _doubled(chart, row, seen, name)
            return
        first = next((i for i in seen if i != chart.pad() or i == begin), None)
        if before and first is not None and first != begin:
            _absent(chart, row, seen, before, name)
            return


def _doubled(chart: Chart, row: int, seen: list[int], name: str) -> None:
    written = chart.route == "text" and chart.texts[min(row, len(chart.texts) - 1)].lstrip().startswith(name)
    how = "the text begins with it, and the tokenizer adds it again" if written else "the ids begin with it twice"
    if chart.route == "messages":
        how, cure = "the chat template writes it twice", "tokenizer.chat_template: take one bos_token out"
    else:
        cure = "tokenizer(text, add_special_tokens=False) for a text that holds its special tokens; for a chat: tokenizer.apply_chat_template(messages, return_tensors=\"pt\", return_dict=True)"  # fmt: skip
    chart.find(
        "bos-doubled", f"the begin token {name} stands there twice",
        why="The model never saw that in training; the first token takes much of the attention, and now two compete for it.",
        evidence=f"row {row} begins with {chart.strings(seen, 6)} (ids {seen[:4]}): {how}", cure=cure,
        invariant="a text has one begin token", place="the first two tokens",
    )  # fmt: skip


def _absent(chart: Chart, row: int, seen: list[int], before: list[int], name: str) -> None:
    if chart.route == "messages":
        cure = "begin tokenizer.chat_template with {{ bos_token }}"
    else:
        cure = "tokenizer(text, return_tensors=\"pt\"), without add_special_tokens=False"  # fmt: skip
    chart.find(
        "bos-absent", f"the begin token {name} is missing",
        why="The tokenizer adds it to every text because the model was trained with it; many heads rest on it where they find nothing.",
        evidence=f"row {row} begins with {chart.strings(seen, 6)} (ids {seen[:4]}); the tokenizer by itself begins every text with {chart.strings(before)}",
        cure=cure, invariant="a text begins as the tokenizer begins it", place="the first token",
    )  # fmt: skip


def cut(chart: Chart) -> None:
    """Longer than the tokenizer allows, or already cut."""
    limit = getattr(chart.tokenizer, "model_max_length", None)
    limit = limit if isinstance(limit, int) and limit < 10**6 else None
    assert chart.ids is not None
    if chart.route != "inputs":
        longest = max(range(len(chart.ids)), key=lambda row: len(chart.visible(row)))
        seen = chart.visible(longest)
        if limit is not None and len(seen) > limit:
            lost = len(seen) - limit
            chart.find(
                "text-cut", f"the text has {len(seen)} tokens, and the tokenizer cuts at {limit} where it truncates (pipelines do)",
                why="What stands beyond is not read, and nothing says so.",
                evidence=f"tokenizer.model_max_length = {limit}; {lost} tokens lie beyond, from {chart.strings(seen[limit : limit + 5], 5)} on",
                cure=f"cut or split the text yourself into parts of at most {limit} tokens; where the model reads more: tokenizer.model_max_length = n",
                invariant="the whole text is read", place="the end of the text",
            )  # fmt: skip
        return
    if not chart.texts:
        if limit is not None and any(len(chart.visible(row)) == limit for row in range(len(chart.ids))):
            chart.notes.append(f"A row is exactly tokenizer.model_max_length = {limit} tokens long, as if it had been cut; pass the text too to have that compared.")  # fmt: skip
        return
    special = set(getattr(chart.tokenizer, "all_special_ids", ()))
    for row, text in enumerate(chart.texts):
        whole = [i for i in chart.encode(text if chart.pair is None else f"{text} {chart.pair}", special=False) if i not in special]  # fmt: skip
        seen = [i for i in chart.visible(row) if i not in special]
        if len(seen) < len(whole) and (seen == whole[: len(seen)] or seen == whole[len(whole) - len(seen) :]):
            lost = whole[len(seen) :] if seen == whole[: len(seen)] else whole[: len(whole) - len(seen)]
            chart.find(
                "text-cut", f"the inputs hold {len(seen)} of the text's {len(whole)} tokens",
                why="What was cut off cannot be attended to.",
                evidence=f"row {row} lacks {len(lost)} tokens: {chart.strings(lost, 6)}" + (f"; tokenizer.model_max_length = {limit}" if limit else ""),
                cure='tokenizer(text, return_tensors="pt", truncation=False), or split the text into parts',
                invariant="the whole text is read", place="the end of the text",
            )  # fmt: skip
            return
