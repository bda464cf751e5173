"""Markers in a text: special tokens that are read as ordinary pieces, and a chat template that was not used."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from attnscope.doctor.model_check.case import Case
from attnscope.doctor.model_check.checks.chat_turns import broken_markers

# Strings that are special tokens in one family or another. [INST] and <<SYS>> are not: Llama 2 reads them as pieces.
_SPECIAL_LOOK = re.compile(
    r"<\|[A-Za-z0-9_]{2,40}\|>|<｜[^｜\s]{2,40}｜>|\[(?:CLS|SEP|MASK|PAD|UNK|BOS|EOS)\]"
    r"|<(?:bos|eos|pad|mask|unk|start_of_turn|end_of_turn|extra_id_\d+)>|^<s>|</s>\s*$"
)
_PLAIN_ROLES = {"<|user|>", "<|system|>", "<|assistant|>"}  # Zephyr and others were trained to read these as pieces
_ROLES = {
    "bos_token": ("<s>", "<bos>", "[BOS]"),
    "cls_token": ("[CLS]",),
    "eos_token": ("</s>", "<eos>", "[EOS]"),
    "mask_token": ("[MASK]", "<mask>"),
    "pad_token": ("[PAD]", "<pad>"),
    "sep_token": ("[SEP]",),
    "unk_token": ("<unk>", "[UNK]"),
}
_PROBE = "zebra"


@dataclass(frozen=True)
class SplitMarker:
    """A marker of the text and the ids that the tokenizer makes of it."""

    name: str
    ids: list[int]
    unknown: bool  # all of it is the unknown token

    def describe(self, case: Case) -> str:
        if len(self.ids) > 1:
            return f"{self.name!r} is read as {len(self.ids)} tokens: {case.strings(self.ids)}"
        if self.ids and not self.unknown:
            return f"{self.name!r} is a token of this tokenizer (id {self.ids[0]}), and the ids do not hold it"
        return f"{self.name!r} is read as {case.strings(self.ids)}"


def special_pieces(case: Case) -> None:
    """Special tokens in the text that the tokenizer reads as ordinary letters."""
    tokenizer: Any = case.tokenizer
    if case.route == "inputs" and not case.texts and not hasattr(tokenizer, "decode"):
        case.not_examined.append("special tokens in pieces: the tokenizer cannot decode ids")
        return
    known = {str(t) for t in getattr(tokenizer, "all_special_tokens", ())}
    known |= {str(t) for t in getattr(tokenizer, "added_tokens_decoder", {}).values() if str(t)[:1] in "<["}
    split = list(_split_markers(case, known))
    if not split:
        return
    template = _template(tokenizer)
    cures = dict.fromkeys(_cure(tokenizer, marker.name, known, marker.name in template) for marker in split)
    one = len(split) == 1
    case.report(
        "special-tokens-split",
        markers=" and ".join(marker.name for marker in split[:4]),
        predicate=f"{'is' if one else 'are'} read as pieces, not as {'a special token' if one else 'special tokens'}",
        evidence="; ".join(marker.describe(case) for marker in split[:4]),
        cure="; ".join(cures),
    )


def _split_markers(case: Case, known: set[str]) -> Iterator[SplitMarker]:
    tokenizer: Any = case.tokenizer
    assert case.ids is not None
    from_ids = case.route == "inputs" and not case.texts
    unknown, unknown_id = (getattr(tokenizer, name, None) for name in ("unk_token", "unk_token_id"))
    for name, times in _markers(case, known).items():
        ids = case.encode(name, special=False)
        whole = len(ids) == 1 and ids[0] != unknown_id
        missing = from_ids and whole and times > int((case.ids == ids[0]).sum())
        if (whole or name == unknown) and not missing:
            continue
        if not whole and name in _PLAIN_ROLES and name in _template(tokenizer):
            case.notes.append(f"{name} of the chat template is read as pieces: {case.strings(ids)}.")
            continue
        yield SplitMarker(name, ids, unknown=ids == [unknown_id])


def _markers(case: Case, known: set[str]) -> dict[str, int]:
    """Strings in the texts that look like special tokens, in any case, and how often each stands there."""
    longest_first = sorted((re.escape(t) for t in known if len(t) > 3), key=len, reverse=True)
    any_case = re.compile("|".join(longest_first) or r"(?!)", re.IGNORECASE)
    found: dict[str, int] = {}
    for text in [*case.row_texts(), *([case.pair] if case.pair else [])]:
        whole = [match.group().strip() for match in (*_SPECIAL_LOOK.finditer(text), *any_case.finditer(text))]
        for name in (*whole, *broken_markers(text, known)):
            found.setdefault(name, 0)
        for name in found:
            found[name] += text.count(name)
    return found


def _template(tokenizer: Any) -> str:
    return str(getattr(tokenizer, "chat_template", None) or "")


def _cure(tokenizer: Any, name: str, known: set[str], in_template: bool) -> str:
    if name in known:
        if getattr(tokenizer, "split_special_tokens", False):
            return f"tokenizer.split_special_tokens = False, so that {name!r} stays one token"
        return "tokenizer(text, split_special_tokens=False)"
    same = next((t for t in sorted(known) if t.casefold() == name.casefold()), None)
    if same:
        return f"write {same!r}, as this tokenizer spells it"
    near = next((t for t in sorted(known) if len(name) > 4 and name.strip("<|>") == t.strip("<|>")), None)
    if near:
        return f"write {near!r}, with all its signs"
    if in_template:
        added = f'tokenizer.add_special_tokens({{"additional_special_tokens": [{name!r}]}})'
        return (
            f"load the tokenizer that belongs to this chat template; or {added}, "
            "model.resize_token_embeddings(len(tokenizer)), and train"
        )
    role = next((role for role, names in _ROLES.items() if name in names), "")
    own = getattr(tokenizer, role, None) if role else None
    if own:
        return f"write tokenizer.{role}, which is {own!r} here"
    if _template(tokenizer):
        call = 'tokenizer.apply_chat_template(messages, return_tensors="pt", return_dict=True)'
        return f"let the tokenizer write its own markers: {call}"
    return f"leave {name!r} out: this model's own special tokens are {', '.join(sorted(known)[:8]) or 'none'}"


def chat_template(case: Case) -> None:
    """Plain text for a tokenizer that has a chat template."""
    tokenizer = case.tokenizer
    if not getattr(tokenizer, "chat_template", None) or case.route == "messages":
        return
    known = {str(t) for t in getattr(tokenizer, "all_special_tokens", ())}
    if any(broken_markers(text, known) for text in case.row_texts()):
        return  # a frame, with a marker that has lost a sign
    try:
        rendered = str(tokenizer.apply_chat_template([{"role": "user", "content": _PROBE}], tokenize=False))
    except Exception as error:  # a template is a program by the model's authors
        case.not_examined.append(f"the chat template: it cannot be rendered ({type(error).__name__}: {error})")
        return
    head = rendered.partition(_PROBE)[0].replace(str(getattr(tokenizer, "bos_token", None) or "\0"), "").strip()
    marker = head.splitlines()[-1].strip() if head else ""
    plain = [text for text in case.row_texts() if _without_spaces(marker) not in _without_spaces(text)]
    if marker and plain:
        framed = repr(rendered.replace(_PROBE, "…"))
        case.report("no-chat-template", framed=framed, marker=repr(marker), text=repr(plain[0][:60]))


def _without_spaces(text: str) -> str:
    """Decoded ids may have spaces where the text had none."""
    return "".join(text.split())
