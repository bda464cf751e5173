"""Whose turn it is, by the markers of several families of chats."""

import pytest

from attnscope.text.turns import turns_of

CHATS = {
    "ChatML": ("*<|im_start|> system ↵ Be brief . *<|im_end|> ↵ *<|im_start|> user ↵ Hi *<|im_end|> ↵ *<|im_start|> ass istant ↵", "sua"),
    "Llama 3": ("*<|begin_of_text|> *<|start_header_id|> user *<|end_header_id|> ↵ Hi *<|eot_id|> *<|start_header_id|> assistant *<|end_header_id|> ↵", "ua"),
    "Gemma": ("*<bos> *<start_of_turn> user ↵ Hi *<end_of_turn> ↵ *<start_of_turn> model ↵", "um"),
    "Phi": ("*<|user|> ↵ Hi *<|end|> *<|assistant|>", "ua"),
    "Mistral": ("*<s> *[INST] Hi *[/INST] Hello", "ua"),
    "no chat": ("*[CLS] user ↵ *[SEP]", ""),
    "a text about one": ("*<|endoftext|> user ↵ says hi", ""),
}  # fmt: skip


@pytest.mark.parametrize("name", CHATS)
def test_turns(name: str) -> None:
    text, initials = CHATS[name]
    tokens = text.split()
    turns, roles = turns_of([one.removeprefix("*") for one in tokens], [one.startswith("*") for one in tokens])
    assert "".join(role[0] for role in roles) == initials
    if not roles:
        assert turns == ()
        return
    assert len(turns) == len(tokens)
    starts = [i for i, turn in enumerate(turns) if turn is not None and (i == 0 or turns[i - 1] != turn)]
    assert len(starts) == len(roles)
    assert all(tokens[i].startswith("*") for i in starts), "a turn begins with its marker"
    assert turns[-1] == len(roles) - 1
