"""What a live view is answered, beside attnscope.edit on whole passes."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

import attnscope
from attnscope import InputError, NotCaptured
from attnscope.head_effects import blocks
from attnscope.live_edits import LiveEdits
from attnscope.views.head_edits import parse_edit
from tiny_models import inputs, model, tokenizer

EDITS = ["off_L1H2", "times_L0H1_x0.5", "cut_L1H0_q6_k2", "weights_L0H0_q5_k3_x0.9"]


def live(kind: str, **more: Any) -> tuple[Any, LiveEdits]:
    m = model(kind, "sdpa")
    return m, LiveEdits(m, None, attnscope.trace(m, inputs=inputs(kind)), **more)


def by_hand(m: Any, kind: str, edits: list[str], control: int = 0, **asked: Any) -> Any:
    """The effect of the same edits, on whole passes; the lines of "copy as Python" make them."""
    with attnscope.edit(m) as edit:
        for one in edits:
            eval(parse_edit(one).code(), {"edit": edit})
        return edit.effect(inputs=inputs(kind), control=control, **asked)


@pytest.mark.exactness
@pytest.mark.parametrize("kind", ["gpt2", "llama", "llama_masked", "bert_fills", "bert_labels", "t5_generates"])
def test_predictions_before_and_after(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    stack = "_in_decoder" if kind == "t5_generates" else ""
    edits = [f"{one}{stack}" for one in EDITS]
    if kind in ("bert_fills", "llama_masked"):
        kind = kind.removesuffix("_masked")
        m, reader, text = model(kind, "sdpa"), tokenizer(), "the cat [MASK] on the mat"
        found = LiveEdits(m, reader, attnscope.trace(m, reader, text)).answer(["off_L1H2"])
        with attnscope.edit(m, reader) as edit:
            edit.head("L1H2").off()
            effect = edit.effect(text)
        assert (found["task"], found["position"]) == ("fill", 3)
    else:
        m, asker = live(kind)
        found, effect = asker.answer(edits), by_hand(m, kind, edits)
    for name, expected in (("score", (effect.clean, effect.edited)), ("kl", effect.kl)):
        assert found[name] == pytest.approx(expected, rel=1e-4, abs=1e-4), name
    assert found["measure"] == effect.measure == "logit difference"
    for side in (0, 1):
        mine = sorted((one["probability"][side] for one in found["predictions"]), reverse=True)
        assert mine[: len(effect.top[side])] == pytest.approx([p for _, p in effect.top[side]], rel=1e-3)
    assert found["asked"][0]["id"] == found["predictions"][0]["id"]


@pytest.mark.exactness
def test_the_last_state_of_a_model_that_predicts_nothing() -> None:
    m, asker = live("bert")
    found, effect = asker.answer(EDITS), by_hand(m, "bert", EDITS)
    assert effect.last_state is not None
    assert (found["task"], found["predictions"], found["kl"]) == ("state", [], None)
    assert found["state"]["cosine"] == pytest.approx(effect.last_state.cosine.tolist(), abs=1e-5)
    assert found["state"]["size"] == pytest.approx(effect.last_state.size.tolist(), abs=1e-5)
    assert found["score"] == pytest.approx([1, effect.edited], abs=1e-6)


@pytest.mark.exactness
@pytest.mark.parametrize("kind", ["llama", "bert"])
def test_the_band_comes_a_few_draws_at_a_time(kind: str) -> None:
    m, asker = live(kind)
    asker.answer(["off_L1H1"])
    kept = asker._kept
    assert kept is not None
    kept.rows = 3
    effect = by_hand(m, kind, ["off_L1H1"], control=20)
    assert effect.band is not None
    totals: list[float] = []
    heads: list[str] = []
    while True:
        piece = asker.answer(["off_L1H1"], first=len(totals))
        totals += piece["totals"]
        heads += [name for names in piece["heads"] for name in names]
        if len(totals) >= piece["draws"]:
            break
        assert len(piece["totals"]) == 3
    assert totals == pytest.approx(effect.band.totals, abs=1e-4)
    assert [(name,) for name in heads] == list(effect.band.draws)
    assert piece["reach"] == effect.band.reach


def test_layers_before_the_edit_do_not_run_again(monkeypatch: pytest.MonkeyPatch) -> None:
    m, asker = live("gpt2")
    asker.answer(["off_L0H1"])
    ran: list[int] = []
    handles = [
        block.mlp.register_forward_hook(lambda *_, number=number: ran.append(number))
        for number, block in enumerate(m.transformer.h)
    ]
    try:
        asker.answer(["off_L1H1"])
        assert ran == [1]
        asker.answer(["off_L1H1", "cut_L0H1_q5_k2"])
        assert ran == [1, 0, 1]
        asker.answer([])
        assert ran == [1, 0, 1]
    finally:
        for handle in handles:
            handle.remove()


def test_a_model_whose_layers_cannot_be_run_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the layers returned is kept wrongly here: it is tried, and whole passes are run."""
    original: Callable[..., Any] = blocks._widened
    monkeypatch.setattr(blocks, "_widened", lambda x, rows, own: original(x, rows, own) * 1.1 if x.ndim else x)
    m, asker = live("gpt2")
    found, effect = asker.answer(["off_L1H2"]), by_hand(m, "gpt2", ["off_L1H2"])
    assert found["score"] == pytest.approx((effect.clean, effect.edited), abs=1e-4)


def test_what_is_asked_about_can_be_chosen() -> None:
    m, asker = live("gpt2")
    found, effect = asker.answer(["off_L1H2"], 31, 47), by_hand(m, "gpt2", ["off_L1H2"], target=31, against=47)
    assert found["score"] == pytest.approx((effect.clean, effect.edited), abs=1e-4)
    assert [one["id"] for one in found["asked"]] == [31, 47]


def test_a_patch_takes_from_the_other_text() -> None:
    m = model("gpt2", "sdpa")
    x, y = inputs("gpt2"), inputs("gpt2", 11)
    a, b = (attnscope.trace(m, inputs=one) for one in (x, y))
    align = {position: position for position in range(4, 11)}
    found = LiveEdits(m, None, a, other=b, align=align).answer(["patch_L1H2"])
    with attnscope.edit(m) as edit:
        edit.head("L1H2").patch(b, align=align)
        effect = edit.effect(inputs=x)
    assert found["score"] == pytest.approx((effect.clean, effect.edited), abs=1e-4)
    with pytest.raises(InputError, match="there is one text here"):
        LiveEdits(m, None, a).answer(["patch_L1H2"])


def test_the_model_is_as_it_was_after_an_edit_that_is_refused() -> None:
    m, asker = live("gpt2")
    with torch.no_grad():
        clean = m(**inputs("gpt2")).logits
    for wrong in (["off_L7H0"], ["off_L1H9"], ["weights_L1H0_q2_k9_x0.5"], ["cut_L1H0_q40_k1"], ["nothing"]):
        with pytest.raises((InputError, attnscope.CaptureError)):
            asker.answer(wrong)
        with torch.no_grad():
            assert torch.equal(m(**inputs("gpt2")).logits, clean)
    assert asker.answer(["off_L1H2"])["edits"] == ["off_L1H2"]


def test_a_trace_that_cannot_be_run_again() -> None:
    made = attnscope.Trace.from_qkv(*torch.randn(3, 1, 2, 5, 7).unbind(), tokens=list("abcde"))
    with pytest.raises(NotCaptured, match="does not have the model's inputs"):
        LiveEdits(model("gpt2", "sdpa"), None, made).answer(["off_L0H0"])
