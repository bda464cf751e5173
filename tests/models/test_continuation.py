"""What a model writes is traced as it ran: with the decoder's prompt, by its own settings, or from ids that are finished."""

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

import attnscope
import tiny_models as tiny
from attnscope.errors import InputError


def whisper() -> Any:
    model = transformers.WhisperForConditionalGeneration(
        transformers.WhisperConfig(
            vocab_size=97,
            d_model=32,
            encoder_layers=2,
            decoder_layers=2,
            encoder_attention_heads=4,
            decoder_attention_heads=2,
            encoder_ffn_dim=37,
            decoder_ffn_dim=41,
            max_source_positions=19,
            max_target_positions=31,
            num_mel_bins=7,
            pad_token_id=0,
            bos_token_id=1,
            eos_token_id=2,
            decoder_start_token_id=3,
            suppress_tokens=[],
            begin_suppress_tokens=[],
        )
    ).eval()
    with torch.random.fork_rng():
        torch.manual_seed(2)
        tiny.spread(model)
    return model


def step_by_step(model: Any, read: list[int], count: int, **inputs: Any) -> list[int]:
    """Greedy decoding by hand: what the decoder reads and writes."""
    ids = torch.tensor([read])
    with torch.no_grad():
        for _ in range(count):
            ids = torch.cat([ids, model(**inputs, decoder_input_ids=ids).logits[:, -1:].argmax(-1)], 1)
    return ids[0].tolist()


@pytest.mark.parametrize("prompt", [[3], [3, 11, 13]])
def test_whispers_prompt_is_kept(prompt: list[int]) -> None:
    """transformers' Whisper returns what it wrote, without what its decoder read first."""
    model, sound = whisper(), torch.randn(1, 7, 38, generator=torch.Generator().manual_seed(3))
    inputs = {"input_features": sound}
    if len(prompt) == 1:
        trace = attnscope.trace(model, None, inputs=inputs, generate=5)
    else:
        forced = {"decoder_input_ids": torch.tensor([prompt]), "max_new_tokens": 5, "do_sample": False}
        trace = attnscope.trace(model, None, inputs=inputs, generate=forced)
    assert trace.target is not None
    assert list(trace.target.ids) == step_by_step(model, prompt, 5, **inputs)
    assert trace.target.border == len(prompt)
    assert trace.verify().passed
    assert trace.target.probability[: len(prompt)] == (None,) * len(prompt)


def test_ids_of_a_finished_generation(tmp_path: Path) -> None:
    model, tokenizer = tiny.model("llama"), tiny.tokenizer()
    prompt = tokenizer("the cat sat", return_tensors="pt")["input_ids"]
    with torch.random.fork_rng():
        torch.manual_seed(4)
        sampled = model.generate(prompt, max_new_tokens=6, do_sample=True, eos_token_id=None)
    trace = attnscope.trace(model, tokenizer, "the cat sat", ids=sampled)
    tokens = trace.tokens
    assert list(tokens.ids) == sampled[0].tolist()
    assert tokens.border == prompt.shape[1]
    with torch.no_grad():
        given = model(sampled).logits[0].softmax(-1)
    for at in range(tokens.border, len(tokens)):
        row = given[at - 1].clone()
        assert tokens.rank[at] == row.argsort(descending=True).tolist().index(tokens.ids[at]) + 1
        assert tokens.probability[at] == pytest.approx(float(row[tokens.ids[at]]), abs=1e-5)
        row[tokens.ids[at]] = 0
        assert tokens.runner_up[at][1] == pytest.approx(float(row.max()), abs=1e-5)
    assert max(tokens.rank[tokens.border :]) > 1, "sampled: not always the first"
    assert tokens.rank[: tokens.border] == (None,) * tokens.border
    assert trace.source is not None
    assert attnscope.trace(model, tokenizer, **trace.source).tokens == tokens
    trace.save(tmp_path / "generated.safetensors")
    assert attnscope.load_trace(tmp_path / "generated.safetensors").tokens == tokens
    alone = attnscope.trace(model, tokenizer, ids=sampled[0].tolist()).tokens
    assert (alone.ids, alone.border) == (tokens.ids, None)
    with pytest.raises(InputError, match="ids do not begin with the prompt: at position 1 it has id"):
        attnscope.trace(model, tokenizer, "the dog sat", ids=[2, 9, 9])
    with pytest.raises(InputError, match="ids are a continuation that is finished"):
        attnscope.trace(model, tokenizer, "the cat sat", ids=sampled, generate=3)
    for wrong, said in (([[1, 2], [3, 4]], r"shape \[2, 2\]"), ([-100, 3], "ids has -100"), ("the cat", "got str")):
        with pytest.raises(InputError, match=said):
            attnscope.trace(model, tokenizer, ids=wrong)


def test_the_models_own_settings() -> None:
    model, tokenizer = tiny.fresh_model("llama"), tiny.tokenizer()
    model.generation_config.do_sample = True
    model.generation_config.max_new_tokens = 7
    model.generation_config.eos_token_id = None
    prompt = {"input_ids": tokenizer("the cat sat", return_tensors="pt")["input_ids"]}
    found = []
    for run in range(2):
        with torch.random.fork_rng():
            torch.manual_seed(6)
            if run:
                trace = attnscope.trace(model, tokenizer, "the cat sat", generate={})
                found.append(list(trace.tokens.ids))
                assert any("with its own settings" in note for note in trace.notes)
                assert trace.source == {"text": "the cat sat", "ids": found[-1]}, "the same again, not another sample"
            else:
                found.append(model.generate(**prompt)[0].tolist())
    assert found[0] == found[1]
    with pytest.raises(InputError, match="several sequences"):
        attnscope.trace(model, tokenizer, "the cat", generate={"num_return_sequences": 2})


def test_an_encoder_decoders_finished_answer() -> None:
    model, tokenizer = tiny.model("t5_generates"), tiny.tokenizer()
    source = {"input_ids": tokenizer("the cat sat", return_tensors="pt")["input_ids"]}
    wrote = model.generate(**source, max_new_tokens=5, do_sample=False)[0].tolist()
    by_model = attnscope.trace(model, tokenizer, "the cat sat", generate=5)
    given = attnscope.trace(model, tokenizer, "the cat sat", ids=wrote)
    bare = attnscope.trace(model, tokenizer, "the cat sat", ids=wrote[1:])  # the start token left out
    assert by_model.target.ids == given.target.ids == bare.target.ids == tuple(wrote)
    assert by_model.target.probability == given.target.probability
    assert any("put before them" in note for note in bare.notes)
