"""What the ids alone show: rows beyond the embedding, the begin token, a text that was cut."""

from attnscope.doctor.model_check.case import Case
from attnscope.doctor.model_check.checks import chat_turns, ids_of_text, special_tokens, tokenizer_fit

_PROBE = "zebra"
_ENCODE_CHAT = 'tokenizer.apply_chat_template(messages, return_tensors="pt", return_dict=True)'


def examine(case: Case) -> None:
    """The ids against the embedding; and, where the mask shows the text, against the tokenizer."""
    if case.ids is None:
        case.not_examined.append("special tokens, chat template, length: these inputs hold no input_ids")
        return
    ids_in_embedding(case)
    tokenizer_fit.examine(case)
    if case.tokenizer is None or not callable(case.tokenizer):
        case.not_examined.append("special tokens, chat template, cut texts: no tokenizer was given")
        return
    begin_token(case)
    special_tokens.special_pieces(case)
    special_tokens.chat_template(case)
    chat_turns.examine(case)
    if case.route == "inputs":
        ids_of_text.examine(case, _tokenizer_limit(case))
    else:
        text_beyond_tokenizer(case)


def ids_in_embedding(case: Case) -> None:
    embedding = case.embedding()
    if embedding is None or case.ids is None:
        case.not_examined.append("ids beyond the embedding: the model names no table for its input_ids")
        return
    size = embedding.weight.shape[0]
    wrong = ((case.ids < 0) | (case.ids >= size)).nonzero().tolist()
    entries = len(case.tokenizer) if hasattr(case.tokenizer, "__len__") else 0
    if not wrong:
        if entries > size:
            case.notes.append(
                f"The tokenizer has {entries} entries and the model's embedding {size} rows. "
                "None of the entries beyond it is in this text."
            )
        return
    named = [(t, b, int(case.ids[b, t])) for b, t in wrong]
    evidence = ", ".join(f"token {t} of row {b} ({case.strings([i])}) has id {i}" for t, b, i in named[:3])
    if entries:
        evidence += f"; the tokenizer has {entries} entries"
    cure = "load both from the same name: model, tokenizer = attnscope.load(name)"
    if all(size <= i < entries for _, _, i in named):
        cure = (
            f"model.resize_token_embeddings({entries}), and train the new rows; or load model and tokenizer from "
            "the same name"
        )
    count = f"{len(wrong)} id{'s' * (len(wrong) > 1)}"
    case.report(
        "ids-beyond-embedding",
        subject=count,
        table="the embedding",
        rows=size,
        evidence=evidence,
        cure=cure,
    )


def added_tokens(case: Case) -> tuple[list[int], list[int]] | None:
    """The ids that the tokenizer puts before and after one text; None where a probe does not show them."""
    try:
        bare, full = case.encode(_PROBE, special=False), case.encode(_PROBE)
    except Exception:  # not a tokenizer of Hugging Face
        return None
    for start in range(len(full) - len(bare) + 1):
        if bare and full[start : start + len(bare)] == bare:
            return full[:start], full[start + len(bare) :]
    return None


def begin_token(case: Case) -> None:
    """The begin token twice, or missing where the tokenizer itself puts one."""
    added = added_tokens(case)
    if added is None:
        case.not_examined.append("the begin token: a probe does not show what the tokenizer adds to a text")
        return
    before, after = added
    around = f"{case.strings(before)} … {case.strings(after)}".strip()
    case.conventions["the tokenizer adds"] = around if before or after else "no special tokens"
    own = getattr(case.tokenizer, "bos_token_id", None)
    begin = before[0] if before else own
    if begin is None:
        return
    assert case.ids is not None
    rows, pad = len(case.ids), case.pad_token()
    if begin == pad and case.mask is None and rows > 1:
        return  # the rows may be padded with it: `padding` looks at that
    for row in range(rows):
        seen = case.visible_ids(row)
        if seen[:2] == [begin, begin] and (before or rows == 1 or pad != begin):
            _report_doubled(case, row, seen, case.strings([begin]))
            return
        first = next((i for i in seen if i != pad or i == begin), None)
        if before and first is not None and first != begin:
            cure = 'tokenizer(text, return_tensors="pt"), without add_special_tokens=False'
            if case.route == "messages":
                cure = "begin tokenizer.chat_template with {{ bos_token }}"
            case.report(
                "bos-absent",
                token=case.strings([begin]),
                row=row,
                tokens=case.strings(seen, 6),
                ids=seen[:4],
                before=case.strings(before),
                cure=cure,
            )
            return


def _report_doubled(case: Case, row: int, seen: list[int], token: str) -> None:
    cure = f"tokenizer(text, add_special_tokens=False) for a text that holds its special tokens; for a chat: {_ENCODE_CHAT}"
    if case.route == "messages":
        reason, cure = "the chat template writes it twice", "remove one bos_token from tokenizer.chat_template"
    elif case.route == "text" and case.texts[min(row, len(case.texts) - 1)].lstrip().startswith(token):
        reason = "the text begins with it, and the tokenizer adds it again"
    else:
        reason = "the ids begin with it twice"
    tokens = case.strings(seen, 6)
    case.report("bos-doubled", token=token, row=row, tokens=tokens, ids=seen[:4], reason=reason, cure=cure)


def _tokenizer_limit(case: Case) -> int | None:
    limit = getattr(case.tokenizer, "model_max_length", None)
    return limit if isinstance(limit, int) and limit < 10**6 else None


def text_beyond_tokenizer(case: Case) -> None:
    """A text that `check` reads whole, and that the tokenizer cuts wherever it truncates."""
    limit = _tokenizer_limit(case)
    assert case.ids is not None
    seen = max((case.visible_ids(row) for row in range(len(case.ids))), key=len)
    if limit is not None and len(seen) > limit:
        first = case.strings(seen[limit : limit + 5], 5)
        case.report("text-beyond-tokenizer", count=len(seen), limit=limit, beyond=len(seen) - limit, first=first)
