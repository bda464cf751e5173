"""The direct effect of an edit, beside the formula and the attribution of a trace."""

from typing import Any

import pytest
import torch
from torch import Tensor

import attnscope
from edited_by_hand import hooks, made_by
from tiny_models import ids, inputs, model

pytestmark = pytest.mark.exactness

TARGET, AGAINST = 11, 23


def read(m: Any, x: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """What Llama's final norm is given at the last token, and its logits there."""
    seen: list[Tensor] = []
    with torch.no_grad(), hooks(m.model.norm.register_forward_pre_hook(lambda _, args: seen.append(args[0][0, -1]))):
        logits = m(**x).logits[0, -1]
    return seen[0], logits


@pytest.mark.parametrize("verb", ["off", "times", "mean", "patch", "cut"])
def test_llama_by_hand(verb: str) -> None:
    m, x, other = model("llama"), inputs("llama"), {"input_ids": ids(1, 13, seed=4)}
    trace = attnscope.trace(m, inputs=other)
    z = made_by(m, "llama", 1, "o", lambda: m(**x))[-1, 2]  # of the last token
    theirs = made_by(m, "llama", 1, "o", lambda: m(**other))
    with attnscope.edit(m) as edit:
        head = edit.head("L1H2")
        match verb:
            case "off":
                head.off()
            case "times":
                head.times(0.25)
            case "mean":
                head.mean(over=other)
            case "patch":
                head.patch(trace)
            case "cut":
                head.cut(query=-1, key=slice(0, 4))
        effect = edit.effect(inputs=x, target=TARGET, against=AGAINST)
        edited, after = read(m, x)
        new = {"off": 0 * z, "times": 0.25 * z, "mean": theirs[:, 2].mean(0), "patch": theirs[-1, 2]}
        new["cut"] = made_by(m, "llama", 1, "o", lambda: m(**x))[-1, 2]
    before, logits = read(m, x)
    sigma = (before.square().mean() + m.config.rms_norm_eps).sqrt()
    reading = m.model.norm.weight / sigma * (m.lm_head.weight[TARGET] - m.lm_head.weight[AGAINST])  # [M]
    write = m.model.layers[1].self_attn.o_proj.weight[:, 20:30]  # of head 2, [M, D]
    direct = float(reading @ (write @ (z - new[verb])))
    total = float((logits - after)[TARGET] - (logits - after)[AGAINST])
    assert effect.total == pytest.approx(total, abs=1e-4)
    assert effect.direct == pytest.approx(direct, abs=1e-4)
    assert effect.downstream == pytest.approx(total - direct, abs=1e-4)
    assert effect.rescaling == pytest.approx(total - float(reading @ (before - edited)), abs=1e-4)


@pytest.mark.parametrize("kind", ["gpt2", "llama", "gemma2", "olmo2", "gpt_oss", "t5_generates"])
def test_off_is_what_the_trace_attributes_to_the_head(kind: str) -> None:
    m, x = model(kind), inputs("t5" if kind == "t5_generates" else kind)
    trace = attnscope.trace(m, inputs=x, keep={"stream"})
    found = trace.attribution(TARGET, AGAINST)
    for stack in ("decoder", "cross") if kind == "t5_generates" else (None,):
        with attnscope.edit(m) as edit:
            edit.heads("L0H1", "L1H2", stack=stack).off()
            effect = edit.effect(inputs=x, target=TARGET, against=AGAINST)
        mark = "X" if stack == "cross" else ""
        first = effect.direct
        assert first is not None
        with attnscope.edit(m) as edit:
            edit.head("L1H2", stack=stack).off()
            effect = edit.effect(inputs=x, target=TARGET, against=AGAINST)
        assert effect.direct == pytest.approx(found.of(f"L1{mark}H2"), rel=1e-3, abs=1e-4)
        assert first == pytest.approx(found.of(f"L0{mark}H1") + found.of(f"L1{mark}H2"), rel=1e-3, abs=1e-4)
        assert effect.direct is not None
        assert effect.downstream == pytest.approx(effect.total - effect.direct, abs=1e-6)


def test_an_encoder_writes_nothing_directly() -> None:
    with attnscope.edit(model("t5_generates")) as edit:
        edit.head("L1H2", stack="encoder").off()
        effect = edit.effect(inputs=inputs("t5"), target=TARGET, against=AGAINST)
    assert effect.direct == 0
    assert effect.downstream == effect.total != 0


def test_an_edit_elsewhere_in_the_text_writes_nothing_where_the_prediction_stands() -> None:
    m, x = model("llama"), inputs("llama")
    with attnscope.edit(m) as edit:
        edit.head("L1H2", positions=slice(0, -1)).off()
        effect = edit.effect(inputs=x, target=TARGET, against=AGAINST)
    assert effect.direct == pytest.approx(0, abs=1e-5)


def test_where_there_is_no_direct_effect_it_is_said() -> None:
    m, x = model("llama"), inputs("llama")

    def notes(given: Any, **asked: Any) -> tuple[Any, str]:
        with attnscope.edit(m if given is None else given) as edit:
            edit.head("L1H2").off()
            effect = edit.effect(inputs=x, **asked)
        return effect, " ".join(effect.notes)

    effect, said = notes(None, target=TARGET)
    assert effect.direct is None
    assert "need against=" in said
    effect, said = notes(None, target=(TARGET, 5), against=(TARGET, 7))
    assert effect.direct is None
    assert effect.repair is None
    assert "begin with the same token" in said
    effect, _ = notes(None, target=(TARGET, 5), against=(AGAINST, 7))
    assert effect.direct is not None
    assert effect.downstream is None
    assert "the first token" in str(effect)
    effect, said = notes(model("gemma2"), target=TARGET, against=AGAINST)
    assert "direct is before the cap" in said


def test_repair_is_said_where_later_layers_make_up_for_the_head() -> None:
    def of(total: float, direct: float) -> Any:
        edits: Any = ("edit",)
        tops: Any = ((), ())
        return attnscope.Effect(
            "a", "b", "logit difference", total, 0.0, (0.5, 0.5), 0.0, tops, "zero", edits, None, direct
        )

    assert of(0.02, 0.68).repair
    assert of(-0.04, 0.68).repair, "a little too much"
    assert of(2.27, 2.5).repair
    assert not of(-1.2, 0.13).repair, "mediation: it is another effect, and larger"
    assert not of(3.04, 2.86).repair, "downstream goes the same way"
    assert "(repair)" in str(of(0.02, 0.68))
