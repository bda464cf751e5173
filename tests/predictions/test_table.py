"""The StreamTable that a page draws, against attribution, lens and hidden states."""

from pathlib import Path

import pytest
import torch

import attnscope
import tiny_models as tiny
from attnscope.predictions.table import stream_table
from attnscope.views.stream_column import column_at
from closeness import close
from followed_models import inputs_of, traced


@pytest.mark.exactness
@pytest.mark.parametrize("name", ["llama", "gpt2", "gemma2", "gptj", "t5_generates"])
def test_a_table_of_a_model_that_predicts(name: str) -> None:
    trace = traced(name)
    table = stream_table(trace, [2, 5])
    with torch.no_grad():
        out = tiny.model(name)(**inputs_of(name), output_hidden_states=True)
    best = out.logits[0, [2, 5]].topk(10)
    assert [[one.id for one in row] for row in table.targets] == best.indices.tolist()
    assert close(table.logits, best.values)
    assert table.contributions is not None
    assert close(table.contributions.sum(1), best.values, magnitude=float(table.contributions.abs().sum(1).max()))
    found = trace.attribution(table.targets[1][0].id, table.targets[1][3].id, 5)
    ours = table.contributions[1, :, 0] - table.contributions[1, :, 3]
    assert ours.tolist() == pytest.approx([one.value for one in found], abs=2e-5)
    assert [part.name for part in table.parts] == [one.name for one in found]
    states = out.decoder_hidden_states if name == "t5_generates" else out.hidden_states
    assert close(table.sizes[:, :-1], torch.stack([state[0, [2, 5]].norm(dim=-1) for state in states[:-1]], 1))
    assert table.lens_ids is not None
    assert table.lens_ids[:, -1].tolist() == best.indices[:, 0].tolist()
    assert table.receipt.passed


@pytest.mark.exactness
def test_what_blocks_write_and_how_far_they_turn() -> None:
    model, seen = tiny.model("llama"), {}
    block = model.model.layers[1]
    handles = [
        module.register_forward_hook(lambda _, args, out, name=name: seen.update({name: (args, out)}))
        for name, module in {
            "o": block.self_attn.o_proj,
            "mlp": block.mlp,
            "norm": block.post_attention_layernorm,
        }.items()
    ]
    with torch.no_grad():
        states = model(**inputs_of("llama"), output_hidden_states=True).hidden_states
    for handle in handles:
        handle.remove()
    table = stream_table(traced("llama"), [4])
    middle, wrote = seen["norm"][0][0][0, 4], seen["o"][1][0, 4]
    assert [block.name for block in table.blocks] == ["L0 attention", "L0 MLP", "L1 attention", "L1 MLP"]
    assert close(table.writes[0, 2], wrote.norm())
    assert close(table.turns[0, 2], torch.cosine_similarity(states[1][0, 4], middle, dim=0))
    after = middle + seen["mlp"][1][0, 4]
    assert close(table.turns[0, 3], torch.cosine_similarity(middle, after, dim=0))
    assert close(table.sizes[0, -1], after.norm())


@pytest.mark.parametrize(("name", "task"), [("bert", ""), ("bert_fills", "fill"), ("bert_labels", "")])
def test_a_table_of_an_encoder_has_sizes_and_turns(name: str, task: str) -> None:
    table = stream_table(traced(name))
    assert table.task == task
    assert table.contributions is None
    assert table.lens_ids is None
    assert table.refused
    assert table.positions == tuple(range(13))
    assert bool((table.turns.abs() <= 1 + 1e-6).all())
    assert bool((table.writes > 0).all())


@pytest.mark.exactness
@pytest.mark.parametrize(("name", "at"), [("llama_labels", 12), ("vit_labels", 0)])
def test_a_label_of_the_whole_text_stands_where_it_is_read(name: str, at: int, tmp_path: Path) -> None:
    model, inputs = tiny.model(name), tiny.inputs(name)
    with torch.no_grad():
        logits = model(**inputs).logits[0]
    view = attnscope.show(model, None, inputs=inputs, level="stream")
    trace, table = view.trace, view.trace.stream_table
    assert table is not None
    assert view.state.query == at
    order = logits.argsort(descending=True).tolist()
    assert [[one.text for one in row] for row in table.targets] == [
        [f"LABEL_{i}" for i in order] if position == at else [] for position in table.positions
    ]
    row = table.positions.index(at)
    assert close(table.logits[row], logits[order])
    assert close(table.probabilities[row], logits.softmax(-1)[order])
    own = trace.attribution(*order[:2])
    assert table.contributions is not None
    added = table.contributions[row, :, 0] - table.contributions[row, :, 1]
    for part, value in zip(table.parts, added.tolist(), strict=True):
        if part.kind in ("head", "mlp"):
            assert own.of(part.name) == pytest.approx(value, abs=1e-5)
    assert own.total == pytest.approx(float(added.sum()), abs=1e-5)
    assert column_at(table, row, None, None).attributed
    other = column_at(table, row - 1 if row else 1, None, None)
    assert (other.attributed, other.predictions, other.mine) == (False, (), None)
    assert table.refused == f"the label of the whole text is read from the token at {at}"
    trace.save(tmp_path / "t.safetensors")
    back = attnscope.load_trace(tmp_path / "t.safetensors").stream_table
    assert back is not None
    assert back.targets == table.targets
    few = attnscope.api.with_stream_table(trace, [3, 5]).stream_table
    assert few is not None
    assert few.targets == ()  # it does not hold the place
    assert few.refused.endswith("which this view does not hold")


def test_a_saved_trace_keeps_its_table(tmp_path: Path) -> None:
    trace = attnscope.api.with_stream_table(traced("gemma2"), [3, 12])
    trace.save(tmp_path / "t.safetensors")
    back = attnscope.load_trace(tmp_path / "t.safetensors")
    assert trace.stream_table is not None
    assert back.stream_table is not None
    assert back.streams == ()
    assert back.stream_table.targets == trace.stream_table.targets
    assert torch.equal(back.stream_table.turns, trace.stream_table.turns)
