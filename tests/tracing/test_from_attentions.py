"""Trace.from_attentions: weights from anywhere are kept as they came, in every form, and say what they cannot show."""

import re
from dataclasses import replace

import numpy as np
import pytest
import torch

import attnscope
import tiny_models as tiny
from attnscope import Trace
from attnscope.errors import InputError, NotCaptured, PayloadError
from attnscope.payload.codec import encode
from attnscope.payload.held import Held
from attnscope.payload.site_requests import SiteRequest, answer
from attnscope.tracing.tokens import Tokens
from attnscope.views.sentences import sentence as words
from closeness import close

L, H, Q, K = 2, 3, 5, 7
STACKS = ("encoder", "decoder", "cross")


def names(count: int, letter: str = "k") -> list[str]:
    return [f"{letter}{i}" for i in range(count)]


def weights(*shape: int, seed: int = 0) -> torch.Tensor:
    return (torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * 2).softmax(-1)


@pytest.fixture(scope="module")
def eager():
    """(attentions, strings) of the demo model under transformers' own output_attentions."""
    model, tokenizer = attnscope.load("demo")
    model.set_attn_implementation("eager")
    encoded = tokenizer("The cat sat because it was airsick.", return_tensors="pt")
    with torch.no_grad():
        found = model(**encoded, output_attentions=True).attentions
    return found, tokenizer.convert_ids_to_tokens(encoded["input_ids"][0])


@pytest.fixture(scope="module")
def t5():
    """(outputs, source names, target names) of a tiny T5 with its three stacks."""
    with torch.no_grad():
        out = tiny.model("t5", "eager")(**tiny.inputs("t5", 13), output_attentions=True)
    return out, names(13, "s"), names(7, "t")


@pytest.fixture(scope="module")
def stacked(t5):
    out, source, target = t5
    given = {stack: getattr(out, f"{stack}_attentions") for stack in STACKS}
    return Trace.from_attentions(given, {"encoder": source, "decoder": target})


# --- against transformers ---------------------------------------------------------------------------------------------


def test_the_demo(eager) -> None:
    attentions, strings = eager
    found = Trace.from_attentions(attentions, strings)
    assert len(found.sites) == 6
    for layer, theirs in enumerate(attentions):
        site = found.site(layer)
        assert (site.heads, site.queries, site.keys) == tuple(theirs.shape[1:])
        assert torch.equal(site.weights(), theirs[0])
        assert torch.equal(site.weights(f"L{layer}H7", 4), theirs[0, 7, 4:5])
        assert torch.equal(site.weights(-1, slice(2, 5)), theirs[0, 11, 2:5])
    assert found.notes == ()
    assert found.tokens.special == (True, *[False] * (len(strings) - 2), True)
    assert "airsick" in found.tokens.word_text, "pieces are joined"


def test_it_opens_where_a_whole_trace_opens(eager) -> None:
    attentions, strings = eager
    traced = attnscope.trace(*attnscope.load("demo"), "The cat sat because it was airsick.")
    theirs, ours = (one.show().state for one in (traced, Trace.from_attentions(attentions, strings)))
    assert (ours.layer, ours.head, ours.query, ours.key) == (theirs.layer, theirs.head, theirs.query, theirs.key)


def test_three_stacks(t5, stacked) -> None:
    out, source, target = t5
    assert stacked.stacks == dict.fromkeys(STACKS, 2)
    for stack, queries, keys in (("encoder", source, source), ("decoder", target, target), ("cross", target, source)):
        for layer in range(2):
            site = stacked.site(layer, stack)
            assert torch.equal(site.weights(), getattr(out, f"{stack}_attentions")[layer][0])
            assert site.kind == ("cross" if stack == "cross" else "self")
            assert list(stacked.query_tokens(site)) == queries
            assert list(stacked.key_tokens(site)) == keys
    assert float(stacked.site(0, "decoder").weights()[:, 0, 1:].max()) == 0, "causal"


@pytest.mark.parametrize("left_out", STACKS)
def test_a_stack_may_be_missing(t5, left_out) -> None:
    out, source, target = t5
    given = {stack: None if stack == left_out else getattr(out, f"{stack}_attentions") for stack in STACKS}
    found = Trace.from_attentions(given, {"encoder": source, "decoder": target})
    assert set(found.stacks) == {*STACKS} - {left_out}
    for site in found.sites:
        assert (len(found.query_tokens(site)), len(found.key_tokens(site))) == (site.queries, site.keys)


@pytest.mark.parametrize("stack", ["encoder", "decoder"])
def test_one_named_stack_needs_the_tokens_of_its_side_alone(stack) -> None:
    found = Trace.from_attentions({stack: weights(H, Q, Q)}, {stack: names(Q)})
    site = found.site(0)
    assert site.stack == stack
    assert list(found.query_tokens(site)) == list(found.key_tokens(site)) == names(Q)
    assert found.show(layer=0, head=2, query="k3").state.query == 3


# --- forms ------------------------------------------------------------------------------------------------------------

FORMS = {
    "tuple of (1, H, Q, K)": lambda w: tuple(w[:, None]),
    "list of (H, Q, K)": list,
    "list of numpy": lambda w: [layer.numpy() for layer in w],
    "stacked": lambda w: w,
    "stacked with a batch of one": lambda w: w[:, None],
    "stacked numpy": lambda w: w.numpy(),
    "numpy that runs backwards": lambda w: np.ascontiguousarray(w.numpy()[..., ::-1])[..., ::-1],
    "numbers": lambda w: w.tolist(),
    "with a gradient": lambda w: w.clone().requires_grad_(),
}


@pytest.mark.parametrize("form", FORMS)
def test_forms(form) -> None:
    given = weights(L, H, Q, Q)
    found = Trace.from_attentions(FORMS[form](given), names(Q))
    assert [site.layer for site in found.sites] == [0, 1]
    for site, theirs in zip(found.sites, given, strict=True):
        assert close(site.weights(), theirs)
        assert not site.weights().requires_grad


@pytest.mark.parametrize("shape", [(Q, Q), (1, Q, Q), (1, 1, Q, Q)])
def test_one_head(shape) -> None:
    given = weights(*shape)
    for form in (given, [given], given.numpy()):
        site = Trace.from_attentions(form, names(Q)).site(0)
        assert torch.equal(site.weights(0), given.reshape(Q, Q))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_dtypes(dtype, tmp_path) -> None:
    given = weights(L, H, Q, Q).to(dtype)
    found = Trace.from_attentions(given, names(Q))
    assert found.notes == (), "rounding is not a row that does not sum to 1"
    assert found.site(1).weights().dtype == torch.float32
    assert torch.equal(found.site(1).weights(), given[1].float())
    found.save(tmp_path / "t.safetensors")
    assert torch.equal(attnscope.load_trace(tmp_path / "t.safetensors").site(1).weights(), given[1].float())


def test_whole_numbers_are_weights_too() -> None:
    assert torch.equal(
        Trace.from_attentions(torch.eye(Q, dtype=torch.int64), names(Q)).site(0).weights(0), torch.eye(Q)
    )


def test_missing_layers_and_heads_that_differ() -> None:
    found = Trace.from_attentions([None, weights(3, Q, Q), None, weights(11, Q, Q)], names(Q))
    assert [(site.layer, site.heads) for site in found.sites] == [(1, 3), (3, 11)]
    with pytest.raises(InputError, match="in layers 1, 3"):
        found.site(0)


def test_cross_attention_by_key_tokens() -> None:
    given = weights(L, H, Q, K)
    found = Trace.from_attentions(given, names(Q, "q"), key_tokens=names(K))
    site = found.site(1)
    assert (site.kind, site.stack, site.query_offset) == ("cross", "cross", 0)
    assert list(found.query_tokens(site)) == names(Q, "q")
    assert list(found.key_tokens(site)) == names(K)
    assert found.show(layer=1, head=0, query="q4", key="k6").state.key == 6


def test_a_step_with_a_cache_holds_the_last_queries() -> None:
    found = Trace.from_attentions(weights(L, H, 2, K), names(K))
    assert found.site(0).query_offset == 5
    assert found.show(layer=0, head=0, query=5).state.query == 5
    with pytest.raises(InputError, match="expected a query from 5 to 6"):
        found.show(layer=0, head=0, query=4)


def test_tokens_are_taken_as_they_are() -> None:
    tokens = Tokens(("un", "til", "now"), words=(0, 0, 1), segments=(0, 0, 1))
    assert Trace.from_attentions(weights(H, 3, 3), tokens).tokens is tokens
    assert Trace.from_attentions(weights(H, 3, 3), np.array(["a", "b", "c"])).tokens.strings == ("a", "b", "c")
    assert Trace.from_attentions(weights(3, 3), ["▁un", "til", "</s>"]).tokens.words == (0, 0, None)


# --- what is odd is kept and said -------------------------------------------------------------------------------------


def test_rows_that_do_not_sum_to_one_are_noted() -> None:
    given = weights(L, H, Q, Q)
    given[1] *= torch.linspace(0.25, 0.75, Q)[:, None]
    found = Trace.from_attentions(given, names(Q))
    assert torch.equal(found.site(1).weights(), given[1])
    (note,) = found.notes
    assert re.search(r"not sum to 1 but to 0\.25 … 0\.75 \(layer 1\)", note)


def test_a_softmax_over_queries_is_told() -> None:
    (note,) = Trace.from_attentions(weights(H, Q, Q).transpose(-1, -2), names(Q)).notes
    assert "columns do" in note
    assert "dim=-2" in note


def test_nan_is_kept_and_counted() -> None:
    given = weights(L, H, Q, Q)
    given[0, 1, 2] = torch.nan
    found = Trace.from_attentions(given, names(Q))
    assert found.notes == ("5 weights are NaN (layer 0), and drawn as such.",)
    assert torch.isnan(found.site(0).weights(1, 2)).all()
    view = found.show(layer=0, head=1, query=2)
    assert 0 <= view.state.key < Q
    assert len(view.html) > 1000


# --- what is not there says so ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["q", "k", "v", "scaling"])
def test_causes_are_not_there(stacked, name) -> None:
    with pytest.raises(NotCaptured, match=rf"cross layer 1 holds attention weights only, so {name} .*attnscope\.trace"):
        getattr(stacked.site(1, "cross"), name)


@pytest.mark.parametrize("ask", ["chain", "dot", "scores", "output", "write", "norms", "output_projection"])
def test_what_needs_them_says_so(stacked, ask) -> None:
    with pytest.raises(NotCaptured, match="encoder layer 0 holds attention weights only"):
        getattr(stacked.site(0, "encoder"), ask)()


def test_steps_and_share_say_so(stacked) -> None:
    site = stacked.site(0, "encoder")
    for ask in (site.steps, site.share):
        with pytest.raises(NotCaptured, match="weights only"):
            ask(1, 2)
    with pytest.raises(InputError, match="head 3 is out of range"):
        site.weights(3)
    with pytest.raises(InputError, match="query 13 is out of range"):
        site.weights(0, 13)


def test_the_receipt_claims_nothing(stacked) -> None:
    receipt = stacked.verify()
    assert {site.status for site in receipt.sites} == {"weights_only"}
    assert not receipt
    assert (receipt.rows, receipt.of) == (0, 2 * (13 + 7 + 7))
    assert re.fullmatch(r"– none of 6 sites could be checked .*: weights only, not checked: .*", str(receipt))
    with pytest.raises(NotCaptured, match="full=True"):
        stacked.verify(full=True)


def test_it_describes_itself(stacked) -> None:
    site = stacked.site(0, "cross")
    assert "weights only, 3 heads, 7 queries × 13 keys" in repr(site)
    assert site.nbytes == 3 * 7 * 13 * 4
    assert (site.head_size, site.value_size, site.kv_heads, site.scaled_by_model) == (0, 0, 3, False)
    assert replace(site, note="x").given is site.given
    assert "2 encoder layers, 2 decoder layers, 2 cross layers" in repr(stacked)


# --- through files and views ------------------------------------------------------------------------------------------


def test_a_file_gives_back_the_same(stacked, tmp_path) -> None:
    stacked.save(tmp_path / "t.safetensors")
    found = attnscope.load_trace(tmp_path / "t.safetensors")
    assert found.stacks == stacked.stacks
    assert (found.tokens, found.target, found.notes) == (stacked.tokens, stacked.target, stacked.notes)
    for mine, theirs in zip(found.sites, stacked.sites, strict=True):
        assert mine.weights_only
        assert (mine.path, mine.kind, mine.layer, mine.note) == (theirs.path, theirs.kind, theirs.layer, theirs.note)
        assert torch.equal(mine.weights(), theirs.weights())
    assert str(found.verify()) == str(stacked.verify())
    arrays = found.to_numpy()
    assert set(arrays) == {f"s{i}.weights" for i in range(6)}
    assert np.array_equal(arrays["s5.weights"], stacked.sites[5].weights().numpy())


def test_a_part_of_a_site_is_not_a_trace() -> None:
    found = Trace.from_attentions(weights(L, H, Q, Q), names(Q))
    with pytest.raises((PayloadError, NotCaptured), match="2 of 3 heads"):
        attnscope.payload.codec.decode(encode(found, {0: Held((0, 2))}))


@pytest.mark.parametrize("stack", STACKS)
def test_words_of_a_view(stacked, stack) -> None:
    view = stacked.show(stack=stack, layer=1, head=2, query=3, static=True)
    site = stacked.site(1, stack)
    theirs = site.weights(2, 3)[0]
    top = words.strongest(view, 4)
    assert [row.key for row in top] == theirs.argsort(descending=True, stable=True)[:4].tolist()
    assert [row.value for row in top] == theirs.sort(descending=True).values[:4].tolist()
    assert {(row.dot, row.score, row.share) for row in top} == {("–", "–", "–")}
    assert stacked.key_tokens(site)[top[0].key] in words.title(view)
    assert "weights only" in words.receipt(view)
    assert f"<td>{top[0].weight}</td>" in str(view._repr_mimebundle_())


def test_a_small_view_rounds_and_then_leaves_out() -> None:
    found = Trace.from_attentions(weights(6, 5, 61, 61), names(61))
    whole = found.show(layer=2, head=3, query=7)
    assert {block.stride for block in whole.blocks} == {4}
    assert len(whole.blocks) == 6
    half = found.show(layer=2, head=3, query=7, max_mb=0.3)
    assert any("fp16" in note for note in half.notes)
    assert {block.stride for block in half.blocks} == {2}
    site = attnscope.payload.codec.decode(half.blocks[0].data).sites[0]
    assert torch.equal(site.weights(), found.site(2).weights().half().float())
    few = found.show(layer=2, head=3, query=7, max_mb=0.02)
    assert any(re.search("holds heads? .* of layer 2", note) for note in few.notes)


def test_a_live_view_is_answered() -> None:
    found = Trace.from_attentions(weights(L, H, Q, Q), names(Q))
    read = attnscope.payload.codec.decode(answer(found, SiteRequest(1, 2)).data)
    assert torch.equal(read.sites[0].weights(), found.site(1).weights())


@pytest.mark.parametrize("kind", ["png", "svg", "pdf"])
def test_a_figure(stacked, kind, tmp_path) -> None:
    stacked.show(stack="cross", layer=0, head=1, query=2, level="neuron").save(tmp_path / f"f.{kind}")
    data = (tmp_path / f"f.{kind}").read_bytes()
    assert len(data) > 2000
    if kind == "svg":
        assert b">weight<" in data
        assert "q × k".encode() not in data


# --- bad input --------------------------------------------------------------------------------------------------------

GOOD = weights(L, H, Q, Q)
BAD = {
    "a batch": (
        lambda: [weights(3, H, Q, Q)],
        names(Q),
        r"attentions\[0\] is a batch of 3 texts .*layer\[i : i \+ 1\]",
    ),
    "a stacked batch": (lambda: weights(L, 3, H, Q, Q), names(Q), "batch of 3"),
    "too few names": (lambda: GOOD, names(Q - 1), "5 queries × 5 keys, and 4 tokens were given"),
    "too many names": (lambda: GOOD, names(K), "5 queries × 5 keys, and 7 tokens"),
    "other text": (lambda: weights(L, H, Q, K), names(Q), r"5 queries × 7 keys, and 5 tokens .*key_tokens="),
    "more queries than keys": (lambda: weights(L, H, K, Q), names(Q), "7 queries × 5 keys"),
    "a text of another length in one layer": (
        lambda: [weights(H, Q, Q), weights(H, K, K)],
        names(Q),
        "layer 1 has 7 q",
    ),
    "words": (lambda: "attention", names(Q), "array of numbers"),
    "a list of words": (lambda: ["a"], names(Q), "array of numbers"),
    "an array of words": (lambda: [np.array([["a"]])], ["x"], "array of numbers"),
    "complex": (lambda: GOOD.to(torch.complex64), names(Q), "complex64"),
    "scores": (lambda: torch.randn(H, Q, Q), names(Q), r"between 0 and 1.*softmax\(dim=-1\)"),
    "masked scores": (lambda: torch.full((H, Q, Q), -torch.inf), names(Q), "goes from -inf to -inf"),
    "infinite": (lambda: torch.full((H, Q, Q), torch.inf), names(Q), "goes from inf to inf"),
    "nothing": (lambda: (), names(Q), "holds no layer.*eager"),
    "None": (lambda: None, names(Q), "holds no layer"),
    "layers of None": (lambda: (None, None), names(Q), "holds no layer"),
    "stacks of None": (lambda: {"encoder": None}, {"encoder": names(Q)}, "holds no layer"),
    "an empty axis": (lambda: [torch.zeros(H, 0, 0)], [], r"shape \[3, 0, 0\]"),
    "a vector": (lambda: torch.ones(Q), names(Q), r"shape \[5\]; expected \(Q, K\)"),
    "steps of generate": (lambda: ((weights(1, H, Q, Q),) * L,), names(Q), r"attentions\[step\]"),
    "a string": (lambda: GOOD, "k0 k1 k2 k3 k4", "a list of strings.*got str"),
    "ids": (lambda: GOOD, [101, 5, 7, 9, 102], r"tokens\[0\] is 101.*convert_ids_to_tokens"),
    "a tensor of ids": (lambda: GOOD, torch.arange(Q), "got Tensor"),
    "a pair": (lambda: weights(L, H, Q, K), (names(Q), names(K)), "key_tokens="),
    "None for names": (lambda: GOOD, None, "got NoneType"),
    "an unknown stack": (
        lambda: {"self": GOOD},
        {"self": names(Q)},
        "'self': the stacks are 'encoder', 'decoder' and 'cross'",
    ),
    "a model's output": (lambda: {"last_hidden_state": 1, "attentions": GOOD}, names(Q), r"outputs\.attentions"),
    "a list for stacks": (lambda: {"cross": GOOD}, names(Q), r"tokens=\{'encoder': \[...\], 'decoder': \[...\]\}"),
    "one side for cross": (lambda: {"cross": GOOD}, {"encoder": names(Q)}, "tokens must name each side"),
    "sides that do not fit": (
        lambda: {"cross": weights(L, H, Q, K)},
        {"encoder": names(Q), "decoder": names(K)},
        "7 tokens were given for the queries and 5 for the keys",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input(case) -> None:
    attentions, tokens, message = BAD[case]
    with pytest.raises(InputError, match=message) as caught:
        Trace.from_attentions(attentions(), tokens)
    assert "\n" not in str(caught.value)


def test_key_tokens_and_stacks_do_not_go_together() -> None:
    with pytest.raises(InputError, match="without key_tokens"):
        Trace.from_attentions({"encoder": GOOD}, {"encoder": names(Q)}, key_tokens=names(Q))


def dropped(p: float, *shape: int) -> torch.Tensor:
    """As dropout leaves weights."""
    kept = torch.rand(*shape, generator=torch.Generator().manual_seed(1)) >= p
    return weights(*shape) * kept / (1 - p)


@pytest.mark.parametrize(
    ("given", "reason", "wrong"),
    [
        (dropped(0.1, L, H, Q, K), "dropout", "sink"),
        (weights(L, H, Q, K).tril(1) * 1.25, "no softmax over the keys gives more than 1", "dropout"),
        (weights(L, H, Q, K) * 0.75, "a sink's column was left out", "dropout"),
    ],
)
def test_why_rows_do_not_sum_to_one(given: torch.Tensor, reason: str, wrong: str) -> None:
    """What makes rows larger than 1 is not said to be what can only make them smaller."""
    cross = Trace.from_attentions(given, names(Q, "q"), key_tokens=names(K))
    (note,) = (note for note in cross.notes if "do not sum to 1" in note)
    assert reason in note
    assert wrong not in note
    assert (
        re.search(rf"to {float(given.sum(-1).min()):.4g} … {float(given.sum(-1).max()):.4g}", note) or "0.75 (" in note
    )
