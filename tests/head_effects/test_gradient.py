"""Effects to first order, beside a gradient that is taken by hand."""

from typing import Any

import pytest
import torch
from torch import Tensor

import attnscope
from attnscope.errors import InputError
from edited_by_hand import LAYERS, before_output, hooks, made_by
from tiny_models import fresh_model, ids, inputs, model

pytestmark = pytest.mark.exactness


def by_hand(kind: str, layer: int, how: str, run: Any) -> Tensor:
    """∂(logit 11 − logit 7)/∂α of the heads of a layer, z = z₀ + α (z − z₀)."""
    m, at = model(kind), LAYERS[kind]
    z = made_by(m, kind, layer, "o", run)  # [T, H, Dv]
    reference = z.mean(0, keepdim=True) if how == "mean" else torch.zeros_like(z)
    alpha = torch.ones(at.heads, requires_grad=True)

    def change(x: Tensor) -> Tensor:
        return reference + alpha[:, None] * (x - reference)

    with hooks(before_output(m, kind, layer, change)), torch.enable_grad():
        logits = run().logits[0, -1]
    return torch.autograd.grad(logits[11] - logits[7], alpha)[0]


@pytest.mark.parametrize("kind", ["llama", "gemma2", "gpt2"])
@pytest.mark.parametrize("how", ["mean", "off"])
def test_beside_a_gradient_by_hand(kind: str, how: str) -> None:
    m, x = model(kind), inputs(kind)
    table = attnscope.effects(m, None, x, 11, 7, how=how, approximate=True, top=0)
    assert "nobody knows how far off" in str(table)
    for layer in (0, 1):
        wanted = by_hand(kind, layer, how, lambda: m(**x))
        made = [row.effect for row in table if row.layer == layer]
        assert made == pytest.approx(wanted.tolist(), abs=1e-4, rel=1e-4)


def test_the_largest_are_measured_too() -> None:
    m, x = fresh_model("llama"), {"input_ids": ids(1, 13)}
    exact = attnscope.effects(m, None, x, 11, 7, how="off")
    table = attnscope.effects(m, None, x, 11, 7, how="off", approximate=True, top=5)
    measured = [row for row in table if row.exact is not None]
    assert {row.name for row in measured} == {row.name for row in table.strongest[:5]}
    for row in measured:
        assert row.exact == pytest.approx(exact[row.name].effect, abs=1e-5)
    wrong = [abs(row.effect - (row.exact or 0.0)) for row in measured]
    assert f"off by {sum(wrong) / 5:.3f} on average and {max(wrong):.3f} at most" in str(table)
    assert all(parameter.requires_grad and parameter.grad is None for parameter in m.parameters())


def test_groups_and_continuations_add_up() -> None:
    m, x = model("llama"), inputs("llama")
    heads = attnscope.effects(m, None, x, [11, 3], [7], how="off", approximate=True, top=0)
    groups = attnscope.effects(m, None, x, [11, 3], [7], how="off", approximate=True, top=2, each="group")
    for group in groups:
        parts = [row.effect for row in heads if row.layer == group.layer and row.heads[0] in group.heads]
        assert group.effect == pytest.approx(sum(parts), abs=1e-5)
    own = attnscope.effects(m, None, x, how="off", approximate=True, top=12)
    assert all(row.exact is not None for row in own)
    small = attnscope.effects(m, None, x, how=0.999)
    assert [row.effect * 1000 for row in small] == pytest.approx([row.effect for row in own], abs=2e-2)


def test_a_file_keeps_what_was_exact(tmp_path: Any) -> None:
    table = attnscope.effects(model("gpt2"), None, inputs("gpt2"), 11, how="mean", approximate=True, top=2)
    again = attnscope.EffectTable.load(table.save(tmp_path / "t.json"))
    assert str(again) == str(table)
    assert again.approximate


@pytest.mark.parametrize(
    ("more", "message"), [({"top": -1}, "expected top"), ({"approximate": "no"}, "approximate is")]
)
def test_bad_input(more: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        attnscope.effects(model("gpt2"), None, inputs("gpt2"), 11, how="off", **more)
