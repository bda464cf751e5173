"""Models that hear: positions in seconds, silence behind the sound set aside, the decoder's words."""

from typing import Any

import pytest
import torch
import transformers as T

import attnscope
import tiny_models as tiny
from attnscope.models.sounds import sound_names
from tiny_tokenizers import begins

FRAMES, HEARD = 62, 26  # 31 positions, of which the last 18 are silence


@pytest.fixture(scope="module")
def whisper() -> Any:
    sizes = {
        f"{side}_{name}": n for side in ("encoder", "decoder") for name, n in (("layers", 1), ("attention_heads", 2))
    }
    config = T.WhisperConfig(
        vocab_size=97,
        d_model=22,
        num_mel_bins=7,
        max_source_positions=FRAMES // 2,
        max_target_positions=19,
        decoder_start_token_id=2,
        pad_token_id=1,
        bos_token_id=2,
        eos_token_id=3,
        encoder_ffn_dim=29,
        decoder_ffn_dim=31,
        **sizes,
    )
    with torch.random.fork_rng():
        torch.manual_seed(4)
        model = T.WhisperForConditionalGeneration(config).eval()
        tiny.spread(model)
    return model


def features(heard: int = HEARD) -> torch.Tensor:
    made = torch.randn(1, 7, FRAMES, generator=torch.Generator().manual_seed(1))
    made[..., heard:] = -1.5
    return made


def test_positions_are_seconds_and_silence_is_set_aside(whisper: Any) -> None:
    trace = attnscope.trace(whisper, begins(), inputs={"input_features": features()}, text_target="the cat sat")
    assert trace.verify()
    assert trace.tokens.strings[:3] == ("0.00 s", "0.02 s", "0.04 s")
    assert trace.tokens.strings[12:14] == ("0.24 s", "silence 0.26 s")
    assert trace.tokens.special == (False,) * 13 + (True,) * 18
    assert any("The sound ends at 0.26 s. The 18 positions" in note for note in trace.notes)
    assert trace.target is not None
    assert trace.target.shown == ("<s>", "the", "cat"), "the tokenizer's own start token stands there once"
    for stack in ("encoder", "cross"):
        state = trace.show(stack=stack).state
        assert state.special == "hide"
        assert state.key < 13, "a view does not open on silence"
        assert trace.show(stack=stack, special="show").state.special == "show"


def test_the_decoders_ids_are_named(whisper: Any) -> None:
    ids = torch.tensor([[2, *begins()("the cat", add_special_tokens=False).input_ids]])
    trace = attnscope.trace(whisper, begins(), inputs={"input_features": features(), "decoder_input_ids": ids})
    assert trace.target is not None
    assert trace.target.shown == ("<s>", "the", "cat")


@pytest.mark.parametrize("heard", [FRAMES, FRAMES - 9])
def test_a_sound_to_the_end_has_no_silence(whisper: Any, heard: int) -> None:
    trace = attnscope.trace(whisper, None, inputs={"input_features": features(heard)})
    assert not any(trace.tokens.special), "less than a quarter of a second may be chance"
    assert trace.show().state.special == "show"


def test_a_mask_tells_where_the_sound_ends(whisper: Any) -> None:
    mask = (torch.arange(FRAMES) < 41).long()[None]
    inputs = {"input_features": features(FRAMES), "attention_mask": mask}
    tokens, _ = sound_names(whisper, None, inputs)
    assert sum(tokens.special) == 31 - 21


def test_samples_need_the_rate_of_the_extractor() -> None:
    config = T.Wav2Vec2Config(
        hidden_size=22, num_hidden_layers=2, num_attention_heads=2, intermediate_size=29, conv_dim=[8, 8], conv_stride=[5, 4],
        conv_kernel=[10, 8], num_conv_pos_embeddings=4, num_conv_pos_embedding_groups=2, vocab_size=31,
    )  # fmt: skip
    model = T.Wav2Vec2Model(config).eval()
    sound = torch.randn(1, 1003, generator=torch.Generator().manual_seed(2))
    extractor = T.Wav2Vec2FeatureExtractor(sampling_rate=4000)
    trace = attnscope.trace(model, extractor, inputs={"input_values": sound})
    assert len(trace.tokens) == 48
    assert trace.tokens.strings[47] == "0.235 s"  # 47 · 5 · 4 / 4000
    assert attnscope.trace(model, None, inputs={"input_values": sound}).tokens.strings[47] == "47"
