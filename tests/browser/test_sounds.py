"""The sound above the tokens: a moment picked by click and by keyboard, and the weights of the query below it."""

from dataclasses import replace

import pytest

from attnscope.tracing.sounds import Sound
from attnscope.tracing.tokens import Tokens
from browser_tools import saved, settled, url_state
from made_traces import made_trace

POSITIONS, FILLED = 17, 23
BARS = """() => { const canvas = document.querySelector('[data-attnscope]').shadowRoot.querySelector('[data-pane="sound-weights"] canvas');
  const {width, height} = canvas, {data} = canvas.getContext('2d').getImageData(0, 0, width, height);
  return Array.from({length: width}, (_, x) => Array.from({length: height}, (_, y) => data[4 * (y * width + x) + 3] > 0).filter(Boolean).length); }"""
SEEN = """() => { const canvas = document.querySelector('[data-attnscope]').shadowRoot.querySelector('[data-pane="sound"] canvas');
  const {width, height} = canvas, {data} = canvas.getContext('2d').getImageData(0, 0, width, height);
  return [width, height, Array.from(data).filter((_, i) => i % 4 === 3)]; }"""


def heard(**picture):
    names = [f"{0.02 * i:.2f} s" if i < POSITIONS else f"silence {0.02 * i:.2f} s" for i in range(FILLED)]
    pixels = {"kind": "spectrogram", "rows": 3, "columns": 5, "pixels": bytes(range(0, 255, 17))} | picture
    sound = Sound(POSITIONS, 0.02, **pixels)
    tokens = Tokens(tuple(names), special=tuple(i >= POSITIONS for i in range(FILLED)), sound=sound)
    return made_trace(heads=2, kv_heads=2, queries=FILLED, tokens=tokens, spread=1.5)


def moment(page, pane: str, position: int) -> None:
    box = page.locator(f'[data-pane="{pane}"]').bounding_box()
    page.mouse.click(box["x"] + box["width"] * (position + 0.5) / POSITIONS, box["y"] + box["height"] / 2)
    settled(page)


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("level", ["model", "head", "matrix", "neuron", "steps"])
def test_a_moment_is_picked_and_its_weights_are_drawn(open_view, level: str, theme: str) -> None:
    trace = heard()
    page = open_view(trace.show(level=level, layer=0, head=1, query=3, special="show", theme=theme))
    moment(page, "sound", 11)
    assert int(url_state(page)["query"]) == 11
    page.locator('[data-pane="sound"]').focus()
    page.keyboard.press("ArrowRight")
    settled(page)
    assert int(url_state(page)["query"]) == 12
    page.keyboard.press("End")
    page.keyboard.press("ArrowRight")
    settled(page)
    query = POSITIONS - 1
    assert int(url_state(page)["query"]) == query, "behind the sound is nothing to pick"
    site = trace.sites[0]
    row = site.weights(1)[query]
    most = max(float(row.max()), float(site.share(1, query).max()))
    end = next(end for end in (0.01, 0.02, 0.05, 0.1, 0.2, 1) if most <= end)
    expected = [64 * weight / end for weight in row[:POSITIONS].tolist()]
    assert page.evaluate(BARS) == pytest.approx(expected, abs=1)
    moment(page, "sound-weights", 4)
    assert int(url_state(page)["key"]) == 4
    words = page.locator("[data-heard]").inner_text()
    assert f"on the silence behind it: {100 * float(row[POSITIONS:].sum()):.1f} %" in words
    assert "0.3 s" in words
    assert f"{FILLED - POSITIONS} positions of silence" in page.locator("[data-ribbon]").inner_text()


def test_the_spectrogram_is_the_bytes_of_the_payload(open_view) -> None:
    page = open_view(heard().show(level="head", layer=0, head=1, query=3))
    width, height, alphas = page.evaluate(SEEN)
    assert (width, height) == (5, 3)
    assert alphas == pytest.approx([0.75 * octet for octet in range(0, 255, 17)], abs=1)
    assert "a moment of the sound looks" in page.locator("[data-sentence]").inner_text()


def test_a_waveform_goes_from_the_smallest_to_the_largest_sample(open_view) -> None:
    trace = heard(kind="waveform", rows=2, columns=3, pixels=bytes([255, 128, 192, 0, 128, 64]))
    page = open_view(trace.show(level="head", layer=0, head=1, query=3))
    width, _, alphas = page.evaluate(SEEN)
    columns = [sum(alpha > 0 for alpha in alphas[x::width]) for x in range(width)]
    assert columns == pytest.approx([64, 1, 33], abs=1)
    bare = replace(trace.tokens, sound=replace(trace.tokens.sound, rows=0, columns=0, pixels=b""))
    page = open_view(replace(trace, tokens=bare).show(level="head", layer=0, head=1, query=3))
    moment(page, "sound", 2)
    assert int(url_state(page)["query"]) == 2


@pytest.mark.parametrize("level", ["head", "steps"])
def test_a_saved_picture_holds_the_sound(open_view, level: str) -> None:
    trace = heard()
    root = saved(open_view(trace.show(level=level, layer=0, head=1, query=3)))
    svg = "{http://www.w3.org/2000/svg}"
    (sound,) = (group for group in root.findall(f"{svg}g") if group.find(f"{svg}image") is not None)
    row = trace.sites[0].weights(1)[3, :POSITIONS].tolist()
    bars = {int(one.get("data-moment")): one for one in sound.iter(f"{svg}rect") if one.get("data-moment")}
    found = {moment: float(one.get("data-weight")) for moment, one in bars.items()}
    assert found == pytest.approx({key: weight for key, weight in enumerate(row) if weight >= 0.0005}, abs=1e-6)
    tall = {moment: float(one.get("height")) for moment, one in bars.items()}
    assert max(tall, key=lambda moment: tall[moment]) == max(found, key=lambda moment: found[moment])
    (marked,) = (one for one in sound.iter(f"{svg}rect") if one.get("data-marked"))
    wide = float(sound.find(f"{svg}rect").get("width"))
    assert float(marked.get("x")) == pytest.approx(3 * wide / POSITIONS, abs=0.01)
    assert sound.find(f"{svg}image").get("href").startswith("data:image/png;base64,")
    assert float(root.get("height")) > float(root.find(f"{svg}svg").get("height"))
