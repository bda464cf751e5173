"""The eigenvalue scores against those of the whole V × V matrix, written out with the model's own modules."""

import numpy as np
import pytest
import torch

import attnscope
from attnscope.errors import InputError, NotCaptured
from attnscope.statistics.from_weights.scores import SCORES
from attnscope.statistics.from_weights.vocabulary import linear_part
from tiny_models import fresh_model, ids, model

NAMES = [statistic.name for statistic in SCORES]


def score(matrix: torch.Tensor) -> float:
    values = np.linalg.eigvals(matrix.detach().double().numpy())
    return float(values.real.sum() / np.abs(values).sum())


def heads(weight: torch.Tensor, count: int, size: int) -> torch.Tensor:
    """[heads, D, M] of a layer's [out, in]."""
    return weight.detach().double().reshape(count, size, -1)


def of_llama(built, layer: int) -> list[dict[str, float]]:
    block, config = built.model.layers[layer], built.config
    size = config.head_dim
    attention = block.self_attn
    queries = heads(attention.q_proj.weight, config.num_attention_heads, size)
    keys, values = (
        heads(getattr(attention, name).weight, config.num_key_value_heads, size) for name in ("k_proj", "v_proj")
    )
    outputs = attention.o_proj.weight.detach().double().T.reshape(config.num_attention_heads, size, -1)
    embedding = built.get_input_embeddings().weight.detach().double() * block.input_layernorm.weight.detach().double()
    unembedding = built.lm_head.weight.detach().double() * built.model.norm.weight.detach().double()
    found = []
    for head in range(config.num_attention_heads):
        group = head // (config.num_attention_heads // config.num_key_value_heads)
        value, key, query, out = values[group], keys[group], queries[head], outputs[head]
        found.append(
            {
                "copying": score(value.T @ out),
                "copying_tokens": score(embedding @ value.T @ out @ unembedding.T),
                "query_key": score(query.T @ key),
                "query_key_tokens": score(embedding @ query.T @ key @ embedding.T),
            }
        )
    return found


@pytest.mark.exactness
def test_grouped_heads_behind_rms_norms():
    built = model("llama")
    trace = attnscope.trace(built, inputs={"input_ids": ids()}, keep={"projections"})
    table = trace.statistics(NAMES, model=built)
    expected = [row for layer in range(len(trace.sites)) for row in of_llama(built, layer)]
    assert len(table) == len(expected)
    for row, theirs in zip(table, expected, strict=True):
        for name in NAMES:
            assert row[name] == pytest.approx(theirs[name], abs=1e-6), (row.name, name)


@pytest.mark.exactness
def test_layer_norms_that_take_the_mean_away():
    built = model("gpt2")
    trace = attnscope.trace(built, inputs={"input_ids": ids()}, keep={"projections"})
    table = trace.statistics(NAMES, model=built)
    block, config = built.transformer.h[1], built.config
    width, size = config.n_embd, config.n_embd // config.n_head
    centre = torch.eye(width).double() - 1 / width

    def through(norm: torch.nn.Module) -> torch.Tensor:
        return torch.diag(norm.weight.detach().double()) @ centre

    embedding = built.transformer.wte.weight.detach().double()
    query, key, value = block.attn.c_attn.weight.detach().double().split(width, 1)
    out = block.attn.c_proj.weight.detach().double()
    read = embedding @ through(block.ln_1).T
    written = built.lm_head.weight.detach().double() @ through(built.transformer.ln_f)
    row = next(row for row in table if (row.layer, row.head) == (1, 2))
    part = slice(2 * size, 3 * size)
    assert row["copying"] == pytest.approx(score(value[:, part] @ out[part]), abs=1e-6)
    assert row["copying_tokens"] == pytest.approx(score(read @ value[:, part] @ out[part] @ written.T), abs=1e-5)
    assert row["query_key_tokens"] == pytest.approx(score(read @ query[:, part] @ key[:, part].T @ read.T), abs=1e-5)


def test_a_gain_stored_as_one_more_is_found():
    class Gemma(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.linspace(-0.5, 0.5, 6))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x * (x.square().mean(-1, keepdim=True) + 1e-6).rsqrt() * (1 + self.weight)

    gain, centred = linear_part(Gemma(), 6)
    assert not centred
    assert torch.allclose(gain, 1 + torch.linspace(-0.5, 0.5, 6).double(), atol=1e-5)
    norm = torch.nn.LayerNorm(6)
    torch.nn.init.normal_(norm.weight)
    torch.nn.init.normal_(norm.bias)
    gain, centred = linear_part(norm, 6)
    assert centred
    assert torch.allclose(gain, norm.weight.detach().double(), atol=1e-4)


def test_what_is_missing_is_said():
    built = model("llama")
    plain = attnscope.trace(built, inputs={"input_ids": ids()})
    with pytest.raises(NotCaptured, match=r'keep=\{"projections"\}'):
        plain.statistics("copying")
    kept = attnscope.trace(built, inputs={"input_ids": ids()}, keep={"projections"})
    with pytest.raises(NotCaptured, match="needs the embedding of the model"):
        kept.statistics("copying_tokens")
    with pytest.raises(InputError, match="embedding of token ids"):
        kept.statistics("copying_tokens", model=torch.nn.Linear(2, 2))
    with pytest.raises(InputError, match="as wide as"):
        kept.statistics("copying_tokens", model=fresh_model("gpt2"))
    assert "copying" in kept.statistics().names
    assert "copying_tokens" not in kept.statistics().names
    assert "copying" not in plain.statistics().names


def test_an_encoder_without_an_unembedding_has_no_copying_of_tokens():
    built = model("bert")
    trace = attnscope.trace(built, inputs={"input_ids": ids()}, keep={"projections"})
    table = trace.statistics(NAMES, model=built)
    assert all(row["copying_tokens"] is None for row in table)
    assert all(row["query_key_tokens"] is not None for row in table)
