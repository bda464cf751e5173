"""Two traces beside each other: what belongs together, and how much each head changed, against numpy written out plainly."""

import re

import numpy as np
import pytest
import safetensors
import torch

import attnscope
import tiny_models as tiny
from attnscope.comparing.alignment import align, partner
from attnscope.payload.codec import read
from attnscope.tracing.tokens import Tokens, tokens_of_strings
from attnscope.views.levels import ALWAYS_THERE as LEVELS
from attnscope.views.state import State
from attnscope.views.view import View
from closeness import close, tolerance


def rows(count: int, *shape: int) -> np.ndarray:
    weights = np.random.default_rng(count).random(shape)
    return (weights / weights.sum(-1, keepdims=True)).astype(np.float32)


def test_tokens_that_are_equal_swapped_and_alone():
    found = align(tokens_of_strings("a b c d e f".split()), tokens_of_strings("a X c e n f".split()))
    assert found.pairs == ((0, 0), (1, 1), (2, 2), (4, 3), (5, 5))
    assert found.substituted == ((1, 1),)
    assert found.only_a == (3,)
    assert found.only_b == (4,)
    assert found.merged.strings == ("a", "b → X", "c", "d (only A)", "e", "n (only B)", "f")
    assert found.places == ((0, 0), (1, 1), (2, 2), (3, None), (4, 3), (None, 4), (5, 5))
    said = str(found)
    assert "4 of 6 tokens of A and 6 of B are the same" in said
    for part in ("; 1 stands for another (“b” → “X”); ", "only in A: “d”", "only in B: “n”"):
        assert part in said


def test_several_that_stand_for_others_are_said_in_the_plural():
    assert "2 stand for others (“b” → “X”, “d” → “Y”)" in str(
        align(tokens_of_strings(list("abcd")), tokens_of_strings(list("aXcY")))
    )


def test_every_token_of_either_text_stands_once_in_the_merged_row(texts):
    places = texts.alignment.places
    assert [i for i, _ in places if i is not None] == list(range(len(texts.a.tokens)))
    assert [j for _, j in places if j is not None] == list(range(len(texts.b.tokens)))
    assert len(texts.alignment.merged) == len(places)


def test_pieces_of_a_word_stay_a_word_where_both_texts_have_it():
    a = Tokens(("x", "air", "##speed", "y"), words=(0, 1, 1, 2), word_text=("x", "airspeed", "y"))
    merged = align(a, a).merged
    assert merged.words == (0, 1, 1, 2)
    b = Tokens(("x", "y"), words=(0, 1), word_text=("x", "y"))
    apart = align(a, b).merged
    assert apart.strings == ("x", "air (only A)", "speed (only A)", "y")
    assert len(set(apart.words)) == 4


def test_no_common_token_is_said():
    with pytest.raises(attnscope.InputError, match="no token in common"):
        align(tokens_of_strings(["a", "b"]), tokens_of_strings(["c"]))


def test_compare_takes_two_traces(demo_trace):
    with pytest.raises(attnscope.InputError, match="expected two traces, got a str as the second"):
        attnscope.compare(demo_trace, "text")


def test_the_difference_is_b_minus_a_between_the_aligned_tokens(texts):
    pairs = texts.alignment.pairs
    before = texts.a.site(5).weights(9).numpy()
    after = texts.b.site(5).weights(9).numpy()
    expected = np.array([[after[j, m] - before[i, k] for k, m in pairs] for i, j in pairs])
    found = texts.difference(5, 9)
    assert found.shape == (len(pairs), len(pairs))
    assert close(found.numpy(), expected, magnitude=1)


def test_change_is_the_mean_total_variation_over_the_keys_of_either_text(texts):
    head = next(one for one in texts.heads if (one.layer, one.head) == (2, 8))
    before = texts.a.site(2).weights(8).double().numpy()
    after = texts.b.site(2).weights(8).double().numpy()
    places = texts.alignment.places
    apart, largest = [], (0.0, -1, -1)
    special = texts.alignment.merged.special
    for n, (i, j) in enumerate(places):
        if i is None or j is None:
            continue
        row = [(0 if m is None else after[j, m]) - (0 if k is None else before[i, k]) for k, m in places]
        apart.append(np.abs(row).sum() / 2)
        for at, one in enumerate(row):
            if abs(one) > abs(largest[0]) and not special[n] and not special[at]:
                largest = (one, n, at)
    assert close(head.change, np.mean(apart), magnitude=1)
    assert close(head.largest, largest[0], magnitude=1)
    assert (head.query, head.key) == largest[1:]


def test_the_output_s_turn_is_one_minus_its_cosine(tuned):
    head = next(one for one in tuned.heads if one.name == "L3H5")
    z = [trace.site(3).output(5).double().numpy() for trace in (tuned.a, tuned.b)]
    cosines = (z[0] * z[1]).sum(-1) / np.linalg.norm(z[0], axis=-1) / np.linalg.norm(z[1], axis=-1)
    assert close(head.turned, np.mean(1 - cosines), magnitude=1)


def test_the_heads_of_the_changed_layer_come_first(tuned):
    assert {head.layer for head in tuned.heads[:12]} == {3}
    changes = [head.change for head in tuned.heads]
    assert changes == sorted(changes, reverse=True)
    before = [head.change for head in tuned.heads if head.layer < 3]
    assert len(before) == 36
    assert max(before) <= tolerance(magnitude=1), "layers before the changed one are as they were"
    assert min(head.change for head in tuned.heads[:12]) > 0.02


def test_the_same_trace_twice_has_changed_nowhere(demo_trace):
    same = attnscope.compare(demo_trace, demo_trace)
    assert {head.change for head in same.heads} == {0.0}
    assert {head.turned for head in same.heads} == {0.0}
    assert not same.difference(1, 2).any()
    assert "the same 24 tokens" in repr(same)


def test_long_texts_are_compared_in_blocks_with_the_same_result(texts, monkeypatch):
    from attnscope.comparing import head_changes as changes

    monkeypatch.setattr(changes, "BLOCK", 2000)
    again = attnscope.compare(texts.a, texts.b)
    for one, other in zip(texts.heads, again.heads, strict=True):
        assert (one.name, one.query, one.key) == (other.name, other.query, other.key)
        assert close(one.change, other.change, magnitude=1)
    for one, other in zip(texts.changes, again.changes, strict=True):
        assert close(one.picture, other.picture, magnitude=1)


def test_many_weights_are_all_compared_and_a_line_says_so(monkeypatch, capsys):
    from attnscope.comparing import head_changes as changes

    words = [f"w{number}" for number in range(53)]
    a, b = rows(7, 2, 53, 53), rows(7, 2, 53, 53).copy()
    b[1, 29] = np.roll(a[1, 29], 3)  # one query that no even sample must miss
    monkeypatch.setattr(changes, "MANY", 2 * 53 * 53)
    monkeypatch.setattr(changes, "BLOCK", 500)
    found = attnscope.compare(*(attnscope.Trace.from_attentions([one], words) for one in (a, b))).heads
    expected = np.abs(b[1] - a[1])
    one = next(head for head in found if head.name == "L0H1")
    assert (one.query, one.key) == np.unravel_index(expected.argmax(), (53, 53))
    assert close(one.change, expected.sum() / 2 / 53, magnitude=1)
    assert "comparing every weight" in capsys.readouterr().err


def test_weights_alone_can_be_compared():
    words = "one two three four five".split()
    a = attnscope.Trace.from_attentions([rows(1, 3, 5, 5), rows(2, 3, 5, 5)], words)
    b = attnscope.Trace.from_attentions([rows(3, 3, 5, 5), rows(4, 3, 5, 5)], words)
    found = attnscope.compare(a, b)
    expected = np.abs(rows(4, 3, 5, 5)[2] - rows(2, 3, 5, 5)[2]).sum(-1).mean() / 2
    assert close(next(one for one in found.heads if one.name == "L1H2").change, expected, magnitude=1)
    assert {head.turned for head in found.heads} == {None}
    assert found.show().html


def test_nan_and_hidden_rows_are_left_out():
    words = "one two three".split()
    broken = rows(5, 1, 3, 3).copy()
    broken[0, 1] = np.nan
    a = attnscope.Trace.from_attentions([rows(6, 1, 3, 3)], words)
    found = attnscope.compare(a, attnscope.Trace.from_attentions([broken], words))
    kept = [0, 2]
    expected = np.abs(rows(5, 1, 3, 3)[0][kept] - rows(6, 1, 3, 3)[0][kept]).sum(-1).mean() / 2
    assert close(found.heads[0].change, expected, magnitude=1)


def test_other_depths_and_head_counts_are_compared_as_far_as_they_go_and_said():
    words = "one two three".split()
    a = attnscope.Trace.from_attentions([rows(7, 5, 3, 3), rows(8, 5, 3, 3)], words)
    b = attnscope.Trace.from_attentions([rows(9, 2, 3, 3)], words)
    found = attnscope.compare(a, b)
    assert [one.name for one in sorted(found.heads, key=lambda head: head.head)] == ["L0H0", "L0H1"]
    assert any("Only in A" in note and "layer 1" in note for note in found.notes)
    assert any("5 heads in A and 2 in B" in note for note in found.notes)
    with pytest.raises(attnscope.InputError, match="not in both"):
        found.difference(1, 0)
    with pytest.raises(attnscope.InputError, match="heads 0 to 1"):
        found.difference(0, 3)
    with pytest.raises(attnscope.InputError, match="not in both"):
        found.show(layer=1)


def test_the_view_opens_where_most_has_changed(tuned):
    view = tuned.show()
    first = tuned.heads[0]
    state = view.state
    assert (state.level, state.side, state.sort) == ("model", "difference", "change")
    assert (state.layer, state.head, state.query, state.key) == (first.layer, first.head, first.query, first.key)


def test_a_query_given_by_its_word_is_found_on_every_side(texts):
    at = {side: texts.show(side=side, layer=5, head=9, query="flies").state.query for side in ("a", "b", "difference")}
    assert texts.a.tokens[at["a"]] == texts.b.tokens[at["b"]] == "flies"
    assert texts.alignment.merged[at["difference"]] == "flies"
    assert texts.show(layer=5, head=9, query="flies").own.query == at["a"]
    assert texts.show(layer=5, head=9, query="flies").other.state.query == at["b"]


def test_partners():
    places = ((0, 0), (1, None), (2, 1))
    assert [partner(places, "a", i, 1) for i in range(3)] == [0, None, 1]
    assert [partner(places, "b", j, 2) for j in range(2)] == [0, 2]
    assert partner(places, "difference", 1, 0) == 1
    assert partner(places, "a", 9, 1) is None


def test_the_page_s_pictures_are_the_differences(texts):
    meta, tensors = read(texts.show().pair.difference)
    index = next(i for i, site in enumerate(meta["sites"]) if site["layer"] == 5)
    thumb = meta["sites"][index]["thumb"]
    decoded = (tensors[thumb["tensor"]][9].double() - thumb["zero"]) / thumb["steps"]
    head = next(one for one in texts.heads if one.name == "L5H9")
    assert thumb["rows"] == thumb["columns"] == 25, "one token to a patch"
    assert float(decoded[head.query, head.key]) == pytest.approx(head.largest, abs=0.6 / thumb["steps"])
    pairs = texts.alignment.places
    missing = [n for n, (i, j) in enumerate(pairs) if i is None or j is None]
    assert (tensors[thumb["tensor"]][9][missing] == thumb["masked"]).all()


def test_a_comparison_is_not_a_trace_file(texts, tmp_path):
    path = tmp_path / "pair.safetensors"
    path.write_bytes(texts.show().pair.difference)
    with safetensors.safe_open(path, "pt") as file:
        assert all(name.startswith("t") for name in file.keys())  # noqa: SIM118
    with pytest.raises(attnscope.PayloadError):
        attnscope.load_trace(path)


def test_a_group_by_its_name_is_looked_for_on_the_side_that_is_shown():
    """In A it is the second, in B the first."""
    a, b = (
        attnscope.trace(tiny.model("llama", "sdpa"), tiny.tokenizer(), "the cat sat on the mat", groups=groups)
        for groups in ({"one": (0, 2), "two": (3, 5)}, {"two": (0, 2), "three": (3, 5)})
    )
    found = attnscope.compare(a, b)
    number = {side: one.tokens.groups.every.index(one.tokens.groups["two"]) for side, one in (("a", a), ("b", b))}
    assert number["a"] != number["b"]
    for side in "ab":
        assert found.show(side=side, group="two").state.group == number[side]
        assert found.show(side=side).at(group="two").state.group == number[side]
    assert found.show(side="b").at(side="a", group="two").state.group == number["a"]
    with pytest.raises(attnscope.InputError, match="three"):
        found.show(side="a", group="three")


def test_figures_are_of_one_side(texts):
    with pytest.raises(attnscope.InputError, match='side="a" or side="b"'):
        texts.show(level="neuron").figure("svg")
    assert texts.show(level="neuron", side="b").alone.trace is texts.b


@pytest.mark.parametrize("side", ["a", "b"])
def test_every_level_of_one_side_is_a_figure(texts, side):
    """Of one trace there is no change to sort by, so its heads keep the order of its layers."""
    trace = {"a": texts.a, "b": texts.b}[side]
    for level in LEVELS:
        view = texts.show(side=side, level=level, layer=5, head=9)
        assert view.state.sort == "change"
        lone = trace.show(level, layer=5, head=9, query=view.state.query)
        lone = lone.at(key=view.state.key)
        drawn = [re.findall(r"<text[^>]*>([^<]*)</text>", one.figure("svg").decode()) for one in (view, lone)]
        assert len(drawn[0]) > 5
        assert drawn[0] == drawn[1], level


def test_a_view_of_one_trace_has_no_sides(demo_trace):
    with pytest.raises(TypeError, match="side"):
        demo_trace.show(side="difference")
    with pytest.raises(attnscope.InputError, match="'c' is not one of"):
        State(side="c")
    with pytest.raises(attnscope.InputError, match="one trace"):
        View.from_url("#layer=0&head=0&query=0&side=b", demo_trace)


@pytest.mark.parametrize("side", ["a", "b", "difference"])
def test_an_address_gives_the_view_of_a_side(texts, side):
    view = texts.show(side=side, level="matrix", layer=5, head=9, query="flies")
    again = View.from_url(f"file:///pair.html#{view.state.fragment}", texts)
    assert again.state.fragment == view.state.fragment
    assert (again.trace, again.pair.other) == (texts.a, texts.b)
    last = {"a": len(texts.a.tokens), "b": len(texts.b.tokens), "difference": len(texts.alignment.places)}[side] - 1
    place = f"side={side}&layer=5&head=9&level=model"
    assert View.from_url(f"#{place}&query={last}&sort=change", texts).state.query == last
    for rest, said in (
        (f"query={last + 1}", f"0 to {last}"),
        ("query=0&sort=beauty", "'change'"),
        ("query=0&heads=12", "0 to 11"),
    ):
        with pytest.raises(attnscope.InputError, match=said):
            View.from_url(f"#{place}&{rest}", texts)
    with pytest.raises(attnscope.InputError, match="got a str as the second"):
        View.from_url(f"#{place}", "text")


def test_the_widget_keeps_to_the_merged_row(texts):
    import traitlets

    widget = texts.show().widget
    widget.query = len(texts.alignment.places) - 1
    with pytest.raises(traitlets.TraitError, match="out of range"):
        widget.query = len(texts.alignment.places)
    widget.side = "b"
    with pytest.raises(traitlets.TraitError, match="not one of"):
        widget.side = "both"


def test_the_widget_answers_for_either_trace(texts, monkeypatch):
    widget = texts.show(max_mb=4).widget
    sent = []
    monkeypatch.setattr(widget, "send", lambda message, buffers=None: sent.append((message, buffers)))
    for side in ("a", "b"):
        widget._on_message(widget, {"id": 1, "kind": "site", "site": 1, "head": 2, "side": side}, [])
    names = [read(bytes(buffers[0]))[0]["trace"] for _, buffers in sent]
    assert len(set(names)) == 2


def test_its_lines_of_python_make_the_view_again(texts, demo):
    view = texts.show(side="b", level="head", layer=5, head=9, query="flies")
    scope: dict = {}
    exec(view.code.rsplit("\n", 2)[0], scope)
    assert scope["view"].state.fragment == view.state.fragment
    assert scope["trace_b"].tokens == texts.b.tokens


def test_all_stacks_of_an_encoder_decoder_by_two_alignments():
    from transformers import T5Config, T5ForConditionalGeneration

    config = T5Config(vocab_size=37, d_model=24, d_kv=5, d_ff=31, num_layers=2, num_decoder_layers=3, num_heads=3)
    torch.manual_seed(0)
    model = T5ForConditionalGeneration(config).eval()
    ids = lambda *tokens: torch.tensor([tokens])  # noqa: E731
    a = attnscope.trace(model, None, inputs={"input_ids": ids(5, 6, 7, 8, 9, 1), "decoder_input_ids": ids(0, 4, 5, 6)})
    b = attnscope.trace(model, None, inputs={"input_ids": ids(5, 6, 11, 7, 8, 1), "decoder_input_ids": ids(0, 4, 6)})
    both = attnscope.compare(a, b)
    assert len(both.heads) == (2 + 3 + 3) * 3
    assert both.alignment.pairs == ((0, 0), (1, 1), (2, 3), (3, 4), (5, 5))
    assert both.target_alignment.pairs == ((0, 0), (1, 1), (3, 2))
    found = both.difference(1, 2, stack="cross").numpy()
    before, after = (t.site(1, "cross").weights(2).numpy() for t in (a, b))
    expected = after[[0, 1, 2]][:, [0, 1, 3, 4, 5]] - before[[0, 1, 3]][:, [0, 1, 2, 3, 5]]
    assert close(found, expected, magnitude=1)
    with pytest.raises(attnscope.InputError, match="several stacks"):
        both.difference(1, 2)
    meta, _ = read(both.show().pair.difference)
    assert {site["stack"]: (site["query_tokens"], site["key_tokens"]) for site in meta["sites"]} == {
        "encoder": (0, 0),
        "decoder": (1, 1),
        "cross": (1, 0),
    }


def test_heads_as_a_frame(texts):
    frame = texts.to_frame()
    assert frame.columns.tolist() == ["stack", "layer", "head", "change", "largest", "query", "key", "turned"]
    first, last = texts.heads[0], texts.heads[-1]
    for row, head in ((frame.iloc[0], first), (frame.iloc[-1], last)):
        assert tuple(row[["layer", "head", "change", "query", "key"]]) == (
            head.layer,
            head.head,
            head.change,
            head.query,
            head.key,
        )
    assert len(frame) == len(texts.heads) == 72
