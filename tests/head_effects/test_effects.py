"""The effects of all heads beside `edit(...).effect`, one head at a time; what a pass from the middle costs; stop and resume."""

import json
from typing import Any

import pytest
import torch

import attnscope
from attnscope.errors import InputError
from attnscope.head_effects.blocks import blocks_of
from tiny_models import fresh_model, inputs, model, tokenizer

pytestmark = pytest.mark.exactness

FAMILIES = ("bert_fills", "gpt2", "llama", "gemma2", "olmo2", "t5_generates", "gpt_oss")


def read_by(kind: str) -> tuple[Any, dict[str, torch.Tensor]]:
    """The tokenizer, where something is filled in, and the inputs."""
    x = dict(inputs(kind))
    if kind != "bert_fills":
        return None, x
    x["input_ids"] = x["input_ids"].clone()
    x["input_ids"][0, 6] = tokenizer().mask_token_id
    return tokenizer(), x


def of_one(kind: str, row: Any, how: Any) -> float:
    m, (t, x) = model(kind), read_by(kind)
    with attnscope.edit(m, t) as edit:
        heads = [f"L{row.layer}H{head}" for head in row.heads]
        chosen = edit.heads(*heads, stack=row.stack or None)
        chosen.off() if how == "off" else chosen.mean(over=x) if how == "mean" else chosen.times(how)
        return edit.effect(inputs=x, target=11, against=7).total


@pytest.mark.parametrize("kind", FAMILIES)
def test_each_head_as_if_alone(kind: str) -> None:
    for how in ("mean", "off"):
        table = attnscope.effects(model(kind), *read_by(kind), 11, 7, how=how)
        assert not [note for note in table.notes if "run alone" in note]
        for row in [*table[:2], *table[-2:]]:
            assert row.effect == pytest.approx(of_one(kind, row, how), abs=2e-5)
        assert max(abs(row.effect) for row in table) > 0.05
    stacks = {row.stack for row in table}
    assert stacks == ({"encoder", "decoder", "cross"} if kind.startswith("t5") else {""})


def test_a_mask_in_a_text_of_a_model_that_can_leave_logits_out() -> None:
    """A causal model with such a tokenizer: the prediction stands at the mask, so the logits of all positions are needed."""
    m, t, text = model("llama"), tokenizer(), "the cat [MASK] on the mat"
    table = attnscope.effects(m, t, text, "sat", "ran", how="off", layers=1)
    with attnscope.edit(m, t) as edit:
        edit.head(table[0].name).off()
        one = edit.effect(text, target="sat", against="ran")
    assert table.clean[0] == pytest.approx(one.clean, abs=2e-5)
    assert table[0].effect == pytest.approx(one.total, abs=2e-5)


def test_the_mean_over_inputs_that_are_the_text_itself() -> None:
    m, x = model("llama"), inputs("llama")
    equal = {name: one.clone() for name, one in x.items()}
    tables = [attnscope.effects(m, None, x, 11, 7, layers=1, over=over) for over in (None, equal)]
    assert [row.effect for row in tables[0]] == [row.effect for row in tables[1]]


@pytest.mark.parametrize(("each", "number"), [("group", 4), ("layer", 2)])
def test_groups_and_layers(each: str, number: int) -> None:
    table = attnscope.effects(model("llama"), None, inputs("llama"), 11, 7, how=0.5, each=each)
    assert len(table) == number
    assert [len(row.heads) for row in table] == [12 // number] * number
    for row in table:
        assert row.effect == pytest.approx(of_one("llama", row, 0.5), abs=2e-5)


def test_targets_of_several_tokens() -> None:
    m, x = model("llama"), inputs("llama")
    table = attnscope.effects(m, None, x, [11, 7, 3], [7, 5], how="off", layers=1)
    assert table.measure == "difference of the summed log-probabilities"
    for row in table[:3]:
        with attnscope.edit(m) as edit:
            edit.head(row.name).off()
            one = edit.effect(inputs=x, target=[11, 7, 3], against=[7, 5])
        assert row.effect == pytest.approx(one.total, abs=2e-5)
        assert table.clean[0] == pytest.approx(one.clean, abs=2e-5)


def test_several_texts_each_with_its_target() -> None:
    m, t = model("gpt2"), tokenizer()
    asked = [("the cat sat on the mat", "dog", "cat"), ("a dog ran to a cat.", "air"), ("it flies", "high", "low")]
    texts = [one[0] for one in asked]
    table = attnscope.effects(m, t, asked, against="plane", how="mean", over=texts)
    row = table["L1H2"]
    assert row.n == 3
    found = []
    for text, target, *against in asked:
        with attnscope.edit(m, t) as edit:
            edit.head("L1H2").mean(over=texts)
            found.append(edit.effect(text, target, against[0] if against else "plane").total)
    assert row.effect == pytest.approx(sum(found) / 3, abs=2e-5)
    assert row.spread == pytest.approx(float(torch.tensor(found).std()), abs=2e-5)
    assert table.totals is not None
    assert [*next(row for unit, row in table.totals.items() if unit.name == "L1H2")] == pytest.approx(found, abs=2e-5)


def ran(m: Any, run: Any) -> int:
    """How many rows went through attention layers while `run` ran."""
    counts = [0]

    def count(_: Any, args: Any, kwargs: Any) -> None:
        counts[0] += len(kwargs["hidden_states"] if "hidden_states" in kwargs else args[0])

    handles = [layer.self_attn.register_forward_pre_hook(count, with_kwargs=True) for layer in m.model.layers]
    run()
    for handle in handles:
        handle.remove()
    return counts[0]


def test_passes_begin_at_the_edited_layer() -> None:
    m, x = fresh_model("llama", num_hidden_layers=7), inputs("llama")
    rows = ran(m, lambda: attnscope.effects(m, None, x, 11, how="off"))
    heads = 7 * 6
    assert rows <= 0.6 * heads * 7 + 3 * 7  # beside the clean pass and the trial: rows × layers
    whole = ran(m, lambda: attnscope.effects(m, None, x, 11, how="off", layers=0))
    assert whole >= 6 * 7


def test_layers_that_pass_more_on_are_run_whole() -> None:
    """A layer that reads what an earlier one left behind: a pass from the middle does not have it."""
    m = fresh_model("llama", num_hidden_layers=3)
    first, last = m.model.layers[0].mlp, m.model.layers[2]
    m.left = []
    first.register_forward_hook(lambda module, args, output: m.left.append(output))
    last.register_forward_pre_hook(lambda module, args: (args[0] + 0.5 * m.left.pop(), *args[1:]))
    x = inputs("llama")
    table = attnscope.effects(m, None, x, 11, 7, how="off")
    assert any("whole pass" in note for note in table.notes)
    with attnscope.edit(m) as edit:
        edit.head("L2H3").off()
        one = edit.effect(inputs=x, target=11, against=7)
    assert table["L2H3"].effect == pytest.approx(one.total, abs=2e-5)


def test_the_model_is_left_as_it_was() -> None:
    m, x = fresh_model("llama"), inputs("llama")
    with torch.no_grad():
        before = m(**x).logits
    attnscope.effects(m, None, x, 11, how="off")
    assert not any("forward" in vars(module) for module in m.modules())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in m.modules())
    with torch.no_grad():
        assert torch.equal(m(**x).logits, before)


def test_stop_and_go_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    m, t = model("llama"), tokenizer()
    texts = ["the cat sat", "a dog ran to it"]
    whole = attnscope.effects(m, t, texts, "mat", "dog", how="off")
    calls = [0]
    from attnscope.head_effects import run

    scores = run.scores

    def interrupted(*args: Any) -> Any:
        calls[0] += 1
        if calls[0] == 4:
            raise KeyboardInterrupt
        return scores(*args)

    monkeypatch.setattr(run, "scores", interrupted)
    part = attnscope.effects(m, t, texts, "mat", "dog", how="off")
    assert part.stopped
    assert "Stopped after 18 of 24" in str(part)
    assert part["L1H0"].n == 1
    part.save(tmp_path / "part.json")
    calls[0] = 10
    rest = attnscope.effects(
        m, t, texts, "mat", "dog", how="off", resume=attnscope.EffectTable.load(tmp_path / "part.json")
    )
    assert calls[0] == 11, "one layer of one text was left"
    assert not rest.stopped
    assert [row.effect for row in rest] == pytest.approx([row.effect for row in whole])
    assert rest.clean == pytest.approx(whole.clean)
    with pytest.raises(InputError, match="another call"):
        attnscope.effects(m, t, texts, "mat", "cat", how="off", resume=part)


def test_the_band_is_of_all_other_heads_near() -> None:
    m = fresh_model("llama", num_hidden_layers=5)
    table = attnscope.effects(m, None, inputs("llama"), 11, 7, how="off")
    by_name = {row.name: row.effect for row in table}
    row = table["L1H2"]
    assert row.band is not None
    # 5 of its own layer and 12 of the layers beside it are fewer than 20: layer 3 is taken too
    near = [by_name[f"L{layer}H{head}"] for layer in range(4) for head in range(6) if (layer, head) != (1, 2)]
    assert (row.band.n, row.band.reach) == (23, 2)
    assert (row.band.low, row.band.high) == (min(near), max(near))
    assert row.outside_band == (not min(near) <= row.effect <= max(near))
    assert sum(bool(one.outside_band) for one in table) == len(table.outside)


def test_as_data(tmp_path: Any) -> None:
    table = attnscope.effects(model("llama"), None, inputs("llama"), 11, 7, how="off")
    told = json.loads(table.to_json())
    assert [row["name"] for row in told["rows"]] == [row.name for row in table]
    frame = table.to_frame()
    assert frame.shape == (12, 16)
    assert frame.loc[3, "effect"] == table[3].effect
    again = attnscope.EffectTable.load(table.save(tmp_path / "table.json"))
    assert [*map(str, again)] == [*map(str, table)]
    assert again.heading == table.heading
    assert table.save(tmp_path / "t.csv").read_text().count("\n") == 13
    assert "12 heads in turn" in str(table)
    assert "outside the band" in repr(table)
    svg = table.save(tmp_path / "t.svg").read_text()
    assert svg.count("<path") > 12
    assert "L1" in svg
    for ending in ("pdf", "png"):
        assert table.save(tmp_path / f"t.{ending}").stat().st_size > 2000
    with pytest.raises(InputError, match="ends in"):
        table.save(tmp_path / "t.txt")
    with pytest.raises(InputError, match="no 'L9H9'"):
        table["L9H9"]


def test_broken_files(tmp_path: Any) -> None:
    path = tmp_path / "t.json"
    with pytest.raises(attnscope.UnreadableFile, match="cannot be read"):
        attnscope.EffectTable.load(path)
    for text, message in (("{", "no JSON"), ('{"clean": [1]}', "no table of effects"), ("[]", "no table of effects")):
        path.write_text(text)
        with pytest.raises(InputError, match=message):
            attnscope.EffectTable.load(path)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"texts": None}, "needs a text"),
        ({"texts": [3]}, "expected texts as"),
        ({"texts": [("the cat",)]}, "got 1 things"),
        ({"texts": ["the cat", "a dog"], "target": ["mat"]}, "list of 1, and there are 2"),
        ({"how": "median"}, "expected how"),
        ({"how": 1}, "expected how"),
        ({"each": "neuron"}, "expected each"),
        ({"layers": 9}, "no layer 9"),
        ({"stack": "cross"}, "no stack 'cross'"),
        ({"resume": 3}, "expected resume"),
    ],
)
def test_bad_input(more: dict[str, Any], message: str) -> None:
    given = {"texts": "the cat sat", "target": "mat", "how": "off", **more}
    with pytest.raises(InputError, match=message):
        attnscope.effects(model("llama"), tokenizer(), **given)


def test_blocks_are_the_layers() -> None:
    m = model("t5_generates")
    paths = [path for path, module in m.named_modules() if path.endswith(("SelfAttention", "EncDecAttention"))]
    assert blocks_of(m, paths) == [*m.encoder.block, *m.decoder.block]
    assert blocks_of(m, ["shared"]) == []
