"""Models that hear: positions in seconds, silence behind the sound set aside, the decoder's words."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers as T

import attnscope
import tiny_models as tiny
from attnscope.errors import InputError
from attnscope.models.sounds import sound_names
from attnscope.statistics.thumbnails import thumbnails_of
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


def test_the_sound_is_kept_as_a_small_picture(whisper: Any, tmp_path: Path) -> None:
    heard = features()
    trace = attnscope.trace(whisper, begins(), inputs={"input_features": heard}, text_target="the cat sat")
    sound = trace.tokens.sound
    assert sound is not None
    assert (sound.positions, sound.each, sound.kind) == (13, 0.02, "spectrogram")
    seen = np.frombuffer(sound.pixels, np.uint8).reshape(sound.rows, sound.columns)
    expected = heard[0, :, :HEARD].flip(0)
    expected = 255 * (expected - expected.min()) / (expected.max() - expected.min())
    assert seen.shape == (7, HEARD)
    assert np.abs(seen - expected.numpy()).max() <= 0.5, "the highest band first, up to where the sound ends"
    trace.save(tmp_path / "heard.safetensors")
    assert attnscope.load_trace(tmp_path / "heard.safetensors").tokens == trace.tokens


def test_thumbnails_and_statistics_are_of_the_sound(whisper: Any) -> None:
    trace = attnscope.trace(whisper, begins(), inputs={"input_features": features()}, text_target="the cat sat")
    encoder, cross = (trace.site(0, stack=stack) for stack in ("encoder", "cross"))
    found = dict(zip((site.stack for site in trace.sites), thumbnails_of(trace), strict=True))
    assert found["encoder"].shown == (13, 13)
    assert found["cross"].shown == (3, 13)
    assert found["decoder"].shown is None
    assert np.allclose(found["encoder"].weights, encoder.weights()[:, :13, :13], atol=1 / 500)
    assert np.allclose(found["cross"].weights, cross.weights()[:, :, :13], atol=1 / 500)
    statistics = found["encoder"].statistics
    assert "distance" not in statistics, "the distance of sound is time"
    weights = encoder.weights()[:, :13, :13].double()
    apart = 0.02 * (torch.arange(13)[:, None] - torch.arange(13)).abs()
    assert statistics["time_distance"] == pytest.approx((weights * apart).sum((1, 2)) / weights.sum((1, 2)), rel=1e-4)
    silent = encoder.weights()[:, :13, 13:].sum(-1).mean(-1)
    assert statistics["special"] == pytest.approx(silent.tolist(), rel=1e-4), "what the sound gives to the silence"
    for block in (trace.show(stack="encoder", level="model"), trace.show(stack="cross", level="model")):
        assert "</html>" in block.html


def test_cross_attention_is_scored_for_its_order(whisper: Any) -> None:
    names = "the cat sat on the mat and the dog sat"
    trace = attnscope.trace(whisper, begins(), inputs={"input_features": features()}, text_target=names)
    cross = trace.site(0, stack="cross")
    rows = [i for i, special in enumerate(trace.target.special) if not special]  # type: ignore[union-attr]
    weights = cross.weights()[:, rows, :13].double()
    statistics = next(
        small.statistics for site, small in zip(trace.sites, thumbnails_of(trace), strict=True) if site is cross
    )
    for head, peaks in enumerate(weights.argmax(-1).tolist()):
        pairs = [(b > a) - (b < a) for i, a in enumerate(peaks) for b in peaks[i + 1 :]]
        assert statistics["in_order"][head] == pytest.approx(sum(pairs) / len(pairs))
        apart = 0.02 * (torch.arange(13) - torch.tensor(peaks)[:, None]).abs()
        spread = ((weights[head] * apart).sum(-1) / weights[head].sum(-1)).mean()
        assert statistics["time_spread"][head] == pytest.approx(float(spread), rel=1e-4)


def test_names_for_what_the_decoder_read(whisper: Any) -> None:
    given = {"input_features": features(), "decoder_input_ids": torch.tensor([[2, 11, 12]])}
    trace = attnscope.trace(whisper, None, inputs=given, target_tokens=["<s>", "the", "cat"])
    assert trace.target is not None
    assert trace.target.strings == ("<s>", "the", "cat")
    assert trace.target.ids == (2, 11, 12)
    assert trace.target.special[0]
    assert trace.source is not None
    assert trace.source["target_tokens"] == ["<s>", "the", "cat"]
    with pytest.raises(InputError, match="2 target_tokens were given, and the decoder reads 3"):
        attnscope.trace(whisper, None, inputs=given, target_tokens=["a", "b"])
    with pytest.raises(InputError, match="a list of strings"):
        attnscope.trace(whisper, None, inputs=given, target_tokens="the cat")
    model = tiny.model("bert", "sdpa")
    with pytest.raises(InputError, match="has no decoder of its own"):
        attnscope.trace(model, None, ids=[1, 2, 3], target_tokens=["a", "b", "c"])


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
    heard = trace.tokens.sound
    assert heard is not None
    assert (heard.kind, heard.positions, heard.rows, heard.columns) == ("waveform", 48, 2, 400)
    high, low = np.frombuffer(heard.pixels, np.uint8).reshape(2, 400).astype(int)
    assert (high >= low).all()
    part = sound[0, :960] / sound[0, :960].abs().max()
    assert abs(high.max() - (128 + 127 * float(part.max()))) <= 1
    assert abs(low.min() - (128 + 127 * float(part.min()))) <= 1
    assert attnscope.trace(model, None, inputs={"input_values": sound}).tokens.strings[47] == "47"
