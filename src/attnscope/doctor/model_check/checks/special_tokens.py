"""Markers in a text: special tokens that are read as plain pieces, and a chat template that was not used."""

import re
from typing import Any

from attnscope.doctor.model_check.case import Chart

# Strings that are special tokens in one family or another. [INST] and <<SYS>> are not: Llama 2 reads them as plain pieces.
_SPECIAL_LOOK = re.compile(
    r"<\|[A-Za-z0-9_]{2,40}\|>|<｜[^｜\s]{2,40}｜>|\[(?:CLS|SEP|MASK|PAD|UNK|BOS|EOS)\]"
    r"|<(?:bos|eos|pad|mask|unk|start_of_turn|end_of_turn|extra_id_\d+)>|^<s>|</s>\s*$"
)
_PLAIN_ROLES = {"<|user|>", "<|system|>", "<|assistant|>"}  # Zephyr's kin were trained to read these as plain pieces
_ROLE_OF = {"[MASK]": "mask_token", "<mask>": "mask_token", "[CLS]": "cls_token", "[SEP]": "sep_token", "[PAD]": "pad_token",
            "<pad>": "pad_token", "<s>": "bos_token", "<bos>": "bos_token", "[BOS]": "bos_token", "</s>": "eos_token",
            "<eos>": "eos_token", "[EOS]": "eos_token", "<unk>": "unk_token", "[UNK]": "unk_token"}  # fmt: skip
_PROBE = "zebra"


def special_pieces(chart: Chart) -> None:
    """Special tokens that stand in the text and are read as plain letters."""
    tokenizer: Any = chart.tokenizer
    assert chart.ids is not None
    from_ids = chart.route == "inputs" and not chart.texts
    if from_ids and not hasattr(tokenizer, "decode"):
        chart.not_examined.append("special tokens in pieces: the tokenizer cannot spell ids")
        return
    texts = [*chart.spelled(), *([chart.pair] if chart.pair else [])]
    known = {str(t) for t in getattr(tokenizer, "all_special_tokens", ())}
    known |= {str(t) for t in getattr(tokenizer, "added_tokens_decoder", {}).values() if str(t)[:1] in "<["}
    any_case = re.compile("|".join(re.escape(t) for t in sorted(known, key=len, reverse=True) if len(t) > 3) or r"(?!)", re.I)  # fmt: skip
    found: dict[str, int] = {}
    for text in texts:
        for match in (*_SPECIAL_LOOK.finditer(text), *any_case.finditer(text)):
            found.setdefault(match.group().strip(), 0)
        for name in found:
            found[name] += text.count(name)
    template = str(getattr(tokenizer, "chat_template", None) or "")
    split: list[tuple[str, list[int]]] = []
    for name, times in found.items():
        pieces = chart.encode(name, special=False)
        one = len(pieces) == 1 and pieces[0] != getattr(tokenizer, "unk_token_id", None)
        lost = from_ids and one and times > int((chart.ids == pieces[0]).sum())
        if (one or name == getattr(tokenizer, "unk_token", None)) and not lost:
            continue
        if not one and name in _PLAIN_ROLES and name in template:
            chart.notes.append(f"{name} of the chat template is read as plain pieces: {chart.strings(pieces)}.")
            continue
        split.append((name, pieces))
    if not split:
        return
    cures = dict.fromkeys(_spelling_cure(tokenizer, name, known, name in template) for name, _ in split)
    names = " and ".join(name for name, _ in split[:4])
    evidence = "; ".join(f"{n!r} is read as {len(p)} tokens: {chart.strings(p)}" if len(p) > 1 else f"{n!r} is a token of this tokenizer (id {p[0]}), and the ids do not hold it" if p and p[0] != getattr(tokenizer, "unk_token_id", None) else f"{n!r} is read as {chart.strings(p)}" for n, p in split[:4])  # fmt: skip
    chart.find(
        "special-tokens-split", f"{names} {'is' if len(split) == 1 else 'are'} read as plain pieces, not as {'a special token' if len(split) == 1 else 'special tokens'}",
        why="The model then reads the letters of the marker; what it learned for the token itself does not act.",
        evidence=evidence, cure="; ".join(cures),
        invariant="a special token is one id", place="the text, where such a marker stands",
    )  # fmt: skip


def _spelling_cure(tokenizer: Any, name: str, known: set[str], in_template: bool) -> str:
    if name in known:
        return f"tokenizer.split_special_tokens = False, so that {name!r} stays one token" if getattr(tokenizer, "split_special_tokens", False) else "tokenizer(text, split_special_tokens=False)"  # fmt: skip
    same = next((t for t in sorted(known) if t.casefold() == name.casefold()), None)
    if same:
        return f"write {same!r}, as this tokenizer spells it"
    if in_template:
        return f'load the tokenizer that belongs to this chat template; or tokenizer.add_special_tokens({{"additional_special_tokens": [{name!r}]}}), model.resize_token_embeddings(len(tokenizer)), and train'  # fmt: skip
    role = _ROLE_OF.get(name, "")
    own = getattr(tokenizer, role, None) if role else None
    if own:
        return f"write tokenizer.{role}, which is {own!r} here"
    if getattr(tokenizer, "chat_template", None):
        return "let the tokenizer write its own markers: tokenizer.apply_chat_template(messages, return_tensors=\"pt\", return_dict=True)"  # fmt: skip
    return f"leave {name!r} out: this model's own special tokens are {', '.join(sorted(known)[:8]) or 'none'}"


def _tight(text: str) -> str:
    """Without spaces: decoded ids may have others than the text had."""
    return "".join(text.split())


def chat_template(chart: Chart) -> None:
    tokenizer = chart.tokenizer
    if not getattr(tokenizer, "chat_template", None) or chart.route == "messages":
        return
    try:
        rendered = str(tokenizer.apply_chat_template([{"role": "user", "content": _PROBE}], tokenize=False))
    except Exception as error:  # a template is a program of the model's authors
        chart.not_examined.append(f"the chat template: it cannot be rendered ({type(error).__name__}: {error})")
        return
    head = rendered.partition(_PROBE)[0].replace(str(getattr(tokenizer, "bos_token", None) or "\0"), "").strip()
    marker = head.splitlines()[-1].strip() if head else ""
    plain = [text for text in chart.spelled() if _tight(marker) not in _tight(text)]
    if not marker or not plain:
        return
    chart.find(
        "no-chat-template", "plain text, although the tokenizer has a chat template",
        why="A model tuned on chats answers within their frame; without it, it continues the text as any text.",
        evidence=f"the template frames a user's message as {rendered.replace(_PROBE, '…')!r}; this text has no {marker!r}: {plain[0][:60]!r}",
        cure='attnscope.check(model, tokenizer, messages=[{"role": "user", "content": text}]); to run it: model(**tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt", return_dict=True))',
        invariant="a chat model reads chats", place="how the text was made into ids",
    )  # fmt: skip
