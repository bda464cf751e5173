"""The receipt of an edit: every wrong edit fails it."""

from dataclasses import replace
from typing import Any

import pytest
import torch

import attnscope
import parts
from attnscope import CaptureError
from attnscope.capturing.listen import attention_interface
from attnscope.capturing.read import effective_projection
from attnscope.editing import recompute, session
from attnscope.editing.addresses import Addresses
from attnscope.editing.apply import EditedCall
from attnscope.editing.rules import Times
from tiny_models import fresh_model, inputs, model


def run(m: Any, verb: Any, **given: Any) -> attnscope.Edit:
    with torch.no_grad(), attnscope.edit(m) as edit:
        verb(edit)
        m(**(given or inputs("llama")))
    return edit


def off(edit: Any) -> None:
    edit.head("L1H2").off()


def test_it_says_what_was_checked() -> None:
    edit = run(model("llama", "sdpa"), off)
    receipt = edit.receipt
    assert receipt
    assert receipt.fired == (('edit.head("L1H2").off()', 1),)
    (site,) = receipt.sites
    assert (site.name, site.heads, site.calls, site.others_equal) == ("layer 1", (2,), 1, True)
    assert site.write_error is not None
    assert site.write_error < 1e-6
    assert receipt.model == ()
    assert "all else bit-equal" in str(receipt)
    assert "the model is as it was" in receipt._repr_html_()


def test_an_edit_of_another_head_fails(monkeypatch: Any) -> None:
    right = EditedCall._edited_z

    def wrong(self: Any, bound: Any, z: Any, touched: Any) -> Any:
        seen = torch.zeros_like(touched)
        made = right(self, replace(bound, heads=(bound.heads[0] + 1,)), z, seen)
        touched[:, list(bound.heads)] = True
        return made

    monkeypatch.setattr(EditedCall, "_edited_z", wrong)
    with pytest.raises(CaptureError, match=r"does not pass its receipt.*OTHER HEADS OR QUERIES CHANGED"):
        run(model("llama", "sdpa"), off)


@pytest.mark.parametrize("verb", ["k", "z"])
def test_an_edit_that_touches_more_than_its_positions_fails(monkeypatch: Any, verb: str) -> None:
    m = model("llama", "sdpa")
    trace = attnscope.trace(m, inputs=inputs("llama"))

    def edits(edit: Any) -> None:
        chosen = edit.heads("L1H3", "L1H4", "L1H5", positions=4)
        chosen.times(3) if verb == "z" else chosen.patch(k=trace)

    run(m, edits)
    if verb == "z":
        monkeypatch.setattr(
            EditedCall,
            "_mixed",
            lambda self, new, old, where, bound: self._fired.setdefault(id(bound.rule), bound.rule) and new,
        )
    else:
        right = EditedCall.inputs

        def wrong(self: Any, q: Any, k: Any, v: Any) -> Any:
            q, k, v = right(self, q, k, v)
            return q, k * 2, v

        monkeypatch.setattr(EditedCall, "inputs", wrong)
    with pytest.raises(CaptureError, match="OTHER HEADS OR QUERIES CHANGED"):
        run(m, edits)


def test_an_edit_that_does_not_reach_the_model_fails(monkeypatch: Any) -> None:
    """It fires, and the module gets what it would have had: the silent failure of hooks on the wrong tensor."""
    right = attention_interface._edited

    def wrong(visit: Any, call: Any, result: Any, untouched: Any) -> Any:
        return right(visit, call, result, untouched)[0], result

    monkeypatch.setattr(attention_interface, "_edited", wrong)
    for kind, implementation in (("llama", "sdpa"), ("gpt2", "eager")):  # taken as it is, and taken as a copy
        with pytest.raises(CaptureError, match="THE MODEL WENT ON WITHOUT THE EDIT"):
            run(model(kind, implementation), off, **inputs(kind))


def test_another_factor_fails(monkeypatch: Any) -> None:
    """What W_O got is not what the edit says that it put there."""
    right = attention_interface._edited

    def wrong(visit: Any, call: Any, result: Any, untouched: Any) -> Any:
        made, given = right(visit, call, result, untouched)
        given[0].mul_(1.01)
        return made, given

    monkeypatch.setattr(attention_interface, "_edited", wrong)
    with pytest.raises(CaptureError, match="WRITES DO NOT ADD UP"):
        run(model("llama", "sdpa"), lambda edit: edit.head("L1H2").times(0.5))


def test_a_wrong_projection_fails(monkeypatch: Any) -> None:
    right = effective_projection._of_linear

    def wrong(module: Any) -> Any:
        made = right(module)
        return replace(made, parameter=made.parameter.roll(10, 1))  # the heads of W_O one further

    monkeypatch.setattr(effective_projection, "_of_linear", wrong)
    with pytest.raises(CaptureError, match="WRITES DO NOT ADD UP"):
        run(model("llama", "sdpa"), lambda edit: edit.head("L1H2").times(0.5))


def test_a_wrong_chain_is_refused(monkeypatch: Any) -> None:
    monkeypatch.setattr(recompute, "scaling_of", lambda call: 0.3)
    with pytest.raises(CaptureError, match="cannot be computed again"):
        run(model("llama", "sdpa"), lambda edit: edit.head("L1H2").cut(query=5, key=2))


def test_another_place_is_refused(monkeypatch: Any) -> None:
    """The calls of a pass run in another order than foreseen: the head named is another one."""
    right = Addresses.place_of

    def wrong(self: Any, path: str, cross: bool, number: int) -> Any:
        found = right(self, path, cross, number)
        return found._replace(layer=1 - found.layer)

    monkeypatch.setattr(session.Addresses, "place_of", wrong)
    with pytest.raises(CaptureError, match="the edit was made in layer 1, which a trace of this pass calls layer 0"):
        run(model("llama", "sdpa"), off)


def test_a_model_that_was_written_to_is_named() -> None:
    m = fresh_model("gpt2", "sdpa")
    with torch.no_grad(), attnscope.edit(m) as edit:
        edit.head("L1H2").off()
        m(**inputs("gpt2"))
        m.transformer.h[0].mlp.c_fc.bias.add_(1)
    assert edit.receipt.model == ("transformer.h.0.mlp.c_fc.bias",)
    assert not edit.receipt.passed
    assert "changed in the model: transformer.h.0.mlp.c_fc.bias" in str(edit.receipt)


def test_a_gate_before_the_output_is_said() -> None:
    m = parts.Gated()
    edit = run(m, lambda edit: edit.head("L0H1").off(), x=torch.randn(1, 7, 15))
    (site,) = edit.receipt.sites
    assert site.write_error is None
    assert "no linear layer took" in site.note
    assert edit.receipt.passed


def test_an_edit_that_changes_nothing_is_an_edit() -> None:
    m = model("llama", "sdpa")
    trace = attnscope.trace(m, inputs=inputs("llama"))
    with torch.no_grad():
        clean = m(**inputs("llama")).logits
        with attnscope.edit(m) as edit:
            edit.head("L1H2").times(1)
            edit.head("L1H2").patch(trace)
            assert torch.equal(m(**inputs("llama")).logits, clean)
    assert isinstance(edit.rules[0].change, Times)
