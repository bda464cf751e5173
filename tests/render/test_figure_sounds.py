"""The sound that was heard, in figures: the query in it, and the weight of every moment below."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from matplotlib.figure import Figure

import attnscope
from attnscope.render.figures.draw import figure
from attnscope.render.figures.sounds import columns_of, seconds_of
from attnscope.tracing.site import Site
from attnscope.tracing.sounds import Sound
from attnscope.tracing.tokens import Tokens
from made_traces import made_trace, sounding

HEARD, SILENT, QUERY = 17, 6, 4


def spoken(**picture) -> attnscope.Trace:
    pixels = {"kind": "spectrogram", "rows": 3, "columns": 5, "pixels": bytes(range(0, 255, 17))} | picture
    trace = sounding(HEARD, SILENT)
    return replace(trace, tokens=replace(trace.tokens, sound=Sound(HEARD, 0.02, **pixels)))


def drawn(trace: attnscope.Trace, level: str = "head", **options) -> dict:
    made: Figure = figure(trace, trace.show(level=level, layer=0, head=1, query=QUERY, **options).state, 3.4)
    return {axes.get_label(): axes for axes in made.axes[0].child_axes} | {
        "said": " ".join(text.get_text() for text in made.axes[0].texts)
    }


@pytest.mark.parametrize(("level", "average"), [("head", "none"), ("head", "heads"), ("neuron", "none")])
def test_the_bars_are_the_weights_of_the_query(level: str, average: str) -> None:
    trace = spoken()
    found = drawn(trace, level, average=average)
    weights = trace.sites[0].weights()[:, QUERY]
    expected = (weights.mean(0) if average == "heads" else weights[1]).numpy()
    (bars,) = found["weights on the sound"].patches
    np.testing.assert_allclose(bars.get_data().values, expected[:HEARD], atol=1e-6)
    assert found["weights on the sound"].get_ylim()[1] in (0.1, 0.2, 1), "the one scale of weights"
    assert f"on the silence behind the sound: {100 * expected[HEARD:].sum():.1f} %" in found["said"]
    (picture,) = found["sound"].images
    np.testing.assert_allclose(picture.get_array()[..., 3].ravel() * 255, 0.75 * np.arange(0, 255, 17), atol=1e-4)
    edges = {(box.get_x(), box.get_width()) for box in found["sound"].patches}
    assert edges == {(QUERY, 1)}


def test_a_waveform_and_a_sound_without_a_picture() -> None:
    found = drawn(spoken(kind="waveform", rows=2, columns=3, pixels=bytes([255, 128, 192, 0, 128, 64])))
    wave = next(one for one in found["sound"].patches if one.get_label() == "waveform").get_data()
    assert [*wave.values, *wave.baseline] == [255, 128, 192, 0, 128, 64]
    assert wave.edges.tolist() == pytest.approx([0, HEARD / 3, 2 * HEARD / 3, HEARD])
    bare = drawn(spoken(rows=0, columns=0, pixels=b""))
    assert not bare["sound"].images
    assert "0.3 s" in bare["said"]


def test_of_cross_attention_the_sound_is_among_the_keys() -> None:
    trace = spoken()
    words = Tokens(("my", "dog"))
    whole = made_trace(heads=2, kv_heads=2, queries=HEARD + SILENT).sites[0]
    site = Site(whole.q[:, :2], whole.k, whole.v, 0.5, kind="cross", stack="cross")
    cross = replace(trace, sites=(site,), target=words)
    state = cross.show(level="head", layer=0, head=1, query=1).state
    made = figure(cross, state, 3.4)
    parts = {axes.get_label(): axes for axes in made.axes[0].child_axes}
    (bars,) = parts["weights on the sound"].patches
    np.testing.assert_allclose(bars.get_data().values, site.weights(1)[1, :HEARD].numpy(), atol=1e-6)
    assert not parts["sound"].patches, "no moment of it asks"


def test_other_levels_and_texts_have_no_sound() -> None:
    assert "sound" not in drawn(spoken(), "matrix")
    assert "sound" not in drawn(sounding(HEARD, SILENT))


def test_columns_and_seconds() -> None:
    weights = np.random.default_rng(5).random(1501)
    edges, largest = columns_of(weights)
    assert len(largest) == 600
    assert largest.max() == weights.max()
    assert [weights[int(np.ceil(a)) : int(np.ceil(b))].max() for a, b in pairwise(edges)] == list(largest)
    assert seconds_of(0.34) == pytest.approx([0, 0.1, 0.2, 0.3])
    assert seconds_of(30) == [0, 10, 20, 30]
