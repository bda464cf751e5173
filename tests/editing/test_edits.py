"""Every verb beside the same edit written by hand, on each family of architectures."""

from typing import Any

import pytest
import torch
from torch import Tensor

import attnscope
from edited_by_hand import LAYERS, after_projection, before_output, hooks, made_by, outputs, with_mask
from tiny_models import ids, inputs, model

pytestmark = pytest.mark.exactness

ALL = tuple(LAYERS)
LAYER, LENGTH = 1, 13


def built(kind: str) -> Any:
    return model(kind.split()[0], "eager")


def run(kind: str, x: dict[str, Tensor] | None = None) -> Tensor:
    with torch.no_grad():
        return outputs(built(kind)(**(x or inputs(kind.split()[0]))))


def other_text(kind: str) -> dict[str, Tensor]:
    """Another text of the same length."""
    given = dict(inputs(kind.split()[0]))
    return {name: ids(1, x.shape[1], seed=9 + i) for i, (name, x) in enumerate(given.items())}


def name(head: int, layer: int = LAYER) -> str:
    return f"L{layer}H{head}"


@pytest.mark.parametrize("kind", ALL)
def test_off_and_times(kind: str) -> None:
    m, at, head = built(kind), LAYERS[kind], LAYERS[kind].heads - 1
    clean = run(kind)
    for factor in (0.0, 0.5, 2.0):

        def scaled(z: Tensor, factor: float = factor) -> Tensor:
            z[:, :, head] *= factor
            return z

        with hooks(before_output(m, kind, LAYER, scaled)):
            by_hand = run(kind)
        with attnscope.edit(m) as edit:
            chosen = edit.head(name(head), stack=at.stack)
            chosen.off() if factor == 0 else chosen.times(factor)
            made = run(kind)
        assert torch.equal(made, by_hand)
        assert not torch.allclose(made, clean)
        assert edit.receipt.passed, str(edit.receipt)
        assert torch.equal(run(kind), clean)


@pytest.mark.parametrize("kind", ALL)
def test_off_at_some_positions(kind: str) -> None:
    m, at = built(kind), LAYERS[kind]

    def off(z: Tensor) -> Tensor:
        z[:, [2, z.shape[1] - 1], 1] = 0
        return z

    with hooks(before_output(m, kind, LAYER, off)):
        by_hand = run(kind)
    with attnscope.edit(m) as edit:
        edit.head(name(1), stack=at.stack, positions=[2, -1]).off()
        assert torch.equal(run(kind), by_hand)


@pytest.mark.parametrize("kind", ALL)
def test_mean_over_texts(kind: str) -> None:
    m, at = built(kind), LAYERS[kind]
    texts = [inputs(kind.split()[0]), other_text(kind)]
    z = torch.stack([made_by(m, kind, LAYER, "o", lambda x=x: run(kind, x)) for x in texts])  # [2, T, H, Dv]
    for by, mean in (("all", z.flatten(0, 1).mean(0)[None]), ("position", z.mean(0))):

        def put(x: Tensor, mean: Tensor = mean) -> Tensor:
            x[:, :, 2] = mean[:, 2]
            return x

        with hooks(before_output(m, kind, LAYER, put)):
            by_hand = run(kind)
        with attnscope.edit(m) as edit:
            edit.head(name(2), stack=at.stack).mean(over=texts, by=by)
            torch.testing.assert_close(run(kind), by_hand, rtol=1e-4, atol=1e-4)


# OLMo 2's norm is over all heads together, so no hook on W_q or W_k is of one head
PATCHED = [(kind, link) for kind in ALL for link in "zqkv" if (kind, link) not in (("olmo2", "q"), ("olmo2", "k"))]


@pytest.mark.parametrize(("kind", "link"), PATCHED)
def test_patch_from_another_text(kind: str, link: str) -> None:
    m, at = built(kind), LAYERS[kind]
    other = other_text(kind)
    trace = attnscope.trace(m, inputs=other)
    theirs = made_by(m, kind, LAYER, "o" if link == "z" else link, lambda: run(kind, other))
    each = at.heads // at.groups
    heads = [2] if link in ("z", "q") else [*range(at.heads - each, at.heads)]  # of k and v the last group
    own = [2] if link in ("z", "q") else [at.groups - 1]

    def put(x: Tensor) -> Tensor:
        x[:, :, own] = theirs[:, own]
        return x

    by_hooks = before_output(m, kind, LAYER, put) if link == "z" else after_projection(m, kind, LAYER, link, put)
    with hooks(by_hooks):
        by_hand = run(kind)
    with attnscope.edit(m) as edit:
        chosen = edit.heads(*map(name, heads), stack=at.stack)
        chosen.patch(trace) if link == "z" else chosen.patch(**{link: trace})
        made = run(kind)
    assert not torch.allclose(made, run(kind))
    torch.testing.assert_close(made, by_hand, rtol=1e-4, atol=1e-4)
    assert edit.receipt.passed, str(edit.receipt)


def causal_matrix(queries: int, keys: int, causal: bool) -> Tensor:
    rows = torch.rand(queries, keys, generator=torch.Generator().manual_seed(3)) + 0.1
    rows = rows.tril() if causal else rows
    return rows / rows.sum(1, keepdim=True)


@pytest.mark.parametrize("kind", ALL)
def test_weights_of_ones_own(kind: str) -> None:
    m, at = built(kind), LAYERS[kind]
    v = made_by(m, kind, LAYER, "v", lambda: run(kind))  # [K, Hkv, Dv]
    queries = 7 if at.stack == "cross" else LENGTH
    causal = at.stack is None and kind != "bert"
    head, matrix = 2, causal_matrix(queries, LENGTH, causal)
    z_head = matrix @ v[:, head * at.groups // at.heads]

    def put(x: Tensor) -> Tensor:
        x[:, :, head] = z_head
        return x

    with hooks(before_output(m, kind, LAYER, put)):
        by_hand = run(kind)
    with attnscope.edit(m) as edit:
        edit.head(name(head), stack=at.stack).weights(matrix)
        made = run(kind)
    torch.testing.assert_close(made, by_hand, rtol=1e-4, atol=1e-4)
    assert edit.receipt.passed, str(edit.receipt)
    uniform = torch.ones(queries, LENGTH)
    uniform = uniform.tril() if causal else uniform
    z_head = (uniform / uniform.sum(1, keepdim=True)) @ v[:, head * at.groups // at.heads]
    with hooks(before_output(m, kind, LAYER, put)):
        by_hand = run(kind)
    with attnscope.edit(m) as edit:
        edit.head(name(head), stack=at.stack).weights("uniform")
        torch.testing.assert_close(run(kind), by_hand, rtol=1e-4, atol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize(("kind", "sink"), [("gpt2", False), ("bert", False), ("gpt_oss", True)])
def test_the_weight_of_one_pair(kind: str, sink: bool) -> None:
    """The others keep their proportions: what a softmax gives where this score alone is other."""
    m, x = built(kind), inputs(kind)
    clean = m(**x, output_attentions=True).attentions[LAYER][0, 1]
    with attnscope.edit(m) as edit:
        edit.head(name(1)).weights(0.7, query=6, key=2)
        edit.head(name(1)).weights(0, query=9, key=[1, 4])
        made = m(**x, output_attentions=True)
    weights = made.attentions[LAYER][0, 1]
    expected = clean.clone()
    expected[6] *= 0.3 / (1 - clean[6, 2])
    expected[6, 2] = 0.7
    expected[9] *= 1 / (1 - clean[9, [1, 4]].sum())
    expected[9, [1, 4]] = 0
    torch.testing.assert_close(weights, expected, rtol=1e-4, atol=1e-6)
    assert bool(expected.sum(1).max() < 0.9999) is sink
    assert edit.receipt.passed, str(edit.receipt)
    if not sink:
        with attnscope.edit(m) as edit:
            edit.head(name(1)).weights(expected / expected.sum(1, keepdim=True))
            torch.testing.assert_close(outputs(made), run(kind), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", ALL)
def test_cut(kind: str) -> None:
    m, at = built(kind), LAYERS[kind]
    queries = 7 if at.stack == "cross" else LENGTH
    pairs = torch.zeros(queries, LENGTH, dtype=torch.bool)
    pairs[4:6, 1:4] = True
    pairs[6, 2] = True
    with hooks(with_mask(m, kind, LAYER, 1, pairs)):
        by_hand = run(kind)
    with attnscope.edit(m) as edit:
        edit.head(name(1), stack=at.stack).cut(query=slice(4, 6), key=slice(1, 4))
        edit.head(name(1), stack=at.stack).cut(query=6, key=2)
        made = run(kind)
    assert not torch.allclose(made, run(kind), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(made, by_hand, rtol=1e-4, atol=1e-4)
    assert edit.receipt.passed, str(edit.receipt)


@pytest.mark.parametrize("kind", ["bert", "gpt2", "llama", "olmo2"])
def test_sdpa_is_edited_as_eager_is(kind: str) -> None:
    made = []
    for implementation in ("eager", "sdpa"):
        m = model(kind, implementation)
        with attnscope.edit(m) as edit, torch.no_grad():
            edit.head("L0H1").off()
            edit.head("L0H2").cut(query=slice(5, None), key=[0, 3])
            edit.layers(1).weights("uniform")
            made.append(outputs(m(**inputs(kind))))
    torch.testing.assert_close(made[0], made[1], rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_the_weights_that_a_model_returns_are_those_that_it_used() -> None:
    m, x = model("llama", "eager"), inputs("llama")
    clean = m(**x, output_attentions=True).attentions[1][0]
    with attnscope.edit(m) as edit:
        edit.head(name(1)).cut(query=6, key=2)
        made = m(**x, output_attentions=True).attentions[1][0]
    assert clean[1, 6, 2] > 0
    assert made[1, 6, 2] == 0
    torch.testing.assert_close(made[1, 6].sum(), torch.tensor(1.0))
    kept = torch.ones_like(made, dtype=torch.bool)
    kept[1, 6] = False
    assert torch.equal(made[kept], clean[kept])
