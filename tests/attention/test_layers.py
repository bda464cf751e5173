"""MultiHeadAttention and the encoder against torch's own modules and the models whose weights they take over."""

import pytest
import torch
from torch import nn
from torch.nn import functional
from transformers import BertConfig, BertModel, GPT2Config, GPT2Model, LlamaConfig, LlamaModel

from attnscope.attention import (
    KeyValueCache,
    MultiHeadAttention,
    TransformerEncoder,
    TransformerEncoderLayer,
    rotary,
    split_heads,
)
from closeness import close, through_softmax

pytestmark = pytest.mark.exactness

B, T, S, H, D = 3, 13, 17, 5, 7
M = H * D


def mine_like(theirs: nn.MultiheadAttention, **options) -> MultiHeadAttention:
    made = MultiHeadAttention(M, H, **options)
    with torch.no_grad():
        for part, weight, bias in zip(
            (made.q_proj, made.k_proj, made.v_proj),
            theirs.in_proj_weight.chunk(3),
            theirs.in_proj_bias.chunk(3),
            strict=True,
        ):
            part.weight.copy_(weight)
            part.bias.copy_(bias)
        made.out_proj.load_state_dict(theirs.out_proj.state_dict())
    return made


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(3)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("padded", [False, True])
def test_agrees_with_nn_multihead_attention(causal, padded):
    theirs = nn.MultiheadAttention(M, H, batch_first=True).eval()
    mine, x = mine_like(theirs, causal=causal), torch.randn(B, T, M)
    seen = torch.ones(B, T, dtype=torch.bool)
    if padded:
        seen[0, -4:] = seen[1, -1:] = False
    later = nn.Transformer.generate_square_subsequent_mask(T).isinf() if causal else None
    expected, weights = theirs(x, x, x, key_padding_mask=~seen, attn_mask=later, average_attn_weights=False)
    output, steps = mine(x, key_padding=seen if padded else None, return_steps=True)
    assert close(output, expected)
    assert close(steps.weights, weights)


def test_cross_attention_agrees_with_nn_multihead_attention():
    theirs = nn.MultiheadAttention(M, H, batch_first=True).eval()
    x, memory = torch.randn(B, T, M), torch.randn(B, S, M)
    assert close(mine_like(theirs)(x, memory), theirs(x, memory, memory)[0])


@pytest.mark.parametrize("kv_heads", [1, 2, 6])
def test_grouped_heads_agree_with_torch(kv_heads):
    made, x = MultiHeadAttention(42, 6, kv_heads=kv_heads, causal=True), torch.randn(B, T, 42)
    q = split_heads(made.q_proj(x), 6)
    k, v = (split_heads(p(x), kv_heads) for p in (made.k_proj, made.v_proj))
    z = functional.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
    assert close(made(x), made.out_proj(z.transpose(1, 2).flatten(2)))


@pytest.mark.parametrize("theta", [None, 10_000.0])
def test_cached_steps_equal_one_pass(theta):
    made, x = (
        MultiHeadAttention(60, 6, kv_heads=2, head_size=10, causal=True, rotary_theta=theta),
        torch.randn(B, T, 60),
    )
    whole, cache = made(x), KeyValueCache()
    steps = [made(part, cache=cache) for part in x.split([5, 1, 1, 4, 2], dim=1)]
    assert cache.length == T
    assert close(torch.cat(steps, dim=1), whole)


def test_rotary_scores_depend_on_the_distance_alone():
    q, k = torch.randn(14), torch.randn(14)
    at = lambda x, position: rotary(x[None], torch.tensor([position]))[0]  # noqa: E731
    scores = [float(at(q, 5 + shift) @ at(k, 2 + shift)) for shift in (0, 3, 11)]
    assert close(scores, [scores[0]] * 3, magnitude=float(q.norm() * k.norm()))
    assert float(at(q, 5) @ at(k, 1)) != pytest.approx(scores[0], abs=1e-3)


@pytest.mark.parametrize("norm_first", [False, True])
def test_encoder_layer_agrees_with_torch(norm_first):
    theirs = nn.TransformerEncoderLayer(M, H, 53, activation="gelu", batch_first=True, norm_first=norm_first).eval()
    made = TransformerEncoderLayer(M, H, 53, norm_first=norm_first)
    made.attention = mine_like(theirs.self_attn)
    for mine, other in (
        (made.feed_forward[0], theirs.linear1),
        (made.feed_forward[2], theirs.linear2),
        (made.attention_norm, theirs.norm1),
        (made.feed_forward_norm, theirs.norm2),
    ):
        mine.load_state_dict(other.state_dict())
    x = torch.randn(B, T, M)
    assert close(made(x), theirs(x))


def test_a_bert_layer():
    config = BertConfig(hidden_size=M, num_attention_heads=H, num_hidden_layers=3, intermediate_size=53, vocab_size=101)
    model = BertModel(config).eval()
    self_attention = model.encoder.layer[2].attention
    x = torch.randn(B, T, M)
    expected = self_attention.output.dense(self_attention.self(x)[0])
    assert close(MultiHeadAttention.from_site(model, 2)(x), expected)


@pytest.mark.parametrize("inverse", [False, True])
def test_a_gpt2_layer(inverse):
    config = GPT2Config(
        n_embd=M, n_head=H, n_layer=3, vocab_size=101, n_positions=31, scale_attn_by_inverse_layer_idx=inverse
    )
    config._attn_implementation = "eager"  # the one that has known the inverse in every release
    model = GPT2Model(config).eval()
    seen = {}
    model.h[1].attn.register_forward_hook(
        lambda _, args, kwargs, out: seen.update(x=args[0] if args else kwargs["hidden_states"], y=out[0]),
        with_kwargs=True,
    )
    model(torch.randint(0, 101, (B, T)))
    assert close(MultiHeadAttention.from_site(model, 1)(seen["x"]), seen["y"])


def test_a_llama_layer():
    config = LlamaConfig(
        hidden_size=60,
        num_attention_heads=6,
        num_key_value_heads=2,
        head_dim=14,
        num_hidden_layers=3,
        intermediate_size=53,
        vocab_size=101,
    )
    model = LlamaModel(config).eval()
    seen = {}
    model.layers[1].self_attn.register_forward_hook(
        lambda _, args, kwargs, out: seen.update(x=kwargs["hidden_states"], y=out[0]), with_kwargs=True
    )
    model(torch.randint(0, 101, (B, T)))
    assert close(MultiHeadAttention.from_site(model, 1)(seen["x"]), seen["y"])


def test_the_demo_model_as_an_encoder_of_ours(demo):
    model, tokenizer = demo
    encoder = TransformerEncoder.from_bert(model)
    inputs = tokenizer(
        ["A short one.", "A sentence that is a good deal longer than the other."], return_tensors="pt", padding=True
    )
    with torch.no_grad():
        expected = model(**inputs, output_hidden_states=True).hidden_states
        _, hidden, steps = encoder(inputs["input_ids"], key_padding=inputs["attention_mask"].bool(), return_steps=True)
    assert len(hidden) == len(expected) == 7
    assert len(steps) == 6
    seen = inputs["attention_mask"].bool()
    for mine, theirs in zip(hidden, expected, strict=True):
        assert close(mine[seen], theirs[seen])


def test_other_models_are_refused(demo):
    with pytest.raises(ValueError, match="layers 0 to 5"):
        MultiHeadAttention.from_site(demo[0], 6)
    model = nn.Linear(2, 3)
    model.config = BertConfig(model_type="other")
    model.config.model_type = "other"
    with pytest.raises(ValueError, match="BERT, GPT-2 or Llama"):
        MultiHeadAttention.from_site(model, 0)
    with pytest.raises(ValueError, match="multiple of heads"):
        MultiHeadAttention(10, 3)


def test_steps_are_the_sites_own(demo, demo_trace):
    """The course's layer and the microscope's site are the same numbers."""
    model, _ = demo
    ids = torch.tensor([demo_trace.tokens.ids])
    with torch.no_grad():
        _, _, steps = TransformerEncoder.from_bert(model)(ids, return_steps=True)
    site = demo_trace.site(2)
    assert close(steps[2].weights[0, 8], site.weights(8), magnitude=through_softmax(site.scores()))
