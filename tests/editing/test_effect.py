"""The effect of an edit on a prediction, beside the same by hand."""

from typing import Any

import pytest
import torch
from torch import Tensor

import attnscope
from attnscope import CaptureError, Effect, InputError
from attnscope.editing.band import draws_of
from attnscope.editing.rules import Rule, Times
from attnscope.editing.selection import Heads
from edited_by_hand import before_output, hooks, outputs
from tiny_models import ids, inputs, model, tokenizer

TARGET, AGAINST = 31, 47


def off(head: int) -> Any:
    def change(z: Tensor) -> Tensor:
        z[:, :, head] = 0
        return z

    return change


@pytest.mark.exactness
@pytest.mark.parametrize("kind", ["gpt2", "llama", "gemma2", "gpt_oss", "t5_generates"])
def test_total_probability_kl_and_change(kind: str) -> None:
    m = model(kind, "eager")
    stack = "encoder" if kind == "t5_generates" else None
    x = inputs("t5" if stack else kind)
    with torch.no_grad():
        clean = m(**x, output_hidden_states=True)
        with hooks(before_output(m, "t5" if stack else kind, 1, off(2))):
            edited = m(**x, output_hidden_states=True)
    with attnscope.edit(m) as edit:
        edit.head("L1H2", stack=stack).off()
        effect = edit.effect(inputs=x, target=TARGET, against=AGAINST)
    assert isinstance(effect, Effect)
    one, two = clean.logits[0, -1], edited.logits[0, -1]
    assert effect.measure == "logit difference"
    assert effect.clean == pytest.approx(float(one[TARGET] - one[AGAINST]), abs=1e-4)
    assert effect.total == pytest.approx(float(one[TARGET] - one[AGAINST] - two[TARGET] + two[AGAINST]), abs=1e-4)
    p, q = one.softmax(-1), two.softmax(-1)
    assert effect.probability == pytest.approx((float(p[TARGET]), float(q[TARGET])), rel=1e-3)
    assert effect.kl == pytest.approx(float((p * (p / q).log()).sum()), rel=1e-3)
    assert [name for name, _ in effect.top[1]] == [f"#{i}" for i in q.topk(10).indices.tolist()]
    assert effect.reference == "zero"
    assert any("out of its distribution" in note for note in effect.notes)
    states = "decoder_hidden_states" if stack else "hidden_states"
    before, after = torch.cat(getattr(clean, states)), torch.cat(getattr(edited, states))
    assert effect.change is not None
    torch.testing.assert_close(effect.change, (after - before).norm(dim=-1) / before.norm(dim=-1), rtol=1e-3, atol=1e-5)
    assert effect.band is None
    assert effect.outside_band is None
    assert "no control yet" in str(effect)
    assert "no control yet" in repr(effect)


@pytest.mark.exactness
@pytest.mark.parametrize("kind", ["llama", "t5_generates"])
def test_a_continuation_of_several_tokens(kind: str) -> None:
    m, target, against = model(kind, "eager"), (31, 47, 5), (8, 13)
    stack = "decoder" if kind == "t5_generates" else None
    name = "decoder_input_ids" if stack else "input_ids"
    x = inputs("t5" if stack else kind)

    def summed(continuation: tuple[int, ...]) -> float:
        total, read = 0.0, x
        for token in continuation:
            with torch.no_grad(), attnscope.edit(m) as edit:
                edit.head("L1H1", stack=stack, positions=slice(2, 12 if stack is None else 5)).off()
                logits = outputs(m(**read))[0, -1]
            total += float(logits.log_softmax(-1)[token])
            read = {**read, name: torch.cat([read[name], torch.tensor([[token]])], 1)}
        return total

    with attnscope.edit(m) as edit:
        edit.head("L1H1", stack=stack, positions=slice(2, -1 if stack is None else -2)).off()
        effect = edit.effect(inputs=x, target=target, against=against)
    assert effect.measure == "difference of the summed log-probabilities"
    assert effect.edited == pytest.approx(summed(target) - summed(against), abs=1e-3)


@pytest.mark.exactness
def test_the_band_is_the_same_edit_in_other_heads() -> None:
    m, x = model("llama", "sdpa"), inputs("llama")
    with attnscope.edit(m) as edit:
        edit.head("L1H2").times(0.5)
        effect = edit.effect(inputs=x, target=TARGET, against=AGAINST, control=5, seed=3)
    band = effect.band
    assert band is not None
    assert (len(band.totals), band.seed, band.wanted, band.reach) == (5, 3, 5, 0)
    assert {name for (name,) in band.draws} == {f"L1H{head}" for head in (0, 1, 3, 4, 5)}
    for (name,), total in zip(band.draws, band.totals, strict=True):
        with attnscope.edit(m) as edit:
            edit.head(name).times(0.5)
            alone = edit.effect(inputs=x, target=TARGET, against=AGAINST)
        assert total == pytest.approx(alone.total, abs=1e-4)
    assert effect.outside_band is (not band.low <= effect.total <= band.high)
    assert "5 draws of other heads of the same layers, seed 3" in str(band)


def test_the_band_is_the_same_for_a_seed_and_does_not_hold_the_heads_themselves() -> None:
    def rule(chosen: Any) -> Rule:
        return Rule(Heads(None, chosen), Times(0.0), "off")

    sizes = {(None, layer): (5, 5) for layer in range(7)}
    rules = [rule({3: (1, 2)}), rule({4: (0,)})]
    draws, reach = draws_of(rules, sizes, 11, 0)
    assert draws == draws_of(rules, sizes, 11, 0)[0]
    assert draws != draws_of(rules, sizes, 11, 1)[0]
    assert (len(draws), reach) == (11, 0)
    chosen = {(None, 3, 1), (None, 3, 2), (None, 4, 0)}
    for draw in draws:
        assert set(draw) == chosen
        assert not chosen & set(draw.values())
        assert [one[1] for one in sorted(draw.values(), key=str)] == [3, 3, 4]
    # fewer heads than asked for: all of the layer, then the neighbours
    draws, reach = draws_of([rule({3: (1,)})], sizes, 9, 0)
    heads = [one for draw in draws for one in draw.values()]
    assert heads[:4]
    assert {one[2] for one in heads[:4] if one[1] == 3} == {0, 2, 3, 4}
    assert len(set(heads)) == 9
    assert reach == 1
    # whole layers: other layers
    draws, reach = draws_of([rule({3: None})], sizes, 2, 0)
    assert len(draws) == 2
    assert all(one[1] != 3 for draw in draws for one in draw.values())


def test_heads_that_share_keys_stay_together_in_the_band() -> None:
    m, x = model("llama", "sdpa"), inputs("llama")
    trace = attnscope.trace(m, inputs={"input_ids": ids(1, 13, seed=4)})
    with attnscope.edit(m) as edit:
        edit.heads("L1H0", "L1H1", "L1H2").patch(v=trace)
        effect = edit.effect(inputs=x, target=TARGET, against=AGAINST, control=3)
    assert effect.band is not None
    assert set(effect.band.draws) == {("L1H3", "L1H4", "L1H5"), ("L0H0", "L0H1", "L0H2"), ("L0H3", "L0H4", "L0H5")}
    assert effect.reference == "v of another text (13 tokens)"


def test_a_mean_has_no_note_on_the_distribution() -> None:
    m, x = model("gpt2", "sdpa"), inputs("gpt2")
    with attnscope.edit(m) as edit:
        edit.head("L1H2").mean(over=[x, {"input_ids": ids(1, 7, seed=3)}])
        effect = edit.effect(inputs=x, target=TARGET, against=AGAINST, control=2)
        alone = edit.effect(inputs=x, target=TARGET)
    assert effect.reference == "the mean of 2 texts, over all tokens"
    assert effect.notes == ()
    assert alone.measure == "log-probability"


@torch.no_grad()
def test_fill_ins_and_labels() -> None:
    reader, m = tokenizer(), model("bert_fills")
    with attnscope.edit(m, reader) as edit:
        edit.head("L1H2").off()
        effect = edit.effect("the cat [MASK] on the mat", target="sat", against="ran")
    text = reader("the cat [MASK] on the mat", return_tensors="pt")
    logits = m(**text).logits[0, text["input_ids"][0].tolist().index(reader.mask_token_id)]
    sat, ran = reader.convert_tokens_to_ids(["sat", "ran"])
    assert effect.clean == pytest.approx(float(logits[sat] - logits[ran]), abs=1e-4)
    assert (effect.target, effect.against) == ("sat", "ran")


def asked(m: Any, reader: Any = None, text: Any = None, **given: Any) -> None:
    with attnscope.edit(m, reader) as edit:
        edit.head("L1H1").off()
        try:
            edit.effect(text, **given)
        finally:
            m(**inputs("gpt2"))


WRONG = {
    r"expected target as a text of at least one token, or ids from 0 to 96": {"target": 97},
    r"target ' Mary' is a text, and this edit has no tokenizer": {"target": " Mary"},
    "target and against are the same token": {"target": 5, "against": 5},
    "expected control and seed as whole numbers": {"target": 5, "control": -1},
}


@pytest.mark.parametrize("words", WRONG)
def test_questions_that_cannot_be_asked(words: str) -> None:
    with pytest.raises(InputError, match=words):
        asked(model("gpt2", "sdpa"), inputs=inputs("gpt2"), **WRONG[words])


@pytest.mark.parametrize("against", [None, AGAINST])
def test_without_a_target_the_most_probable_prediction_against_the_next(against: int | None) -> None:
    m, x = model("gpt2", "sdpa"), inputs("gpt2")
    with torch.no_grad():
        first, second = m(**x).logits[0, -1].topk(2).indices.tolist()
    with attnscope.edit(m) as edit:
        edit.head("L1H1").off()
        found = edit.effect(inputs=x, against=against)
        expected = edit.effect(inputs=x, target=first, against=against or second)
    assert (found.target, found.against, found.total) == (expected.target, expected.against, expected.total)


def test_a_model_without_a_head_is_asked_about_its_last_state() -> None:
    m, x = model("bert", "sdpa"), inputs("bert")
    x = {**x, "attention_mask": torch.ones_like(x["input_ids"])}
    x["attention_mask"][:, -3:] = 0
    with torch.no_grad():
        clean = m(**x).last_hidden_state[0]
        with hooks(before_output(m, "bert", 0, off(2))):
            edited = m(**x).last_hidden_state[0]
        with hooks(before_output(m, "bert", 0, off(1))):
            other = m(**x).last_hidden_state[0]
    with attnscope.edit(m) as edit:
        edit.head("L0H2").off()
        effect = edit.effect(inputs=x, control=2)
    found = effect.last_state
    assert found is not None
    torch.testing.assert_close(found.cosine, torch.cosine_similarity(clean, edited, dim=-1))
    torch.testing.assert_close(found.size, edited.norm(dim=-1) / clean.norm(dim=-1))
    means = [state[:-3].mean(0) for state in (clean, edited, other)]
    cosines = [float(torch.cosine_similarity(means[0], one, dim=0)) for one in means]
    assert effect.edited == found.mean_cosine == pytest.approx(cosines[1], abs=1e-6)
    assert found.mean_size == pytest.approx(float(means[1].norm() / means[0].norm()), rel=1e-5)
    assert effect.total == pytest.approx(1 - cosines[1], abs=1e-6)
    assert effect.band is not None
    assert dict(zip(effect.band.draws, effect.band.totals, strict=True))[("L0H1",)] == pytest.approx(
        1 - cosines[2], abs=1e-6
    )
    assert effect.top == ((), ())
    assert "last state: cosine" in str(effect)


def test_a_model_without_a_head_to_predict_with() -> None:
    with pytest.raises(InputError, match="BertModel has no head to predict with"):
        asked(model("bert"), inputs=inputs("bert"), target=5)
    with pytest.raises(InputError, match=r"fills in \[MASK\], and the text has none"):
        asked(model("bert_fills"), tokenizer(), "the cat sat", target="mat")


def test_an_effect_without_an_edit() -> None:
    with attnscope.edit(model("gpt2", "sdpa")) as edit, pytest.raises(InputError, match="there is no edit yet"):
        edit.effect(inputs=inputs("gpt2"), target=5)


def test_an_edit_that_changes_nothing_in_this_text() -> None:
    with (
        pytest.raises(CaptureError, match="positions 40 is beyond the text"),
        attnscope.edit(model("gpt2", "sdpa")) as edit,
    ):
        edit.head("L1H1", positions=40).off().effect(inputs=inputs("gpt2"), target=5)
