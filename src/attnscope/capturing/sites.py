"""From the records of a pass to sites: one row of the batch, or the rows that are parts of it."""

import itertools
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from attnscope.capturing.names import Placed
from attnscope.capturing.parts import (
    block_bias,
    block_mask,
    block_weights,
    chunks_of,
    parts_of,
    shown_parts,
)
from attnscope.capturing.read.effective_projection import projection_of
from attnscope.capturing.read.kv_cache import AlignedKeys
from attnscope.capturing.read.output_projection import written_rows
from attnscope.capturing.read.stacks import Place
from attnscope.capturing.records import ASKED, Pass, Record, WeightsRecord
from attnscope.errors import InputError
from attnscope.tracing.site import Site
from attnscope.tracing.weights_site import WeightsSite

NO_VECTORS = (
    "this module computes its softmax by itself, in a way that could not be followed back to q and k, so only its weights "
    "could be seen"
)

PIECES = (
    "this module attends in pieces, or where nothing sees it: it was run again with values that mark their places, and that "
    "showed its weights"
)
CHANGED = (
    "this module adds something more to its output z after weights · v (relative positions of the values, a convolution): z "
    "here is what the weights and v give"
)

Found = tuple[Record | WeightsRecord, Place]


def placed_sites(
    found: Sequence[Found], chosen: Pass, index: int, rows: int, names: int | None, part: int = 0
) -> tuple[list[Placed], list[str]]:
    """The sites of row `index` of `rows`, and what a reader must know of those that are made of parts. `part`: the first of
    them that is shown, where there are too many to lay out. Raises InputError where there are not so many."""
    totals = _totals(found, chosen, index, names)
    placed, chunked = [], []
    chunks = {id(one): each for each in chunks_of(chosen) for one in each}
    for record, place in found:
        if id(record) in chunks:
            if record is (calls := chunks[id(record)])[0]:
                placed.append(Placed(_site_of_parts([(one, index) for one in calls], place), place))
                chunked.append(placed[-1].site.name)
            continue
        parts = parts_of(record, chosen.reads, rows)
        first = index * parts if parts > 1 else index
        shown = shown_parts(record, parts, part)
        site = site_of(record, place, range(first + shown.start, first + shown.stop), totals.get(place.tower))
        placed.append(Placed(site, place, parts, shown))
    most = max((one.parts for one in placed), default=1)
    if part >= most:
        least = (
            f"the parts are numbered from 0 to {most - 1}"
            if most > 1
            else "this model attends over its input as a whole"
        )
        raise InputError(f"part is {part}; {least}. Leave it out to begin at the first.")
    return placed, [*_notes(placed), *_chunk_note(chunked)]


def _notes(placed: Sequence[Placed]) -> list[str]:
    """Which parts of which sites are shown."""
    apart = "are windows, frames, crops or the like: parts of one input, side by side in the batch, that do not see each other"
    joined = [one.site.name for one in placed if one.parts > 1 and len(one.shown) == one.parts]
    notes = [f"The rows of {several(joined)} {apart}. They are laid out one after another."] if joined else []
    cut: dict[tuple[range, int], list[str]] = {}
    for one in placed:
        if len(one.shown) < one.parts:
            cut.setdefault((one.shown, one.parts), []).append(one.site.name)
    for (shown, parts), sites in cut.items():
        few = f"part {shown.start}" if len(shown) == 1 else f"parts {shown.start} to {shown.stop - 1}"
        notes.append(
            f"The rows of {several(sites)} {apart}. There are {parts}, too many to lay out: {few} of 0 to {parts - 1} "
            "are shown; part= of attnscope.trace or recorder.trace begins at another."
        )
    return notes


def _chunk_note(chunked: Sequence[str]) -> list[str]:
    if not chunked:
        return []
    return [
        (
            f"The model called {several(chunked)} once for each chunk of the text, and the chunks do not see each other. They are laid "
            "out one after another."
        )
    ]


def _totals(found: Sequence[Found], chosen: Pass, index: int, names: int | None) -> dict[str | None, int | None]:
    """How many tokens each tower has read by the end of this pass, those among them that a cache has dropped."""
    totals: dict[str | None, int | None] = {}
    for record, place in found:
        if not isinstance(record, Record) or record.cross:
            continue
        past = chosen.reads.past
        total = names if past is None else past + record.query.shape[2]
        if record.window is None and past is None:
            total = record.key_value(index)[0].shape[1]
        totals[place.tower] = max(total or 0, totals.get(place.tower) or 0)
    return totals


def site_of(record: Record | WeightsRecord, place: Place, rows: range, total: int | None) -> Site:
    """Some rows of the batch as a site: one, or those that are parts of one (windows, frames), after one another.

    `total`: how many tokens its tower has read so far, None where that is not known.
    """
    index = rows.start
    if len(rows) > 1:
        if isinstance(record, Record):
            return _site_of_parts([(record, row) for row in rows], place)
        return WeightsSite(
            given=block_weights(record.weights[rows.start : rows.stop]), note=NO_VECTORS, **_at(record, place)
        )
    at = _at(record, place)
    if isinstance(record, WeightsRecord):
        note = f"{PIECES}; no q and k give them" if record.implementation == ASKED else NO_VECTORS
        weights = _row(record.weights, index)
        if record.offset == 0:
            note = f"{note}; {_more_keys(weights.shape[2] - weights.shape[1])}"
        return WeightsSite(given=weights, note=note, offset=record.offset, **at)
    k, v = record.key_value(index)
    aligned = AlignedKeys(k, v, *record.rules.row(index))
    q = _row(record.query, index)
    note = record.note
    if not record.cross and record.offset is None:
        aligned = aligned.without_empty_places(q.shape[1])
        missing = (total or 0) - aligned.k.shape[1]
        if missing > 0 and record.window is not None and aligned.k.shape[1] >= record.window:
            aligned = aligned.with_dropped_keys(q.shape[1], aligned.k.shape[1] + missing)
            note = (
                f"the cache of this layer has dropped the first {missing} keys, outside its window: they are zeros here, "
                "and masked"
            )
    if record.offset == 0:
        note = note or _more_keys(aligned.k.shape[1] - q.shape[1])
    if record.implementation == ASKED:
        note = note or PIECES
    if record.z_was_changed():
        note = note or CHANGED
    pre_q, pre_k = record.pre_rotary or (None, None)
    z = None if record.z is None else _row(record.z, index).transpose(0, 1)
    return Site(
        q=q,
        k=aligned.k,
        v=aligned.v,
        scaling=record.scaling,
        softcap=record.softcap,
        mask=aligned.mask,
        position_bias=aligned.bias,
        sinks=record.sinks,
        z=z,
        z_rows=None if z is None else record.z_rows,
        **({"no_projection": CHANGED} if record.z_was_changed() else _projection([(record, index)], z)),
        x=_row(record.x, index) if record.x is not None and record.x.ndim == 3 else None,
        x_keys=None
        if record.x_keys is None or record.x_keys.shape[1] != aligned.k.shape[1]
        else _row(record.x_keys, index),
        pre_rotary_q=None if pre_q is None else _row(pre_q, index).detach(),
        pre_rotary_k=None if pre_k is None else _row(pre_k, index).detach(),
        **_origins(record, index),
        dtype=None if record.coarsest == q.dtype else record.coarsest,
        note=note,
        offset=record.offset,
        **at,
    )


def _more_keys(count: int) -> str:
    return f"the model puts {count} more key{'s' if count > 1 else ''} behind those of the tokens"


def _at(record: Record | WeightsRecord, place: Place) -> dict[str, Any]:
    kind = "cross" if record.cross else "self"
    return {"path": record.path, "call": record.call, "kind": kind, "stack": place.stack, "layer": place.layer}


def _site_of_parts(parts: Sequence[tuple[Record, int]], place: Place) -> Site:
    """Rows of calls, one after another, each of which sees itself alone."""
    record, index = parts[0]
    at = _at(record, place)
    each = [one.key_value(row) for one, row in parts]
    rules = [one.rules.row(row) for one, row in parts]
    q = torch.cat([_row(one.query, row) for one, row in parts], dim=1)
    sizes = [(one.query.shape[2], k.shape[1]) for (one, _), (k, _) in zip(parts, each, strict=True)]
    starts = _starts(parts)
    z = z_rows = None
    if all(one.z is not None for one, _ in parts):
        z = torch.cat([_row(one.z, row).transpose(0, 1) for one, row in parts if one.z is not None], dim=1)
        z_rows = torch.cat([one.z_rows + start for (one, _), start in zip(parts, starts, strict=True)])
    return Site(
        q=q,
        k=torch.cat([k for k, _ in each], dim=1),
        v=torch.cat([v for _, v in each], dim=1),
        scaling=record.scaling,
        softcap=record.softcap,
        mask=block_mask([rule for rule, _ in rules], sizes),
        position_bias=block_bias([bias for _, bias in rules], sizes),
        sinks=record.sinks,
        z=z,
        z_rows=z_rows,
        **_projection(parts, None if record.z is None else _row(record.z, index).transpose(0, 1)),
        dtype=None if record.coarsest == q.dtype else record.coarsest,
        note=record.note,
        offset=0,
        **at,
    )


def _starts(parts: Sequence[tuple[Record, int]]) -> list[int]:
    """The position of the first query of each part."""
    return [0, *itertools.accumulate(one.query.shape[2] for one, _ in parts)][:-1]


def _projection(parts: Sequence[tuple[Record, int]], z: Tensor | None) -> dict[str, Any]:
    """W_O as far as it may be claimed, and what the output projection returned for a few queries of these rows. `z`: of the
    first row, [H, R, Dv]."""
    record = parts[0][0]
    took = record.took
    if took is None:
        return {}
    written = [
        _row(one.took.written, row) for one, row in parts if one.took is not None and one.took.written is not None
    ]

    def sample() -> tuple[Tensor, Tensor] | None:
        """z and what was written, of the queries for which both are kept."""
        if z is None or not written:
            return None
        chosen = written_rows(record.query.shape[2])
        both = torch.isin(chosen, record.z_rows).to(written[0].device)
        return z[:, torch.isin(record.z_rows, chosen).to(z.device)], written[0][both]

    projection, reason = projection_of(took, sample)
    if projection is not None and z is not None:
        width = projection.parameter.shape[1 if projection.transposed else 0]
        if width != z.shape[0] * z.shape[2]:  # attention over channels, say: what takes z mixes other axes
            projection, reason = None, "the layer that takes z next does not take the heads' outputs side by side"
    if projection is None:
        return {"no_projection": reason}
    if z is None or len(written) < len(parts):
        return {"projection": projection}
    places = [written_rows(one.query.shape[2]) for one, _ in parts]
    if len(parts) > 1:
        places = [rows + start for rows, start in zip(places, _starts(parts), strict=True)]
        return {"projection": projection, "written": torch.cat(written), "written_rows": torch.cat(places)}
    return {"projection": projection, "written": written[0], "written_rows": places[0]}


def _origins(record: Record, index: int) -> dict[str, Any]:
    """W_q, W_k and W_v, as far as they were found, and what went into the norms between them and q, k."""
    found: dict[str, Any] = {f"w_{name}": origin.projection for name, origin in record.origins.items()}
    for name, origin in record.origins.items():
        if origin.before is not None and name != "v":
            found[f"pre_norm_{name}"] = _row(origin.before, index)
    return found


def _row(tensor: Float[Tensor, "B *rest"], index: int) -> Float[Tensor, "*rest"]:
    """Row `index`; of a tensor that all rows share, its only one."""
    return tensor.select(0, index % tensor.shape[0])


def several(names: Sequence[str]) -> str:
    """The first eight, and how many more."""
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
