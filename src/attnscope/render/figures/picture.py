"""What the head level draws: two axes, the weights of every head between them, and the chosen queries."""

from dataclasses import dataclass
from typing import Any

from attnscope.errors import InputError
from attnscope.render.figures.colours import DASHES, HEADS, INK
from attnscope.render.figures.field import Field, field_of
from attnscope.render.figures.parts import left_out, shape_notes
from attnscope.render.figures.scene import Scene
from attnscope.render.figures.slots import Axis
from attnscope.text.format import percent_in_words
from attnscope.views.sentences.notes import note

MOST_SLOTS, KEPT = 60, 40


@dataclass(frozen=True, eq=False)
class Picture:
    """Axes, the field of every head, and the slots of the chosen queries."""

    scene: Scene
    queries: Axis
    keys: Axis
    heads: tuple[int, ...]
    fields: tuple[Field, ...]
    chosen: tuple[int, ...]

    @property
    def pens(self) -> list[tuple[str, Any]]:
        if len(self.heads) == 1:
            return [(INK, "solid")]
        return [(HEADS[i], (0, DASHES[i % 6]) if DASHES[i % 6] else "solid") for i in range(len(self.heads))]

    @property
    def looked(self) -> list[Field]:
        """The rows of the chosen queries as one, per head."""
        return [field.row(list(self.chosen), self.scene.state.combine) for field in self.fields]


def picture_of(scene: Scene, heads: tuple[int, ...]) -> tuple[Picture, list[str]]:
    state, queries, keys = scene.state, scene.queries, scene.keys
    if not keys.slots or state.query not in queries.of:
        raise InputError(
            f"the filter {state.filter!r} leaves out {'all keys' if not keys.slots else f'query {state.query}'}: choose "
            "another query, or filter='all'."
        )
    notes: list[str] = []
    chosen = list(dict.fromkeys(queries.of[q] for q in (state.query, *state.queries) if q in queries.of))
    if len(queries.slots) > MOST_SLOTS:
        start = min(max(0, chosen[0] - KEPT // 2), len(queries.slots) - KEPT)
        wanted = sorted({*range(start, start + KEPT), *chosen})
        notes.append(f"{len(wanted)} of {len(queries.slots)} queries are drawn, those around the chosen one.")
        queries = queries.select(wanted)
        chosen = [wanted.index(slot) for slot in chosen]
    fields = [field_of(scene, head, queries, keys) for head in heads]
    looked = fields[0].row(chosen, state.combine)
    if len(keys.slots) > MOST_SLOTS:
        order = looked.values[0].nan_to_num(-1).argsort(descending=True, stable=True)[:KEPT].sort().values
        pinned = [slot for token, slot in keys.of.items() if token == state.key]
        wanted = sorted({*order.tolist(), *pinned})
        rest = float(looked.values[0].nan_to_num(0).sum() - looked.values[0, wanted].nan_to_num(0).sum())
        notes.append(
            f"{len(wanted)} of {len(keys.slots)} keys are drawn, the strongest of the chosen query in text order; the others "
            f"have {percent_in_words(rest)} of its weight."
        )
        keys = keys.select(wanted)
        fields = [field_of(scene, head, queries, keys) for head in heads]
    picture = Picture(scene, queries, keys, heads, tuple(fields), tuple(chosen))
    return picture, [*_row_notes(picture), *notes, *shape_notes(scene, (queries, keys))]


def _row_notes(picture: Picture) -> list[str]:
    """The weight of the chosen queries that no line shows."""
    scene, state, looked = picture.scene, picture.scene.state, picture.looked[0]
    notes = []
    if bool(looked.empty[0]):
        how = "empty_uniform" if scene.site.mask.uniform_empty_rows else "empty_zero"
        notes.append(note("empty", rest=note(how)))
    if state.threshold:
        field, chosen = picture.fields[0], list(picture.chosen)
        rows, parts = field.values[chosen].nan_to_num(0), field.parts[chosen].nan_to_num(0)
        below = float(rows[parts < state.threshold].sum()) / (len(rows) if state.combine == "mean" else 1)
        of = " of what is left" if picture.keys.hidden else ""
        part = percent_in_words(below)
        notes.append(f"Weights below {100 * state.threshold:g} %{of} are not drawn: {part} of the chosen row.")
    sink = float(looked.sink[0])
    return [*notes, *left_out(scene, _hidden(picture), float(looked.outside[0]), sink if sink > 0 else None)]


def _hidden(picture: Picture) -> list[tuple[float, str]]:
    """The hidden tokens: the weight of the chosen queries on each, and its name."""
    if not picture.keys.hidden:
        return []
    scene = picture.scene
    alone = Axis(scene.single_slots(picture.keys.hidden))
    field = field_of(scene, picture.heads[0], picture.queries, alone)
    masses = field.row(list(picture.chosen), scene.state.combine).values[0].tolist()
    return [(mass, slot.text) for mass, slot in zip(masses, alone.slots, strict=True)]
