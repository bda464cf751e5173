"""Groups that are cut, beside transformers' own attention under a mask that hides them."""

from typing import Any

import pytest
import torch
from torch import Tensor

import attnscope
from attnscope.editing.group_cuts import _drawn, _slices
from attnscope.statistics.sink_tokens import set_aside
from chats import chat
from tiny_models import ids, model

GROUPS = {"early": (2, 6), "inner": (3, 5), "late": (8, 11)}


def hidden(m: Any, read: Tensor, cut: list[int]) -> Tensor:
    """Log-probabilities of what comes next at every position, where nothing behind the last of `cut` may see them."""
    count = read.shape[1]
    allowed = torch.ones(count, count).tril().bool()
    if cut:
        allowed[cut[-1] + 1 :, cut] = False
    mask = torch.zeros(count, count).masked_fill(~allowed, torch.finfo(torch.float32).min)
    with torch.no_grad():
        return m(input_ids=read, attention_mask=mask[None, None]).logits[0].float().log_softmax(-1)


@pytest.mark.exactness
@pytest.mark.parametrize("generate", [0, 3])
def test_the_effect_is_that_of_a_mask_and_so_is_the_band(generate: int) -> None:
    m = model("llama", "eager")
    read = ids(1, 13, seed=3)
    trace = attnscope.trace(m, inputs={"input_ids": read}, generate=generate, groups=GROUPS)
    table = trace.groups(model=m, kind="own", control=4, seed=7)
    answer = trace.inputs["input_ids"][0, 13:].tolist()  # type: ignore[index]
    whole = trace.inputs["input_ids"]  # type: ignore[index]
    if not generate:
        answer = [int(hidden(m, read, [])[-1].argmax())]
        whole = torch.cat([read, torch.tensor([answer])], 1)

    def score(cut: list[int]) -> float:
        rows = hidden(m, whole, cut)[12 : 12 + len(answer)]
        return sum(float(row[token]) for row, token in zip(rows, answer, strict=True))

    plain = [at for at in range(12) if not set_aside(trace, trace.sites[0])[at]]
    for name, (start, stop) in GROUPS.items():
        own = [at for at in plain if start <= at < stop]
        row = table[name]
        assert row.effect == pytest.approx(score([]) - score(own), abs=1e-4)
        draws = [
            score([]) - score(cut)
            for cut in _drawn([at for at in plain if at not in range(start, stop)], len(own), 4, 7)
        ]
        assert row.band == pytest.approx((min(draws), max(draws)), abs=1e-4)
        assert row.outside_band is not (min(draws) <= row.effect <= max(draws))
    assert "seed 7" in table.notes[-1]
    assert "nats" in repr(table)


def test_draws_are_runs_of_other_tokens_each_once() -> None:
    others = [1, 2, 3, 4, 9, 10, 11]
    drawn = _drawn(others, 3, 4, 0)
    assert drawn == _drawn(others, 3, 4, 0)
    assert len({tuple(one) for one in drawn}) == 4
    assert all("".join(map(chr, one)) in "".join(map(chr, others)) for one in drawn)
    assert len(_drawn(others, 3, 99, 0)) == 5
    assert _drawn(others, 8, 4, 0) == []
    assert _slices([3, 4, 5, 9, 11, 12]) == [slice(3, 6), slice(9, 10), slice(11, 13)]


@pytest.mark.exactness
def test_cut_takes_a_group_or_its_name() -> None:
    m = model("llama", "eager")
    read = ids(1, 13, seed=5)
    expected = hidden(m, read, [3, 4, 5])[-1]
    own = attnscope.trace(m, inputs={"input_ids": read}, groups={"facts": (3, 6)}).tokens.groups["facts"]
    with torch.no_grad(), attnscope.edit(m) as edit:
        edit.layers(range(2)).cut(query=slice(6, None), key=own)
        torch.testing.assert_close(m(input_ids=read).logits[0, -1].log_softmax(-1), expected, atol=1e-4, rtol=1e-3)


class Chats:
    """Reads ids as the tokens of a chat."""

    def __init__(self, strings: tuple[str, ...]) -> None:
        self.strings = strings
        self.all_special_ids = [7]

    def convert_ids_to_tokens(self, token: int) -> str:
        return self.strings[token]

    def decode(self, tokens: list[int]) -> str:
        return "".join(self.strings[token].replace("Ċ", "\n").replace("Ġ", " ") for token in tokens)


@pytest.mark.exactness
def test_a_name_means_the_message_and_not_the_word() -> None:
    tokens = chat([("system", "Hi"), ("user", "Go on")])
    order = list(dict.fromkeys(tokens.strings))
    vocabulary = [f"x{i}" for i in range(97)]
    vocabulary[7] = "<|im_start|>"
    place = {"<|im_start|>": 7} | {one: 20 + i for i, one in enumerate(order) if one != "<|im_start|>"}
    for one, at in place.items():
        vocabulary[at] = one
    read = torch.tensor([[place[one] for one in tokens.strings]])
    m = model("llama", "eager")
    with torch.no_grad(), attnscope.edit(m, Chats(tuple(vocabulary))) as edit:
        edit.layers(range(2)).cut(query=slice(6, None), key="system")
        found = m(input_ids=read).logits[0, -1].log_softmax(-1)
    stop = tokens.groups["system"].stop
    assert stop == 6
    torch.testing.assert_close(found, hidden(m, read, list(range(stop)))[-1], atol=1e-4, rtol=1e-3)
