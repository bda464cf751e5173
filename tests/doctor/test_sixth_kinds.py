"""Kinds of code that the doctor once could not compare: each is compared as it stands, and its mistake named where it has one."""

import math

import numpy as np
import pytest
import torch
from torch import nn

import attnscope
from attnscope.doctor import Diagnosis
from attnscope.doctor.code_check.match import nearest, search
from attnscope.doctor.code_check.run import filling


def names(diagnosis: Diagnosis) -> list[str]:
    return [found.name for found in diagnosis.findings]


def clean(code: object, **options: object) -> Diagnosis:
    diagnosis = attnscope.check(code, **options)  # type: ignore[arg-type]
    assert diagnosis.compared, str(diagnosis)
    assert names(diagnosis) == [], str(diagnosis)
    return diagnosis


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """A search in order that ends soon, since what it tries in vain is not the matter here."""
    monkeypatch.setattr(search, "PATIENCE", {"right": 200, "windows": 1, 1: 20, 2: 1})


class Linears(nn.Module):
    """Maps from 12 numbers to 12, by name; three heads of four."""

    def __init__(self, *named: str, width: int = 12) -> None:
        super().__init__()
        torch.manual_seed(5)
        self.heads = 3
        for name in named:
            setattr(self, name, nn.Linear(width, width))

    def cut(self, x: torch.Tensor) -> torch.Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)


class Differential(Linears):
    def __init__(self, scale: bool = True) -> None:
        super().__init__("q", "k", "v", "o")
        self.scale, self.lam = scale, nn.Parameter(torch.tensor(0.37))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k = (self.cut(f(x)).unflatten(-1, (2, 2)).movedim(3, 0) for f in (self.q, self.k))
        first, second = (q @ k.mT * (2**-0.5 if self.scale else 1)).softmax(-1)
        z = (first - self.lam * second) @ self.cut(self.v(x))
        return self.o(z.transpose(1, 2).flatten(2))


def test_differential_attention(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "PATIENCE", {"right": 100, "windows": 1, 1: 20, 2: 300})
    monkeypatch.setattr(nearest, "MOST", 60)
    assert "λ = 0.37" in clean(Differential()).conventions["weights"]
    assert names(attnscope.check(Differential(scale=False))) == ["scale-missing"]


class Latent(nn.Module):
    """DeepSeek's: keys and values of 3 heads through 5 numbers, and a turned key of 2 for all heads."""

    def __init__(self, turned: bool = True) -> None:
        super().__init__()
        torch.manual_seed(5)
        self.heads, self.turned = 3, turned
        self.wq, self.kv_a, self.kv_b = nn.Linear(20, 3 * 6), nn.Linear(20, 5 + 2), nn.Linear(5, 3 * (4 + 7))
        self.kv_norm, self.wo = nn.RMSNorm(5), nn.Linear(3 * 7, 20)

    def rotary(self, x: torch.Tensor) -> torch.Tensor:
        angle = torch.arange(x.shape[-2]).float()[:, None]
        a, b = x.chunk(2, dim=-1)
        return torch.cat([a * angle.cos() - b * angle.sin(), b * angle.cos() + a * angle.sin()], dim=-1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        few, turning = self.kv_a(x).split([5, 2], dim=-1)
        k, v = self.kv_b(self.kv_norm(few)).unflatten(-1, (3, -1)).transpose(1, 2).split([4, 7], dim=-1)
        q, q_turning = self.wq(x).unflatten(-1, (3, -1)).transpose(1, 2).split([4, 2], dim=-1)
        turning = (self.rotary(turning) if self.turned else turning)[:, None].expand(-1, 3, -1, -1)
        scores = torch.cat([q, self.rotary(q_turning)], -1) @ torch.cat([k, turning], -1).mT / 6**0.5
        return self.wo((scores.softmax(-1) @ v).transpose(1, 2).flatten(2))


def test_latent_attention() -> None:
    found = clean(Latent()).conventions
    assert "through a latent" in found["projections"]
    assert "2 dimensions" in found["rotary"]
    assert names(attnscope.check(Latent(turned=False))) == ["rotary-on-queries-only"]


class Prefixed(Linears):
    def __init__(self) -> None:
        super().__init__("q", "k", "v", "o")
        self.seeds = nn.Embedding(2, 5)
        self.network = nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 24))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        keys, values = self.network(self.seeds.weight).expand(len(x), -1, -1).chunk(2, dim=-1)
        k, v = torch.cat([keys, self.k(x)], dim=1), torch.cat([values, self.v(x)], dim=1)
        q, k, v = map(self.cut, (self.q(x), k, v))
        return self.o(((q @ k.mT / 2).softmax(-1) @ v).transpose(1, 2).flatten(2))


def test_a_prefix_that_a_network_makes() -> None:
    assert clean(Prefixed()).conventions["keys of its own"].startswith("2 beside")


class Block(Linears):
    """Of the Set Transformer."""

    def __init__(self, dim: int) -> None:
        super().__init__("q", "k", "v", "o")
        self.dim = dim

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        q, k, v = map(self.cut, (self.q(x), self.k(y), self.v(y)))
        z = (q + (q @ k.mT / 2).softmax(self.dim) @ v).transpose(1, 2).flatten(2)
        return z + self.o(z).relu()


class Induced(nn.Module):
    def __init__(self, dim: int = -1) -> None:
        super().__init__()
        self.points, self.first, self.second = nn.Parameter(torch.randn(1, 5, 12)), Block(dim), Block(dim)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(x, self.first(self.points.expand(len(x), -1, -1), x))


def test_two_attentions_in_one_module_are_examined_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "PATIENCE", {"right": 200, "windows": 1, 1: 60, 2: 300})
    monkeypatch.setattr(nearest, "MOST", 20)
    diagnosis = clean(Induced())
    assert any("each alone" in note for note in diagnosis.notes)


class Bilinear(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.W = nn.Linear(11, 11, bias=False)

    def forward(self, query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        return (self.W(query) @ keys.mT).softmax(-1) @ values


class Unprojected(Linears):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (self.query(x) @ self.key(x).mT / 12**0.5).softmax(-1) @ x


def test_queries_keys_or_values_that_nothing_projects() -> None:
    assert "the one map may hold" in clean(Bilinear()).conventions["scale"]
    one = Unprojected("query", "key")
    one.heads = 1
    assert "values as they come" in clean(one).conventions["projections"]


def of_a_dictionary(params, x, n_heads):
    q, k, v = (np.stack(np.split(x @ params[name], n_heads, -1)) for name in ("wq", "wk", "wv"))
    e = np.exp(q @ k.swapaxes(-1, -2) / np.sqrt(q.shape[-1]))
    return np.concatenate(list(e / e.sum(-1, keepdims=True) @ v), axis=-1) @ params["wo"]


def of_arguments(x, c_attn_w, c_attn_b, c_proj_w, c_proj_b):
    q, k, v = np.split(x @ c_attn_w + c_attn_b, 3, axis=-1)
    scores = q @ k.T / np.sqrt(q.shape[-1])
    e = np.exp(scores - scores.max(-1, keepdims=True)) * np.tri(len(x))
    return e / e.sum(-1, keepdims=True) @ v @ c_proj_w + c_proj_b


def without_a_bias(x, W_q, b_q, W_k, b_k, W_v, b_v):
    q, k, v = x @ W_q + b_q, x @ W_k + b_k, x @ W_v
    return (q @ k.mT / math.sqrt(q.shape[-1])).softmax(-1) @ v


def test_weights_that_are_given() -> None:
    assert clean(of_a_dictionary).conventions["projections"].startswith("4 heads")
    assert clean(of_arguments).conventions["causal"] == "yes"
    diagnosis = attnscope.check(without_a_bias)
    assert names(diagnosis) == ["projection-unused"]
    assert "v (its bias)" in str(diagnosis)


class Sided(Linears):
    """Takes the rows and columns of its picture, which it needs to reduce it."""

    def forward(self, x: torch.Tensor, H: int, W: int) -> torch.Tensor:
        x = x.unflatten(1, (H, W)).flatten(1, 2)
        q, k, v = (self.cut(f(x)) for f in (self.q, self.k, self.v))
        return self.o(((q @ k.mT / 2).softmax(-1) @ v).transpose(1, 2).flatten(2))


def test_the_sides_of_a_picture() -> None:
    assert clean(Sided("q", "k", "v", "o")).conventions["projections"] == "3 heads, by name"
    kinds = filling.sides_in(["x", "H", "W"])
    x = torch.zeros(2, 12, 5)
    assert [filling.value(name, kind, x, x, 5, 1) for name, kind in kinds.items()] == [3, 4]


class Relative(Linears):
    """Transformer-XL: distances as sines and cosines, which turn nothing."""

    def __init__(self) -> None:
        super().__init__("q", "k", "v", "o", "r")
        self.u = nn.Parameter(torch.randn(3, 1, 4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        i = torch.arange(x.shape[1])
        angle = (i[:, None] - i)[..., None] * 100.0 ** -torch.linspace(0, 1, 6)  # freq
        far = self.r(torch.cat([angle.sin(), angle.cos()], dim=-1)).unflatten(-1, (3, 4))
        q, k, v = (self.cut(f(x)) for f in (self.q, self.k, self.v))
        scores = ((q + self.u) @ k.mT + torch.einsum("bhqd,qkhd->bhqk", q, far)) / 2
        return self.o((scores.softmax(-1) @ v).transpose(1, 2).flatten(2))


def test_sines_of_distances_are_no_rotation(short: None) -> None:
    assert "q · k and more" in clean(Relative()).conventions["scores"]


class TwoWrong(Linears):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = (self.cut(f(x)) for f in (self.q, self.k, self.v))
        return self.o(((q @ k.mT).softmax(-1) @ v).reshape(x.shape))  # neither scaled nor turned back


def test_the_nearest_recipes_are_tried_where_the_search_in_order_has_ended(short: None) -> None:
    diagnosis = attnscope.check(TwoWrong("q", "k", "v", "o"))
    assert set(names(diagnosis)) == {"scale-missing", "merge-without-transpose"}
