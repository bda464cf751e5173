"""Whisper tiny.en: the table finds all published alignment heads, in parts of a spoken sentence."""

import wave
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import attnscope
from attnscope.errors import InputError
from real_models import ALIGNMENT, SAID, SECONDS, WORDS, speech

pytestmark = [pytest.mark.exactness, pytest.mark.slow]


def processor():
    """A tokenizer that puts Whisper's own tokens round a text, beside the feature extractor."""
    from tokenizers import Tokenizer, processors
    from transformers import PreTrainedTokenizerFast

    _, extractor, tokenizer = speech()
    raw = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    around = [(tokenizer.convert_ids_to_tokens(number), number) for number in (50257, 50362, 50256)]
    (start, _), (silent, _), (end, _) = around
    raw.post_processor = processors.TemplateProcessing(single=f"{start} {silent} $A {end}", special_tokens=around)
    return SimpleNamespace(feature_extractor=extractor, tokenizer=PreTrainedTokenizerFast(tokenizer_object=raw))


def parts():
    """Every run of five words or more of the recording, cut where its words begin."""
    with wave.open(str(Path(__file__).parent / "sentence.wav")) as file:
        raw, rate = file.readframes(file.getnframes()), file.getframerate()
    sound = (np.frombuffer(raw, np.uint8).astype(np.float32) - 128) / 128
    borders, words = (*WORDS, SECONDS), SAID.split()
    return [
        (sound[int(borders[a] * rate) : int(borders[b] * rate)], " " + " ".join(words[a:b]))
        for a in range(6)
        for b in range(a + 5, 11)
    ]


@pytest.fixture(scope="module")
def table():
    return attnscope.roles(speech()[0], processor(), corpus=parts())


def test_all_published_alignment_heads_are_found(table):
    claimed = {(row.layer, row.head) for row in table.by_head if row.claimed}
    assert set(ALIGNMENT) <= claimed
    assert len(claimed) <= 16, "recall 1; eight others of the 24 follow this sound as well"


def test_the_row_of_the_best_head(table):
    (row,) = table
    assert (row.relation, row.direction) == ("alignment", "text to sound")
    assert row.claimed
    assert row.looked_at == 24
    measures = row.as_json()["measures"]
    assert measures["in_order"] > 0.9
    assert measures["time_spread"] < 0.3
    assert "follows the sound in the order of the words" in table.sentences()[0]
    assert "the other way round" in table.sentences()[0]


def test_order_and_spread_are_those_of_the_statistics(table):
    from attnscope.statistics.sound import walk_along

    model, extractor, tokenizer = speech()
    sound, text = parts()[0]
    again = attnscope.roles(model, processor(), corpus=[parts()[5], (sound, text)])  # the longer one chooses
    ids = torch.tensor([[50257, 50362, *tokenizer(text, add_special_tokens=False).input_ids]])
    inputs = {**extractor(sound, sampling_rate=16000, return_tensors="pt"), "decoder_input_ids": ids}
    trace = attnscope.trace(model, SimpleNamespace(feature_extractor=extractor, tokenizer=tokenizer), inputs=inputs)
    expected = {
        site.layer: walk_along(site, trace.target, trace.tokens) for site in trace.sites if site.kind == "cross"
    }
    for row in again.by_head:
        measures = dict(row.measures)
        assert measures["in_order"] == pytest.approx(expected[row.layer]["in_order"][row.head], abs=1e-6)
        assert measures["time_spread"] == pytest.approx(expected[row.layer]["time_spread"][row.head], abs=1e-5)
        assert not row.claimed, "one recording in a half is no evidence"


def test_one_recording_chooses_nothing():
    table = attnscope.roles(speech()[0], processor(), corpus=parts()[:1])
    assert table[0].layer is None
    assert not table.claimed


@pytest.mark.parametrize(
    ("corpus", "message"),
    [
        (None, "got NoneType"),
        ([], "empty"),
        ([np.zeros(100)], "as item 0"),
        ([(np.zeros((2, 9)), "two channels")], r"got shape \[2, 9\]"),
        ([(np.full(9, np.nan), "nothing")], "finite"),
    ],
)
def test_a_corpus_that_is_none_is_refused(corpus, message):
    with pytest.raises(InputError, match=message):
        attnscope.roles(speech()[0], processor(), corpus=corpus)


def test_a_tokenizer_alone_is_refused():
    with pytest.raises(InputError, match="feature_extractor and a tokenizer"):
        attnscope.roles(speech()[0], speech()[2], corpus=parts())
    with pytest.raises(InputError, match="of texts"):
        attnscope.roles(speech()[0], processor(), treebank="x.conllu")
