"""What several levels write and measure in the same way."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from attnscope.render.figures.scene import Scene
from attnscope.render.figures.slots import Axis
from attnscope.text.format import listed, percent_in_words
from attnscope.views.sentences.notes import note

NAMED = 0.005  # a hidden token with less weight is not named


def largest(values: Tensor) -> float:
    """A size that one outlier does not change: 98 % of the magnitudes are smaller."""
    sizes = values[torch.isfinite(values)].abs().flatten().float()
    if not len(sizes):
        return 0.0
    found = float(sizes.sort().values[int(0.98 * (len(sizes) - 1) + 0.999999)])
    return found or float(sizes.max())


def hidden_notes(scene: Scene, weights: Tensor, axis: Axis) -> list[str]:
    """Where the weight of a row [K] goes that is not drawn."""
    masses = [(float(weights[k]), scene.key_names[k]) for k in axis.hidden]
    outside = float(weights[list(axis.outside)].sum()) if axis.outside else 0.0
    sink = max(0.0, 1 - float(weights.sum())) if scene.site.sinks is not None else None
    return left_out(scene, masses, outside, sink)


def left_out(scene: Scene, hidden: Sequence[tuple[float, str]], outside: float, sink: float | None) -> list[str]:
    """Notes on the weight of a row that is not drawn: on `hidden` tokens, each with its name; `outside` the
    filter; on the `sink`, None where there is none."""
    notes = []
    if hidden:
        named = [
            note("hidden_token", part=percent_in_words(weight), whose="this row", token=name)
            for weight, name in sorted(hidden, key=lambda pair: -pair[0])
            if weight >= NAMED
        ]
        total = percent_in_words(sum(weight for weight, _ in hidden))
        little = note("hidden_little", part=total, whose="this row")
        notes.append(note("hidden", tokens=listed(named[:3])) if named else little)
    if scene.state.filter != "all":
        notes.append(note("outside", part=percent_in_words(outside), whose="this row"))
    if sink is not None:
        notes.append(note("sink", part=percent_in_words(sink)))
    return notes


def shape_notes(scene: Scene, axes: Sequence[Axis]) -> list[str]:
    """Notes on merged words, means over heads, and the first query."""
    notes = []
    if any(axis.merged for axis in axes):
        notes.append(note("pooled" if scene.state.pooled else "words"))
    if scene.state.average != "none":
        notes.append(note("average", heads=f"{len(scene.members(scene.state.head))} heads"))
    if scene.site.query_offset:
        notes.append(note("offset", token=scene.site.query_offset))
    return notes


def legend_end(end: float) -> str:
    """The end of a scale of weights, in percent; a scale that other levels do not share says so."""
    return f"{100 * end:g} %{', a scale of its own' if end < 1 else ''}"


def quoted(names: Sequence[Any]) -> str:
    return ", ".join(f"“{name}”" for name in names)
