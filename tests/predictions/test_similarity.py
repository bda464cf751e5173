"""The similarity of two texts, as a sum over the parts of one."""

import pytest
import torch

import attnscope
import tiny_models as tiny
from attnscope import InputError, Trace
from followed_models import POST_LN


def traced(name: str, seed: int, length: int) -> Trace:
    return attnscope.trace(tiny.model(name), None, inputs={"input_ids": tiny.ids(1, length, seed)}, keep={"stream"})


@pytest.mark.exactness
@pytest.mark.parametrize("name", [*POST_LN, "modernbert"])
@pytest.mark.parametrize("pooling", ["mean", "first"])
def test_parts_add_up_to_the_cosine(name: str, pooling: str) -> None:
    pooled = []
    for seed, length in ((3, 13), (4, 7)):
        with torch.no_grad():
            states = tiny.model(name)(input_ids=tiny.ids(1, length, seed)).last_hidden_state[0]
        pooled.append(states.mean(0) if pooling == "mean" else states[0])
    found = traced(name, 3, 13).similarity(traced(name, 4, 7), pooling)
    own = float(torch.cosine_similarity(*pooled, dim=0))
    assert found.cosine == pytest.approx(own, abs=1e-5)
    assert found.total == pytest.approx(own, abs=1e-5)
    assert float(found.by_token.sum()) == pytest.approx(own, abs=1e-5)
    assert found.of("L1 attention") == pytest.approx(
        sum(found.of(f"L1H{head}") for head in range(3)) + sum(o.value for o in found if o.name == "L1 attention bias"),
        abs=1e-5,
    )


def test_one_part_by_hand() -> None:
    """The last MLP of BERT passes one LayerNorm, whose σ is frozen."""
    model, trace, other = tiny.model("bert"), traced("bert", 3, 13), traced("bert", 4, 7)
    block, seen = model.encoder.layer[1].output, {}
    handles = [
        block.dense.register_forward_hook(lambda _, args, out: seen.update(mlp=out[0].detach())),
        block.LayerNorm.register_forward_hook(lambda _, args, out: seen.update(sum=args[0][0].detach())),
    ]
    with torch.no_grad():
        mine = model(input_ids=tiny.ids(1, 13, 3)).last_hidden_state[0].mean(0)
        for handle in handles:
            handle.remove()
        theirs = model(input_ids=tiny.ids(1, 7, 4)).last_hidden_state[0].mean(0)
    sigma = (seen["sum"].var(-1, keepdim=True, correction=0) + block.LayerNorm.eps).sqrt()
    part = (seen["mlp"] - seen["mlp"].mean(-1, keepdim=True)) * block.LayerNorm.weight.detach() / sigma
    expected = float(part.mean(0) @ theirs / (mine.norm() * theirs.norm()))
    found = trace.similarity(other)
    written = sum(one.value for one in found if one.name == "L1 MLP")
    assert written == pytest.approx(expected, abs=1e-5)


def test_what_does_not_fit() -> None:
    trace = traced("bert", 3, 13)
    with pytest.raises(InputError, match="trace of a second text"):
        trace.similarity("a text")
    with pytest.raises(InputError, match="pooling as one of"):
        trace.similarity(trace, "max")
    with pytest.raises(InputError, match="different models"):
        trace.similarity(traced("gpt_neox", 3, 7))
    with pytest.raises(InputError, match="no part 'L9H9'"):
        trace.similarity(trace).of("L9H9")
    assert trace.similarity(trace).cosine == pytest.approx(1.0, abs=1e-5)
