"""Edits beside TransformerLens's hooks, and attribution beside its components, where it is installed: see `make bench`."""

import contextlib
import copy
import io
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

import attnscope
from tiny_models import ids, model

lens = pytest.importorskip("transformer_lens.model_bridge")

pytestmark = pytest.mark.exactness

LAYER, HEAD, LENGTH = 1, 1, 11


def bridge(kind: str) -> Any:
    """TransformerLens around a copy of the model, which it takes apart. It insists on a tokenizer, which ids as input never use."""
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    held = copy.deepcopy(model(kind, "eager"))
    held.config.architectures = [type(held).__name__]
    words = Tokenizer(models.WordLevel({"[UNK]": 0, "[PAD]": 1}, unk_token="[UNK]"))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, unk_token="[UNK]", pad_token="[PAD]")
    with contextlib.redirect_stdout(io.StringIO()):
        return lens.TransformerBridge.boot_transformers("small/model", hf_model=held, tokenizer=tokenizer)


def logits_of(output: Any) -> Tensor:
    return getattr(output, "logits", output)


def off(z: Tensor, hook: Any) -> Tensor:
    z[:, :, HEAD] = 0
    return z


def twice(z: Tensor, hook: Any) -> Tensor:
    z[:, :, HEAD] *= 2
    return z


def uniform(pattern: Tensor, hook: Any) -> Tensor:
    seen = torch.ones(pattern.shape[-2:]).tril()
    pattern[:, HEAD] = seen / seen.sum(-1, keepdim=True)
    return pattern


VERBS: dict[str, tuple[str, Callable[..., Tensor], Callable[[Any], Any]]] = {
    "off": ("hook_z", off, lambda head: head.off()),
    "times": ("hook_z", twice, lambda head: head.times(2)),
    "weights": ("hook_pattern", uniform, lambda head: head.weights("uniform")),
}


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
@pytest.mark.parametrize("verb", [*VERBS])
def test_an_edit_is_its_hook(verb: str, kind: str) -> None:
    point, hook, edited = VERBS[verb]
    own, x = model(kind, "eager"), ids(1, LENGTH, seed=5)
    with torch.no_grad():
        theirs = logits_of(bridge(kind).run_with_hooks(x, fwd_hooks=[(f"blocks.{LAYER}.attn.{point}", hook)]))
        with attnscope.edit(own) as edit:
            edited(edit.head(f"L{LAYER}H{HEAD}"))
            ours = own(input_ids=x).logits
        clean = own(input_ids=x).logits
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
    assert float((ours - clean).abs().max()) > 1e-3
    assert edit.receipt.passed


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_a_patch_is_its_hook(kind: str) -> None:
    own, x, other = model(kind, "eager"), ids(1, LENGTH, seed=5), ids(1, LENGTH, seed=6)
    theirs = bridge(kind)
    with torch.no_grad():
        _, cache = theirs.run_with_cache(other)
        z = cache[f"blocks.{LAYER}.attn.hook_z"][:, :, HEAD].clone()

        def patch(given: Tensor, hook: Any) -> Tensor:
            given[:, :, HEAD] = z
            return given

        expected = logits_of(theirs.run_with_hooks(x, fwd_hooks=[(f"blocks.{LAYER}.attn.hook_z", patch)]))
        with attnscope.edit(own) as edit:
            edit.head(f"L{LAYER}H{HEAD}").patch(attnscope.trace(own, None, inputs={"input_ids": other}))
            ours = own(input_ids=x).logits
    torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", ["gpt2", "llama"])
def test_what_blocks_add_is_what_its_components_add(kind: str) -> None:
    """Attention and MLP of each layer, by TransformerLens's cache, through the final norm with its scale frozen."""
    own, x, target, against = model(kind, "eager"), ids(1, LENGTH, seed=5), 11, 23
    with torch.no_grad():
        _, cache = bridge(kind).run_with_cache(x)
    found = attnscope.trace(own, None, inputs={"input_ids": x}, keep={"stream"}).attribution(target, against, -1)
    norm = own.transformer.ln_f if kind == "gpt2" else own.model.norm
    final = cache[f"blocks.{own.config.num_hidden_layers - 1}.hook_resid_post"][0, -1]
    unembedding = (own.lm_head.weight[target] - own.lm_head.weight[against]).detach()
    weight = norm.weight.detach()

    def adds(part: Tensor) -> float:
        if kind == "gpt2":
            scale = (final.var(correction=0) + norm.eps).sqrt()
            return float(((part - part.mean()) / scale * weight) @ unembedding)
        return float((part / (final.square().mean() + norm.variance_epsilon).sqrt() * weight) @ unembedding)

    for layer in range(own.config.num_hidden_layers):
        heads = [found.of(f"L{layer}H{head}") for head in range(own.config.num_attention_heads)]
        bias = found.of(f"L{layer} attention bias") if kind == "gpt2" else 0.0
        assert sum(heads) + bias == pytest.approx(adds(cache[f"blocks.{layer}.hook_attn_out"][0, -1]), abs=1e-5)
