"""A chat in the template's own frame: markers that have lost a sign, a turn that is not closed, an answer that is not begun."""

import re
from typing import Any

from attnscope.doctor.model_check.case import Case

_PROBE, _REPLY = "zebra", "quagga"
_SIGNS = re.compile(r"^<\|(\w+)\|>$")


def broken_markers(text: str, known: set[str]) -> list[str]:
    """Markers of this tokenizer that lack a sign in the text: "<|im_start|" and "|im_start|>" for "<|im_start|>"."""
    found: list[str] = []
    for name in sorted(known, key=len, reverse=True):
        text = text.replace(name, " ")
    for word in (match[1] for name in known if (match := _SIGNS.match(name))):
        for match in re.finditer(rf"(<?\|?){re.escape(word)}(\|?>?)", text):
            before, after = match[1], match[2]
            if before == "<|" or after == "|>" or (before[:1] == "<" and after[-1:] == ">"):
                found.append(match.group())
    return list(dict.fromkeys(found))


def examine(case: Case) -> None:
    """Turns of a text that is framed by hand, or rendered before."""
    frame = None if case.route == "messages" else _frame(case.tokenizer)
    if frame is None or case.found("special-tokens-split"):
        return
    opened, closed, answer = frame
    for row, text in enumerate(case.row_texts()):
        begun, ended = text.count(opened), text.count(closed)
        if not begun or opened == closed:
            continue
        if ended < begun - 1:
            case.report("chat-turn-unclosed", row=row, begun=begun, closed=ended, marker=repr(closed))
        last = text[text.rindex(opened) + len(opened) :]
        if answer and _tight(text).endswith(_tight(closed)) and _tight(last).startswith("user"):
            case.report("generation-prompt-missing", row=row, prompt=repr(answer))


def _tight(text: str) -> str:
    return "".join(text.split())


def _frame(tokenizer: Any) -> tuple[str, str, str] | None:
    """(what opens a turn, what closes it, what begins an answer), where the template names each role between two special tokens."""
    if not getattr(tokenizer, "chat_template", None):
        return None
    user, reply = {"role": "user", "content": _PROBE}, {"role": "assistant", "content": _REPLY}
    try:
        whole = str(tokenizer.apply_chat_template([user, reply], tokenize=False))
        asked = str(tokenizer.apply_chat_template([user], tokenize=False))
        prompted = str(tokenizer.apply_chat_template([user], tokenize=False, add_generation_prompt=True))
    except Exception:  # a template is a program by the model's authors
        return None
    turn = re.search(rf"(<\|\w+\|>)user\s+{_PROBE}\s*(<\|\w+\|>)\s*\1assistant\s+{_REPLY}\s*\2", whole)
    answer = prompted.removeprefix(asked).strip() if prompted.startswith(asked) else ""
    return (turn[1], turn[2], answer) if turn else None
