"""Whisper tiny.en on a spoken sentence: the published alignment heads walk through the sound as the words are written."""

import pytest
import torch

import attnscope
from attnscope.views.levels import REGISTRY
from real_models import SAID, SECONDS, sentence, speech

pytestmark = [pytest.mark.exactness, pytest.mark.slow]

ALIGNMENT = (
    (1, 0),
    (2, 0),
    (2, 5),
    (3, 0),
    (3, 1),
    (3, 2),
    (3, 3),
    (3, 4),
)  # openai/whisper-tiny.en, generation_config.json


@pytest.fixture(scope="module")
def heard() -> attnscope.Trace:
    model, _, tokenizer = speech()
    ids = torch.tensor([[50257, 50362, *tokenizer(SAID, add_special_tokens=False).input_ids]])
    return attnscope.trace(model, tokenizer, inputs={"input_features": sentence(), "decoder_input_ids": ids})


def test_the_model_understands_the_sentence() -> None:
    model, _, tokenizer = speech()
    written = model.generate(input_features=sentence(), max_length=20)[0]
    assert tokenizer.decode(written, skip_special_tokens=True).lower() == SAID.lower()


def test_receipts_of_all_stacks_pass(heard: attnscope.Trace) -> None:
    assert heard.stacks == {"encoder": 4, "decoder": 4, "cross": 4}
    assert heard.verify()


def test_the_alignment_heads_are_monotonic(heard: attnscope.Trace) -> None:
    frames = round(50 * SECONDS)  # 50 positions a second; the rest of the 1,500 is silence
    for layer, head in ALIGNMENT:
        weights = heard.site(layer, stack="cross").weights(head)[2:-1, :frames]
        centre = (weights * torch.arange(frames)).sum(-1) / weights.sum(-1)
        assert float((centre.diff() > 0).float().mean()) >= 0.8, (layer, head)


@pytest.mark.parametrize("stack", ["encoder", "cross"])
def test_a_view_opens_on_sound_and_not_on_silence(heard: attnscope.Trace, stack: str) -> None:
    state = heard.show(stack=stack).state
    tokens = heard.tokens
    assert tokens.strings[170] == "3.40 s"
    assert sum(tokens.special) > 0.85 * len(tokens), "30 seconds are filled up with silence"
    assert not tokens.special[state.key]
    assert tokens.strings[state.key] == f"{0.02 * state.key:.2f} s"
    assert state.key * 0.02 < SECONDS
    assert state.special == "hide"


def test_the_decoder_reads_words(heard: attnscope.Trace) -> None:
    assert heard.target is not None
    assert heard.target.shown[2:] == tuple(SAID.replace(".", " .").split())


@pytest.mark.parametrize("level", [one.name for one in REGISTRY])
@pytest.mark.parametrize("stack", ["encoder", "decoder", "cross"])
def test_every_stack_opens_on_every_level(heard: attnscope.Trace, stack: str, level: str) -> None:
    assert "</html>" in heard.show(static=True, stack=stack, level=level).html
