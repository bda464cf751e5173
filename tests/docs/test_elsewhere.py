"""The recipes of docs/elsewhere.md run, on stand-ins with the layout of what they are for, and give torch's own weights."""

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from attnscope import Trace
from closeness import close

pytestmark = pytest.mark.source

L, H, HKV, T, D, M = 3, 6, 2, 5, 7, 11
PAGE = Path(__file__).parents[2] / "docs" / "elsewhere.md"
TOKENS = ["As", "the", "aircraft", "becomes", "lighter"]


def recipe(heading: str, **names: Any) -> Trace:
    """The trace that the code below a heading makes of these names."""
    part = PAGE.read_text(encoding="utf-8").split(f"## {heading}\n")[1].split("\n## ")[0]
    (code,) = re.findall(r"```python\n(.*?)```", part, re.DOTALL)
    exec(compile(code, heading, "exec"), names)
    return names["trace"]


def layers(kv_heads: int = H, scale: float = D**-0.5) -> list[tuple[Tensor, ...]]:
    """q, k, v and torch's output of each layer, heads first."""
    generator = torch.Generator().manual_seed(0)
    made = []
    for _ in range(L):
        q, k, v = (torch.randn(heads, T, D, generator=generator) for heads in (H, kv_heads, kv_heads))
        whole = (x.repeat_interleave(H // kv_heads, 0) for x in (k, v))
        made.append((q, k, v, nn.functional.scaled_dot_product_attention(q, *whole, is_causal=True, scale=scale)))
    return made


def agrees(trace: Trace, made: list[tuple[Tensor, ...]], scale: float = D**-0.5) -> None:
    assert trace.verify().passed
    assert list(trace.tokens) == TOKENS
    assert [site.layer for site in trace.sites] == list(range(L))
    hidden = torch.ones(T, T).triu(1).bool()
    for site, (q, k, *_) in zip(trace.sites, made, strict=True):
        scores = q @ k.repeat_interleave(len(q) // len(k), 0).transpose(1, 2) * scale
        assert close(site.weights(), scores.masked_fill(hidden, -torch.inf).softmax(-1))
    assert trace.show("matrix", layer=2, head=5).html


def test_numpy() -> None:
    made = layers()
    q, k, v, z = (torch.stack(part).numpy() for part in zip(*made, strict=True))
    w_o = np.random.default_rng(0).normal(size=(L, H, D, M)).astype(np.float32)
    trace = recipe("Numpy", q=q, k=k, v=v, z=z, w_o=w_o)
    agrees(trace, made)
    assert trace.site(1).path == "layers.1.attention"
    assert close(trace.site(1).write(3), torch.from_numpy(z[1, 3] @ w_o[1, 3]))


@pytest.mark.parametrize("array", ["numpy", "jax"])
def test_jax(array: str) -> None:
    made = layers()
    as_array = np.asarray if array == "numpy" else pytest.importorskip("jax.numpy").asarray
    kept = [tuple(as_array(x.transpose(0, 1)[None].numpy()) for x in layer) for layer in made]
    agrees(recipe("JAX", kept=kept, tokens=TOKENS), made)


class Attention(nn.Module):
    """vLLM's layer, seen from outside: [T, H · D] in and out."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.num_heads, self.num_kv_heads, self.head_size = H, HKV, D
        self.impl = SimpleNamespace(scale=scale)

    def forward(self, query: Tensor, key: Tensor, value: Tensor, output_shape: Any = None) -> Tensor:
        q, k, v = (x.view(len(x), -1, D).transpose(0, 1) for x in (query, key, value))
        k, v = (x.repeat_interleave(H // HKV, 0) for x in (k, v))
        z = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True, scale=self.impl.scale)
        return z.transpose(0, 1).flatten(1)


class Engine:
    """vLLM's LLM: one pass reads the prompt, further ones have a row each."""

    def __init__(self, made: list[tuple[Tensor, ...]], scale: float) -> None:
        self.model, self.made = nn.ModuleList(nn.Sequential(Attention(scale)) for _ in made), made

    def apply_model(self, what: Any) -> None:
        what(self.model)

    def get_tokenizer(self) -> Any:
        return SimpleNamespace(tokenize=str.split)

    def generate(self, prompts: list[str]) -> None:
        for rows in (slice(None), slice(4, 5)):
            for layer, (q, k, v, _) in zip(self.model, self.made, strict=True):
                layer[0](*(x[:, rows].transpose(0, 1).flatten(1) for x in (q, k, v)))


def test_vllm() -> None:
    made = layers(HKV, 0.21)
    trace = recipe("vLLM and other serving engines", llm=Engine(made, 0.21), prompt=" ".join(TOKENS))
    agrees(trace, made, 0.21)
    assert trace.site(2).path == "2.0"


@pytest.mark.parametrize("rotary", [False, True])
def test_transformer_lens(rotary: bool) -> None:
    made = layers(HKV, 1 / 2.5)
    cache = {}
    for layer, parts in enumerate(made):
        for name, x in zip("qkvz", parts, strict=True):
            turned = rotary and name in "qk"
            rows = x.transpose(0, 1)[None]
            cache[f"blocks.{layer}.attn.hook_{name}"] = rows + 1 if turned else rows
            if turned:
                cache[f"blocks.{layer}.attn.hook_rot_{name}"] = rows
    w_o, b_o = torch.randn(L, H, D, M), torch.randn(L, M)
    model = SimpleNamespace(
        cfg=SimpleNamespace(n_layers=L, attn_scale=2.5), W_O=w_o, b_O=b_o, to_str_tokens=lambda text: text.split()
    )
    trace = recipe("TransformerLens", cache=cache, model=model, prompt=" ".join(TOKENS))
    agrees(trace, made, 1 / 2.5)
    assert close(trace.site(1).write(4), made[1][3][4] @ w_o[1, 4])
    assert torch.equal(trace.site(1).projection.bias, b_o[1])


def test_nnsight() -> None:
    made = layers(HKV, 0.21)
    kept = [
        (((None, q[None], k[None], v[None], None), {"scaling": 0.21}), z.transpose(0, 1)[None]) for q, k, v, z in made
    ]
    agrees(recipe("nnsight", kept=kept, tokens=TOKENS), made, 0.21)
