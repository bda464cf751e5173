"""Path effects beside the same by hand on GPT-2, and what must hold on every family."""

from typing import Any

import pytest
import torch

import attnscope
from attnscope.errors import CaptureError, InputError
from tiny_models import inputs, model, tokenizer

pytestmark = pytest.mark.exactness


def by_hand(receiver: int, through: str) -> float:
    """GPT-2: L0H1 off in the q, k or v of one head of layer 1, with its LayerNorm's scale frozen."""
    m, x = model("gpt2"), inputs("gpt2")
    blocks = m.transformer.h
    size = m.config.n_embd // m.config.n_head
    seen: dict[str, Any] = {}
    hooks = [
        blocks[0].attn.c_proj.register_forward_pre_hook(lambda _, a: seen.update(z=a[0].detach())),
        blocks[1].ln_1.register_forward_pre_hook(lambda _, a: seen.update(x=a[0].detach())),
    ]
    with torch.no_grad():
        clean = m(**x).logits[0, -1]
    for hook in hooks:
        hook.remove()
    own = torch.zeros_like(seen["z"])
    own[..., size : 2 * size] = -seen["z"][..., size : 2 * size]
    write = own @ blocks[0].attn.c_proj.weight  # without b_O
    norm = blocks[1].ln_1
    sigma = (seen["x"].var(-1, unbiased=False, keepdim=True) + norm.eps).sqrt()
    change = ((write - write.mean(-1, keepdim=True)) / sigma * norm.weight) @ blocks[1].attn.c_attn.weight
    first = "qkv".index(through) * m.config.n_embd + receiver * size

    def exchange(_: Any, __: Any, made: torch.Tensor) -> torch.Tensor:
        made = made.clone()
        made[..., first : first + size] += change[..., first : first + size]
        return made

    hook = blocks[1].attn.c_attn.register_forward_hook(exchange)
    with torch.no_grad():
        edited = m(**x).logits[0, -1]
    hook.remove()
    return float((clean[11] - clean[7]) - (edited[11] - edited[7]))


@pytest.mark.parametrize("through", ["q", "k", "v"])
def test_each_later_head_as_by_hand(through: str) -> None:
    m = model("gpt2")
    table = attnscope.path_effects(
        m, None, inputs("gpt2"), 11, 7, sender="L0H1", through=through, how="off", quiet=True
    )
    assert [row.name for row in table] == [f"L1H{head}" for head in range(m.config.n_head)]
    for row in table:
        assert row.effect == pytest.approx(by_hand(row.heads[0], through), abs=2e-6)
    assert max(abs(row.effect) for row in table) > 1e-4


@pytest.mark.parametrize("kind", ["llama", "gemma2", "olmo2", "gpt_oss", "bert_fills"])
def test_families(kind: str) -> None:
    m, text = model(kind), dict(inputs(kind))
    reader = None
    if kind == "bert_fills":
        reader, text["input_ids"] = tokenizer(), text["input_ids"].clone()
        text["input_ids"][0, 6] = reader.mask_token_id
    for through in ("q", "k"):
        table = attnscope.path_effects(
            m, reader, text, 11, 7, sender="L0H1", through=through, how="mean", over=text, quiet=True
        )
        assert {row.layer for row in table} == {*range(1, m.config.num_hidden_layers)}
        assert any(row.effect != 0 for row in table)
        assert through in table.heading


def test_a_path_that_changes_nothing_has_no_effect() -> None:
    table = attnscope.path_effects(
        model("llama"), None, inputs("llama"), 11, 7, sender="L0H1", how=1 - 1e-9, quiet=True
    )
    assert max(abs(row.effect) for row in table) < 1e-5


def test_terms_that_do_not_add_up_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    import attnscope.head_effects.paths as paths

    whole = paths.values

    def wrong(roots: Any, cut: Any, given: Any = None) -> Any:
        return {node: made * (1.01 if given is None else 1.0) for node, made in whole(roots, cut, given).items()}

    monkeypatch.setattr(paths, "values", wrong)
    with pytest.raises(CaptureError, match="do not add up"):
        attnscope.path_effects(model("llama"), None, inputs("llama"), 11, 7, sender="L0H1", quiet=True)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"sender": "L1H0"}, "back to L1H0: no head comes after it"),
        ({"sender": "L9H0"}, "no layer 9"),
        ({"sender": "L0H99"}, "L0H99 is not there"),
        ({"sender": "L0H1", "through": "z"}, "expected through as 'q', 'k', 'v', got 'z'"),
    ],
)
def test_wrong_input(options: dict[str, Any], words: str) -> None:
    with pytest.raises((InputError, CaptureError), match=words):
        attnscope.path_effects(model("gpt2"), None, inputs("gpt2"), 11, 7, quiet=True, **options)


def test_targets_of_several_tokens_are_refused() -> None:
    with pytest.raises(InputError, match="one token"):
        attnscope.path_effects(model("gpt2"), None, inputs("gpt2"), [11, 3], sender="L0H1", quiet=True)
