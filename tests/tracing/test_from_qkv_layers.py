"""Trace.from_qkv of several layers: what each is given alone, and what all share."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from attnscope import InputError, Trace, load_trace
from closeness import close

L, H, T, D, M = 3, 2, 7, 5, 11


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


Q, K, V = (random(L, H, T, D, seed=n) for n in range(3))


@pytest.mark.parametrize(
    "of",
    [
        list,
        tuple,
        lambda x: x,
        lambda x: x.numpy(),
        lambda x: list(x.numpy()),
        lambda x: x[:, None],
        lambda x: dict(enumerate(x)),
    ],
)
def test_lists_mappings_and_stacks_are_the_same(of: Any) -> None:
    trace = Trace.from_qkv(of(Q), of(K), of(V), tokens=list("abcdefg"))
    assert [(site.layer, site.path) for site in trace.sites] == [(n, f"from_qkv[{n}]") for n in range(L)]
    for n, site in enumerate(trace.sites):
        assert torch.equal(site.q, Q[n])
        assert close(site.output(), torch.nn.functional.scaled_dot_product_attention(Q[n], K[n], V[n]))
    assert any("read as 3 layers" in note for note in trace.notes) == (getattr(of(Q), "ndim", 0) == 4)


def test_missing_layers_keep_their_numbers() -> None:
    for given in ([None, Q[1], None, Q[0]], {1: Q[1], "L3": Q[0]}):
        trace = Trace.from_qkv(given, given, given)
        assert [site.layer for site in trace.sites] == [1, 3]
        assert torch.equal(trace.site(3).q, Q[0])


def test_what_each_layer_has_alone(tmp_path: Any) -> None:
    masks = [random(T, T, seed=7) > -0.5, None, random(H, T, T, seed=8)]
    scaling, softcap, sinks, w = [0.3, None, 0.5], [None, 2.0, None], random(L, H), random(L, H * D, M)
    made = []
    for n in range(L):
        scores = Q[n] @ K[n].transpose(1, 2) * (scaling[n] or D**-0.5)
        scores = 2 * torch.tanh(scores / 2) if softcap[n] else scores
        mask = masks[n]
        if mask is not None:
            scores = scores.masked_fill(~mask, -torch.inf) if mask.dtype == torch.bool else scores + mask
        joined = torch.cat([scores, sinks[n][:, None, None].expand(H, T, 1)], -1)
        made.append(joined.softmax(-1)[..., :-1])
    z = [weights @ V[n] for n, weights in enumerate(made)]
    extras = {"scaling": scaling, "softcap": softcap, "sinks": sinks, "output": z, "projection": w}
    trace = Trace.from_qkv(Q, K, V, mask=masks, **extras, projection_bias=random(M), names=["a.0", "a.1", "b"])
    assert trace.verify().passed
    assert [site.path for site in trace.sites] == ["a.0", "a.1", "b"]
    for n, site in enumerate(trace.sites):
        assert close(site.weights(), made[n])
        assert close(site.write(1), z[n][1] @ w[n].view(H, D, M)[1])
    trace.save(tmp_path / "t.safetensors", projections=True)
    back = load_trace(tmp_path / "t.safetensors")
    assert back.verify().passed
    assert close(back.site(2).write(1), trace.site(2).write(1))


def test_what_all_layers_share_is_one_object() -> None:
    w, mask = random(H, D, M), torch.ones(T, T).tril().bool()
    trace = Trace.from_qkv(Q, K, V, mask=mask, projection=w, scaling=0.4)
    first = trace.sites[0]
    assert all(site.mask is first.mask and site.projection is first.projection for site in trace.sites)
    assert first.mask.upper == 0
    assert {site.scaling for site in trace.sites} == {0.4}


def test_a_wrong_output_fails_the_receipt() -> None:
    z = torch.stack([torch.nn.functional.scaled_dot_product_attention(Q[n], K[n], V[n]) for n in range(L)])
    assert Trace.from_qkv(Q, K, V, output=z).verify().passed
    receipt = Trace.from_qkv(Q, K, V, output=z, scaling=[None, 0.5, None]).verify()
    assert [site.status for site in receipt.sites] == ["exact", "failed", "exact"]
    long = random(1, 300, D)
    whole = torch.nn.functional.scaled_dot_product_attention(long, long, long)
    site = Trace.from_qkv(long, long, long, output=whole).verify().sites[0]
    assert (site.status, site.rows, site.of) == ("exact", 64, 300)


def test_two_texts_of_one_length_are_two_texts() -> None:
    trace = Trace.from_qkv(Q[0], K[0], V[0], tokens=list("abcdefg"), query_tokens=list("hijklmn"))
    assert trace.site(0).kind == "cross"
    assert "".join(trace.query_tokens(trace.site(0))) == "hijklmn"


def test_arrays_of_other_libraries() -> None:
    """JAX's bfloat16, which torch does not know, and anything that gives numpy an array."""

    class Foreign:
        shape, ndim = (T, D), 2

        def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
            return Q[0, 0].numpy()

    assert torch.equal(Trace.from_qkv(Foreign(), Foreign(), Foreign()).site(0).q[0], Q[0, 0])
    other = pytest.importorskip("ml_dtypes").bfloat16
    x = Q[0].numpy().astype(other)
    assert torch.equal(Trace.from_qkv(x, x, x).site(0).q, Q[0].bfloat16())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"key": K[0]}, "query, key and value of the same layers, and key is of one layer"),
        ({"key": list(K)[:2]}, "key has the layers 0, 1, and query has 0, 1, 2"),
        ({"query": [None] * L}, "query is empty"),
        ({"mask": [None, torch.ones(T, T).bool()] * 2}, "mask has the layers 1, 3, and query has 0, 1, 2"),
        ({"names": ["a", "b"]}, "names as 3 strings, one a layer, got 2 of them"),
        ({"output": random(L, T, H, D)}, r"output is float32 \[7, 2, 5\]; expected real numbers \[2, 7, 5\]"),
        ({"projection": random(M, H * D)}, r"give layer.weight.T"),
        ({"projection": random(4, M)}, r"projection is float32 \[4, 11\]"),
        ({"projection_bias": random(M)}, "without projection"),
        ({"sinks": random(5)}, r"sinks is float32 \[5\]; expected real numbers \[2\]"),
        ({"softcap": 0}, "softcap is 0; it is above 0"),
        ({"softcap": "high"}, "expected softcap as a finite number"),
        ({"scaling": [0.5, torch.nan, 0.5]}, "expected scaling as a finite number"),
        ({"tokens": "abcdefg"}, "tokens as a list of strings, one for each of the keys, got str"),
        ({"tokens": ["a", "b"]}, "2 tokens were given for 7 keys"),
    ],
)
def test_what_does_not_fit(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Trace.from_qkv(**{"query": Q, "key": K, "value": V, **change})


def test_heads_after_the_length_are_named() -> None:
    turned = [x.transpose(1, 2) for x in (Q, K, V)]
    with pytest.raises(InputError, match=r"look like \[T, H, D\]: give x.swapaxes"):
        Trace.from_qkv(*turned, tokens=list("abcdefg"))
