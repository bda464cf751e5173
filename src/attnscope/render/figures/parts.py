"""What several levels say and measure alike."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from attnscope.render.figures.scene import Scene
from attnscope.render.figures.slots import Axis
from attnscope.text.format import listed, percent_in_words
from attnscope.views.sentences.notes import note


def largest(values: Tensor) -> float:
    """A size that one outlier does not flatten: 98 % of the magnitudes lie below."""
    sizes = values[torch.isfinite(values)].abs().flatten().float()
    if not len(sizes):
        return 0.0
    found = float(sizes.sort().values[int(0.98 * (len(sizes) - 1) + 0.999999)])
    return found or float(sizes.max())


def hidden_notes(scene: Scene, weights: Tensor, axis: Axis) -> list[str]:
    """Where the weight of a row [K] goes that is not drawn: special tokens by name, the other sentence, the sink."""
    notes = []
    if axis.hidden:
        masses = sorted(((float(weights[k]), k) for k in axis.hidden), reverse=True)
        named = [
            note("hidden_token", part=percent_in_words(w), whose="this row", token=scene.key_names[k])
            for w, k in masses
            if w >= 0.005
        ]
        total = percent_in_words(float(weights[list(axis.hidden)].sum()))
        little = note("hidden_little", part=total, whose="this row")
        notes.append(note("hidden", tokens=listed(named[:3])) if named else little)
    if scene.state.filter != "all":
        outside = float(weights[list(axis.outside)].sum()) if axis.outside else 0.0
        notes.append(note("outside", part=percent_in_words(outside), whose="this row"))
    if scene.site.sinks is not None:
        notes.append(note("sink", part=percent_in_words(max(0.0, 1 - float(weights.sum())))))
    return notes


def shape_notes(scene: Scene, axes: Sequence[Axis]) -> list[str]:
    """What was put together, and where the queries begin."""
    notes = []
    if any(axis.merged for axis in axes):
        notes.append(note("words"))
    if scene.state.average != "none":
        notes.append(f"Mean over {len(scene.members(scene.state.head))} heads.")
    if scene.site.query_offset:
        notes.append(note("offset", token=scene.site.query_offset))
    return notes


def legend_end(end: float) -> str:
    """The end of a scale of weights, in percent."""
    return f"{100 * end:g} %"


def quoted(names: Sequence[Any]) -> str:
    return ", ".join(f"“{name}”" for name in names)
