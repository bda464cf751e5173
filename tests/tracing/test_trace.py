"""Trace and Site: what the README promises of them."""

from typing import Any

import numpy as np
import pytest
import torch

import attnscope
import tiny_models as tiny
from attnscope import InputError, NotCaptured, Tokens, Trace
from attnscope.tracing.receipts import Receipt, SiteReceipt
from attnscope.tracing.site import parse_head
from closeness import close

H, T, D = 3, 7, 5


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed + sum(shape)))


@pytest.fixture(scope="module")
def trace() -> Trace:
    return attnscope.trace(tiny.model("llama"), None, inputs=tiny.inputs("llama"))


# --- from_qkv -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(T, D), (H, T, D), (1, H, T, D)])
@pytest.mark.parametrize("numpy", [False, True])
def test_from_qkv(shape: tuple[int, ...], numpy: bool) -> None:
    q, k, v = (random(*shape, seed=n) for n in range(3))
    given = [x.numpy() for x in (q, k, v)] if numpy else [q, k, v]
    trace = Trace.from_qkv(*given, tokens=list("abcdefg"))
    theirs = torch.nn.functional.scaled_dot_product_attention(q, k, v).reshape(-1, T, D)
    assert close(trace.site(layer=0).output(), theirs)
    assert tuple(trace.tokens) == tuple("abcdefg")
    assert not trace.verify().passed
    assert "no model's output" in str(trace.verify())


def test_from_qkv_with_grouped_heads_masks_and_scaling() -> None:
    q, k, v = random(6, T, D), random(2, T, D, seed=1), random(2, T, 13, seed=2)
    allowed = random(6, T, T) > 0
    for mask in (allowed, torch.where(allowed, 0.0, -torch.inf), allowed[None], allowed.numpy(), allowed[0]):
        site = Trace.from_qkv(q, k, v, mask=mask, scaling=0.4).sites[0]
        expected = torch.as_tensor(mask).reshape(-1, T, T).expand(6, T, T)
        theirs = torch.nn.functional.scaled_dot_product_attention(
            q, k.repeat_interleave(3, 0), v.repeat_interleave(3, 0), attn_mask=expected, scale=0.4
        )
        assert close(site.output(), theirs)
        assert site.scaling == 0.4
    causal = Trace.from_qkv(q, k, v, is_causal=True).sites[0]
    assert torch.equal(causal.weights() > 0, torch.ones(T, T).tril().bool().expand(6, T, T))


def test_from_qkv_across_two_texts() -> None:
    trace = Trace.from_qkv(random(H, T, D), random(H, 11, D), random(H, 11, 2), tokens=[f"k{n}" for n in range(11)])
    site = trace.site(layer=0)
    assert (site.kind, site.query_offset) == ("cross", 0)
    assert len(trace.query_tokens(site)) == T
    assert len(trace.key_tokens(site)) == 11
    assert len(Trace.from_qkv(random(H, 11, D), random(H, T, D), random(H, T, 2)).tokens) == T


def test_half_precision_masks() -> None:
    """finfo.min of the mask's own dtype hides, whatever the dtype."""
    q = random(H, T, D)
    for dtype in (torch.float16, torch.bfloat16, torch.float64):
        mask = torch.full((T, T), torch.finfo(dtype).min, dtype=dtype).triu(1)
        site = Trace.from_qkv(q, q, q, mask=mask).sites[0]
        assert (site.mask.upper, site.position_bias) == (0, None)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((random(2, 3, H, T, D),) * 3, r"query has shape \[3, 3, 7, 5\].*pass one row: x\[i\]"),
        ((random(D),) * 3, r"query has shape \[5\]"),
        ((random(H, 0, D),) * 3, "without empty axes"),
        ((random(H, T, D), random(H, T, 4), random(H, T, D)), "do not fit"),
        ((random(H, T, D), random(H, T, D), random(H, 6, D)), "do not fit"),
        ((random(H, T, D), random(2, T, D), random(2, T, D)), "H must be a multiple of Hkv"),
        ((random(H, T, D),) * 3 + (["a", "b"],), "2 tokens were given for 7 keys"),
        ((random(H, T, D),) * 3 + (None, torch.ones(T, 4).bool()), "mask has shape"),
        ((random(H, T, D),) * 3 + (None, torch.ones(2, T, T).bool()), "mask has shape"),
        ((random(H, T, D),) * 3 + (None, torch.ones(T, T).int()), "boolean"),
        ((random(H, T, D),) * 3 + (None, torch.full((T, T), torch.nan)), "mask holds NaN"),
        ((random(H, T, D),) * 3 + (None, torch.eye(T).log().neg()), "mask holds NaN or .inf"),
        ((random(H, T, D),) * 3 + (None, torch.ones(T, T).tril()), r"mask holds 0 and 1 as floats.*mask.bool\(\)"),
        ((random(H, T, D).to(torch.complex64),) * 3, "query has torch.complex64 numbers"),
        *(
            ((random(H, T, D),) * 3 + (None, None, wrong), "scaling as a finite number")
            for wrong in (torch.nan, torch.inf, True)
        ),
    ],
)
def test_from_qkv_refuses_what_does_not_fit(arguments: tuple[Any, ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Trace.from_qkv(*arguments)


def test_mask_and_causal_together() -> None:
    with pytest.raises(InputError, match="both given"):
        Trace.from_qkv(*(random(H, T, D),) * 3, mask=torch.ones(T, T).bool(), is_causal=True)


# --- asking ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("head", "layer", "expected"),
    [
        ("L2H8", None, (2, 8)),
        ("l0h11", None, (0, 11)),
        ("L2H8", 2, (2, 8)),
        (" 3 ", 1, (1, 3)),
        (4, 1, (1, 4)),
        (None, 1, (1, None)),
        (np.int64(4), None, (None, 4)),
        ("L12H0", None, (12, 0)),
    ],
)
def test_parse_head(head: Any, layer: int | None, expected: tuple[int | None, int | None]) -> None:
    assert parse_head(head, layer) == expected


@pytest.mark.parametrize(("head", "layer"), [("H8", None), ("8L", None), ("", None), ("L2", None)])
def test_parse_head_refuses(head: str, layer: int | None) -> None:
    with pytest.raises(InputError, match='as a number or a name such as "L2H8"'):
        parse_head(head, layer)


def test_heads_by_name(trace: Trace) -> None:
    site = trace.site(layer=1)
    assert torch.equal(site.weights(head="L1H4"), site.weights(head=4))
    assert torch.equal(site.weights(head=-1), site.weights(head=5))
    for head, message in (
        (6, "head 6 is out of range: layer 1 has 6 heads, so head goes from 0 to 5"),
        ("L0H1", "of layer 1"),
    ):
        with pytest.raises(InputError, match=message):
            site.weights(head=head)


def test_layers_and_stacks(trace: Trace) -> None:
    assert trace.site(layer=-1) is trace.site(layer=1)
    with pytest.raises(InputError, match=r"layer 2 is out of range: this trace has attention in layers 0 to 1"):
        trace.site(layer=2)
    with pytest.raises(InputError, match="no stack 'encoder'"):
        trace.site(layer=0, stack="encoder")
    t5 = attnscope.trace(tiny.model("t5"), None, inputs=tiny.inputs("t5"))
    assert t5.stacks == {"encoder": 2, "decoder": 2, "cross": 2}
    with pytest.raises(InputError, match="stack='encoder' or stack='decoder' or stack='cross'"):
        t5.site(layer=0)
    cross = t5.site(layer=1, stack="cross")
    assert (cross.kind, cross.queries, cross.keys) == ("cross", 7, 13)
    assert (len(t5.query_tokens(cross)), len(t5.key_tokens(cross))) == (7, 13)


@pytest.mark.parametrize("queries", [slice(2, 5), [2, 3, 4], torch.tensor([2, 3, 4]), range(2, 5), (2, 3, 4)])
def test_some_queries(trace: Trace, queries: Any) -> None:
    site = trace.site(layer=1)
    for name in ("dot", "scores", "weights", "output", "write"):
        whole = getattr(site, name)(head=2)
        assert close(getattr(site, name)(head=2, queries=queries), whole[2:5])
        assert getattr(site, name)().shape[0] == 6
        assert close(getattr(site, name)()[2], whole)
    with pytest.raises(InputError, match=r"layer 1 has 13 queries, 0 to 12"):
        site.weights(head=0, queries=13)


def test_steps_hold_together(trace: Trace) -> None:
    """Each link follows from the ones before it, and the last is what the model computed."""
    site = trace.site(layer=1)
    links = {link.name: link.value for link in site.steps(head="L1H4", query=6)}
    assert list(links) == [
        "query",
        "keys",
        "values",
        "products",
        "dot",
        "scaled",
        "masked",
        "weights",
        "output",
        "write",
    ]
    assert close(links["products"], links["query"] * links["keys"])
    assert close(links["products"].sum(-1), links["dot"])
    assert close(links["dot"] * site.scaling, links["scaled"])
    assert torch.equal(links["masked"][7:], torch.full((6,), -torch.inf))
    assert close(links["masked"].softmax(-1), links["weights"])
    assert close(links["weights"] @ links["values"], links["output"])
    assert site.z is not None
    assert close(links["output"], site.z[4, 6])
    assert close(links["output"] @ site.output_projection()[4], links["write"])
    assert all(link.shape == tuple(link.value.shape) and link.formula for link in site.steps(4, 6))
    gemma = attnscope.trace(tiny.model("gemma2"), None, inputs=tiny.inputs("gemma2")).sites[0]
    assert "capped" in [link.name for link in gemma.steps(0, 3)]
    t5 = attnscope.trace(tiny.model("t5"), None, inputs=tiny.inputs("t5"))
    assert "biased" in [link.name for link in t5.site(1, "encoder").steps(0, 3)]
    assert "biased" not in [link.name for link in t5.site(1, "cross").steps(0, 3)]


def test_share_of_the_output(trace: Trace) -> None:
    site = trace.site(layer=1)
    share = site.share(head=3, query=7)
    pieces = site.weights(head=3, queries=7)[0][:, None] * (site.v[3 // 3].float() @ site.output_projection()[3])
    assert close(share, pieces.norm(dim=-1) / pieces.norm(dim=-1).sum())
    assert float(share.sum()) == pytest.approx(1)
    q = random(H, T, D)
    bare = Trace.from_qkv(q, q, q).sites[0]
    assert bare.norms()[0] == "value"
    assert close(bare.norms()[1], q.norm(dim=-1))


def test_repr(trace: Trace) -> None:
    assert repr(trace) == "Trace(LlamaForCausalLM: 2 layers, 13 tokens)"
    assert "6 heads (2 key/value heads), 13 queries × 13 keys, head size 10, causal" in repr(trace.sites[0])


def test_long_texts_keep_a_sample_of_outputs() -> None:
    trace = attnscope.trace(
        tiny.model("llama", "sdpa", max_position_embeddings=400), None, inputs={"input_ids": tiny.ids(1, 307)}
    )
    site = trace.sites[0]
    assert site.z_rows is not None
    assert (len(site.z_rows), int(site.z_rows[0]), int(site.z_rows[-1])) == (64, 0, 306)
    receipt = trace.verify()
    assert receipt.passed
    assert (receipt.rows, receipt.of) == (128, 614)
    assert "128 of 614 query rows checked" in str(receipt)
    full = trace.verify(full=True, model=tiny.model("llama", "sdpa", max_position_embeddings=400))
    assert full.passed
    assert (full.rows, full.of) == (614, 614)


def test_full_verification_needs_a_model(trace: Trace) -> None:
    assert trace.verify(full=True, model=tiny.model("llama")).passed
    with pytest.raises(NotCaptured, match="pass model="):
        trace.verify(full=True)


def test_receipts_speak() -> None:
    good, bad = SiteReceipt("exact", 1e-7, 1e-4, 5, 7), SiteReceipt("failed", 0.3, 1e-4, 5, 7, note="why")
    assert Receipt((good,))
    assert not Receipt(())
    assert not Receipt((good, bad))
    assert str(Receipt((good, bad))).startswith("✕ 1 of 2 sites match")
    assert "site 1: DOES NOT MATCH the model: largest difference 3.0e-01" in str(Receipt((good, bad)))
    assert "why" in str(bad)


# --- tokens ---------------------------------------------------------------------------------------------------------


def test_find() -> None:
    tokens = Tokens(("[CLS]", "Air", "##craft", "it", "It", "Ġair", "[SEP]"), words=(None, 0, 0, 1, 2, 3, None))
    assert [
        tokens.find(w) for w in (0, -1, np.int64(3), "it", "It", "craft", "air", "[SEP]", "Aircraft", "AIRCRAFT", "IT")
    ] == [0, 6, 3, 3, 4, 2, 5, 6, 1, 1, 3]
    with pytest.raises(InputError, match=r"query 7 is out of range: the text has 7 tokens, so query goes from 0 to 6"):
        tokens.find(7)
    with pytest.raises(InputError, match=r'key "ship" is not among the tokens: \[CLS\] Air'):
        tokens.find("ship", "key")


def test_tokens_of_lengths_that_differ() -> None:
    with pytest.raises(InputError, match="special has 1 entries for 2 tokens"):
        Tokens(("a", "b"), special=(True,))


def test_words_are_as_written() -> None:
    trace = attnscope.trace(tiny.model("bert"), tiny.tokenizer(), "The cats, SAT!")
    assert tuple(trace.tokens) == ("[CLS]", "the", "cat", "##s", ",", "sat", "!", "[SEP]")
    assert trace.tokens.words == (None, 0, 1, 1, 2, 3, 4, None)
    assert trace.tokens.word_text == ("The", "cats", ",", "SAT", "!")
    assert trace.tokens.special == (True, False, False, False, False, False, False, True)
    assert [trace.tokens.text[a:b] for a, b in trace.tokens.offsets] == ["", "The", "cat", "s", ",", "SAT", "!", ""]
    assert trace.tokens[1:3] == ("the", "cat")
