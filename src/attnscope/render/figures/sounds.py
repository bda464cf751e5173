"""Above the levels: the sound that was heard, and below it the weight of the query on each moment."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from attnscope.render.figures.colours import GROUND, INK, MUTED, TEXT, nice_part
from attnscope.render.figures.images import LEVELS, weights_of
from attnscope.render.figures.plan import Plan
from attnscope.render.figures.scene import Scene
from attnscope.render.figures.sheet import Sheet
from attnscope.text.format import percent
from attnscope.tracing.sounds import Sound

HEARD, WEIGHTS, SECONDS, CAPTION = 0.5, 0.4, 0.14, 0.2  # inches
EDGE = 0.06
FAINT = 0.75  # of the ink: what was heard is no weight
COLUMNS = 600  # bars; of more moments, the largest weight of several
_STEPS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 60, 120, 300, 600)


@dataclass(frozen=True)
class Strip:
    """One sound. `query`: the moment that asks, None where the queries are no sound; `weighted`: whether its moments are keys."""

    sound: Sound
    query: int | None
    weighted: bool

    @property
    def height(self) -> float:
        return HEARD + (WEIGHTS if self.weighted else 0) + SECONDS + CAPTION


def with_sounds(scene: Scene, plan: Plan, width: float) -> Plan:
    """The plan, with the sounds among queries and keys above it; the plan itself where there are none."""
    strips = _strips(scene) if scene.state.level in LEVELS else []
    if not strips:
        return plan
    height = sum(one.height for one in strips) + EDGE
    weights = np.nan_to_num(weights_of(scene))
    end = nice_part(float(weights.max()))
    weighted = any(one.weighted for one in strips)
    own = ("The weights on the sound have a scale of their own.",) if weighted and end != 1 else ()

    def draw(sheet: Sheet, y: float) -> None:
        top = y
        for strip in strips:
            _draw(sheet, top, width - 2 * EDGE, strip, weights, end)
            top += strip.height
        plan.draw(sheet, y + height)

    return replace(plan, height=height + plan.height, draw=draw, notes=(*plan.notes, *own))


def _strips(scene: Scene) -> list[Strip]:
    queries, keys = scene.trace.query_tokens(scene.site), scene.trace.key_tokens(scene.site)
    if queries is keys:
        return [Strip(keys.sound, scene.state.query, True)] if keys.sound else []
    asking = [Strip(queries.sound, scene.state.query, False)] if queries.sound else []
    return asking + ([Strip(keys.sound, None, True)] if keys.sound else [])


def _draw(sheet: Sheet, y: float, width: float, strip: Strip, weights: "np.ndarray", end: float) -> None:
    sound, size = strip.sound, 6 if sheet.width < 5 else 7
    heard = sheet.axes(EDGE, y, width, HEARD, "sound")
    _heard(heard, sound)
    if strip.query is not None and strip.query < sound.positions:
        for colour, line in ((GROUND, 2.0), (TEXT, 1.0)):
            heard.axvspan(strip.query, strip.query + 1, fill=False, edgecolor=colour, linewidth=line * sheet.scale)
    heard.set(xlim=(0, sound.positions))
    y += HEARD
    caption = "query"
    if strip.weighted:
        axes = sheet.axes(EDGE, y, width, WEIGHTS, "weights on the sound")
        edges, largest = columns_of(weights[: sound.positions])
        axes.stairs(largest, edges, fill=True, color=INK, label="weights")
        axes.set(xlim=(0, sound.positions), ylim=(0, end))
        y += WEIGHTS
        asked = "query; below, " if strip.query is not None else ""
        caption = f"{asked}the weight of each moment, 0 … {100 * end:g} %"
        if len(weights) > sound.positions:
            caption += f"; on the silence behind the sound: {percent(float(weights[sound.positions :].sum()))}"
    for second in seconds_of(sound.seconds):
        x = EDGE + width * second / sound.seconds
        side = "left" if second == 0 else "right" if x > EDGE + 0.95 * width else "center"
        sheet.say(x, y + SECONDS / 2, f"{second:g} s", size - 1, color=MUTED, ha=side)
    sheet.say(EDGE, y + SECONDS + CAPTION / 2, caption, size - 0.5, color=MUTED)


def _heard(axes: Any, sound: Sound) -> None:
    """A spectrogram or a waveform in pale ink; a frame alone where the trace has no picture of it."""
    from matplotlib.colors import to_rgb

    axes.set_frame_on(True)
    for spine in axes.spines.values():
        spine.set(linewidth=0.4, color=MUTED)
    if not sound.pixels:
        return
    octets = np.frombuffer(sound.pixels, np.uint8).reshape(sound.rows, sound.columns)
    if sound.kind == "waveform":
        edges = np.linspace(0, sound.positions, sound.columns + 1)
        high, low = octets.astype(float)
        axes.stairs(high, edges, baseline=low, fill=True, color=INK, alpha=FAINT, label="waveform")
        axes.set(ylim=(0, 255))
        return
    ink = np.empty((*octets.shape, 4))
    ink[..., :3], ink[..., 3] = to_rgb(INK), FAINT * octets / 255
    axes.imshow(ink, extent=(0, sound.positions, sound.rows, 0), aspect="auto", label="spectrogram")


def columns_of(weights: "np.ndarray") -> tuple["np.ndarray", "np.ndarray"]:
    """The edges of the bars, in positions, and how long they are: of more than COLUMNS moments the largest weight of several."""
    count = min(COLUMNS, len(weights))
    column = np.arange(len(weights)) * count // len(weights)
    largest = np.zeros(count)
    np.maximum.at(largest, column, weights)
    return np.linspace(0, len(weights), count + 1), largest


def seconds_of(length: float) -> list[float]:
    """Where seconds are written along a sound of this length: at most six."""
    step = next((one for one in _STEPS if length / one < 6), length)
    return [round(i * step, 2) for i in range(int(length / step + 1e-9) + 1)]
