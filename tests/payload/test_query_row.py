"""What the first block of a view says of every head: sink tokens, the opening query in all heads, and ‖write‖."""

import pytest
import torch

import attnscope
import tiny_models as tiny
from attnscope.payload.codec import read


def test_the_query_in_every_head() -> None:
    trace = attnscope.trace(tiny.model("llama"), tiny.tokenizer(), "the cat sat on the mat")
    view = trace.show(layer=1, head=1, query=3)
    meta, tensors = read(view.blocks[0].data)
    for entry, site in zip(meta["sites"], trace.sites, strict=True):
        row = entry["row"]
        assert row["query"] == 3
        assert torch.allclose(tensors[row["weights"]], site.weights(None, 3)[:, 0])
        assert torch.allclose(tensors[row["shares"]], site.share(None, 3), atol=1e-6)
        assert torch.allclose(tensors[row["writes"]], site.write(None, 3)[:, 0].norm(dim=-1), rtol=1e-4)
        assert entry["sink_tokens"] == []
    other, _ = read(view.blocks[1].data)
    assert "row" not in other["sites"][0]


def test_the_length_of_a_write_of_any_query() -> None:
    trace = attnscope.trace(tiny.model("llama"), tiny.tokenizer(), "the cat sat on the mat")
    view = trace.show(layer=1, head=1, query=3)
    site = trace.sites[1]
    _, tensors = read(view.blocks[0].data)
    half = tensors["s1.w_o_products"]
    row, column = torch.triu_indices(site.value_size, site.value_size)
    products = torch.zeros(site.heads, site.value_size, site.value_size)
    products[:, row, column] = half
    products[:, column, row] = half
    z = site.output()
    squared = torch.einsum("hqd,hde,hqe->hq", z, products, z)
    assert torch.allclose(squared.sqrt(), site.write().norm(dim=-1), rtol=1e-3)


def test_weights_alone_have_no_shares() -> None:
    given = torch.eye(5).expand(2, 5, 5)
    meta, _ = read(
        attnscope.Trace.from_attentions([given], list("abcde")).show(layer=0, head=0, query=2).blocks[0].data
    )
    row = meta["sites"][0]["row"]
    assert (row["shares"], row["writes"]) == (None, None)


@pytest.mark.parametrize("sort", ["pair", "pair_write"])
def test_the_pair_sorts_the_heads_of_a_figure(sort: str) -> None:
    trace = attnscope.trace(tiny.model("bert"), tiny.tokenizer(), "the cat sat on the mat")
    view = trace.show("model", layer=1, head=1, query=3, key=5, sort=sort)
    found = {}
    for site in trace.sites:
        for head in range(site.heads):
            weight = float(site.weights(head, 3)[0, 5])
            wrote = float(site.share(head, 3)[5] * site.write(head, 3).norm())
            found[f"L{site.layer}H{head}"] = weight if sort == "pair" else wrote
    svg = view.figure("svg").decode()
    order = sorted(found, key=lambda name: -found[name])
    places = [svg.index(f">{name}<") for name in order]
    assert places == sorted(places)
