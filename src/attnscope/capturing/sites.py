"""From the records of a pass to sites: one row of the batch, or the rows that are parts of it."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from attnscope.capturing.names import Placed
from attnscope.capturing.parts import (
    MOST,
    block_bias,
    block_mask,
    block_weights,
    one_after_another,
    parts_of,
)
from attnscope.capturing.read.effective_projection import projection_of
from attnscope.capturing.read.kv_cache import AlignedKeys
from attnscope.capturing.read.output_projection import written_rows
from attnscope.capturing.read.stacks import Place
from attnscope.capturing.records import ASKED, Pass, Record, WeightsRecord
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
    found: Sequence[Found], chosen: Pass, index: int, rows: int, names: int | None
) -> tuple[list[Placed], list[str]]:
    """The sites of row `index` of `rows`, and what a reader must know of those that are made of parts."""
    totals = _totals(found, chosen, index, names)
    placed, joined, cut = [], [], []
    for record, place in found:
        parts = parts_of(record, chosen.reads, rows)
        first = index * parts if parts > 1 else index
        keys = record.weights.shape[3] if isinstance(record, WeightsRecord) else record.key_value(0)[0].shape[1]
        longest = parts * max(keys, (record.weights if isinstance(record, WeightsRecord) else record.query).shape[2])
        shown = parts if longest <= MOST and not _spreads(record) else 1
        site = site_of(record, place, range(first, first + shown), totals.get(place.tower))
        if parts > 1:
            (joined if shown > 1 else cut).append(site.name)
        placed.append(Placed(site, place, parts, shown))
    apart = "are windows, frames, crops or the like: parts of one input, side by side in the batch, that do not see each other"
    notes = []
    if joined:
        notes.append(f"The rows of {several(joined)} {apart}. They are laid out one after another.")
    if cut:
        notes.append(f"The rows of {several(cut)} {apart}. There are too many to lay out, so part 0 is shown alone.")
    return placed, notes


def _spreads(record: Record | WeightsRecord) -> bool:
    """Whether a query without any key spreads over all keys, those of other parts among them if they were joined."""
    return isinstance(record, Record) and any(rule.uniform_empty_rows for rule, _ in record.rules.pairs)


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
    if len(rows) > 1:
        return _site_of_parts(record, place, rows)
    index = rows.start
    at = _at(record, place)
    if isinstance(record, WeightsRecord):
        note = f"{PIECES}; no q and k give them" if record.implementation == ASKED else NO_VECTORS
        return WeightsSite(given=_row(record.weights, index), note=note, **at)
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
        count = aligned.k.shape[1] - q.shape[1]
        note = note or f"the model puts {count} more key{'s' if count > 1 else ''} behind those of the tokens"
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
        **({"no_projection": CHANGED} if record.z_was_changed() else _projection(record, z, rows)),
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


def _at(record: Record | WeightsRecord, place: Place) -> dict[str, Any]:
    kind = "cross" if record.cross else "self"
    return {"path": record.path, "call": record.call, "kind": kind, "stack": place.stack, "layer": place.layer}


def _site_of_parts(record: Record | WeightsRecord, place: Place, rows: range) -> Site:
    at = _at(record, place)
    if isinstance(record, WeightsRecord):
        return WeightsSite(given=block_weights(record.weights[rows.start : rows.stop]), note=NO_VECTORS, **at)
    q = one_after_another(record.query, rows)
    each = [record.key_value(index) for index in rows]
    rules = [record.rules.row(index) for index in rows]
    queries, keys = record.query.shape[2], each[0][0].shape[1]
    z = z_rows = None
    if record.z is not None:
        z = one_after_another(record.z.transpose(1, 2), rows)
        z_rows = torch.cat([record.z_rows + number * queries for number in range(len(rows))])
    return Site(
        q=q,
        k=torch.cat([k for k, _ in each], dim=1),
        v=torch.cat([v for _, v in each], dim=1),
        scaling=record.scaling,
        softcap=record.softcap,
        mask=block_mask([rule for rule, _ in rules], queries, keys),
        position_bias=block_bias([bias for _, bias in rules], queries, keys),
        sinks=record.sinks,
        z=z,
        z_rows=z_rows,
        **_projection(record, None if record.z is None else _row(record.z, rows.start).transpose(0, 1), rows),
        dtype=None if record.coarsest == q.dtype else record.coarsest,
        note=record.note,
        offset=0,
        **at,
    )


def _projection(record: Record, z: Tensor | None, rows: range) -> dict[str, Any]:
    """W_O as far as it may be claimed, and what the output projection returned for a few queries of these rows. `z`: of the
    first row, [H, R, Dv]."""
    took = record.took
    if took is None:
        return {}
    written = None if took.written is None or z is None else [_row(took.written, index) for index in rows]
    queries = record.query.shape[2]
    chosen = written_rows(queries)

    def sample() -> tuple[Tensor, Tensor] | None:
        """z and what was written, of the queries for which both are kept."""
        if z is None or written is None:
            return None
        both = torch.isin(chosen, record.z_rows).to(written[0].device)
        return z[:, torch.isin(record.z_rows, chosen).to(z.device)], written[0][both]

    projection, reason = projection_of(took, sample)
    if projection is None:
        return {"no_projection": reason}
    if written is None:
        return {"projection": projection}
    places = [chosen + number * queries for number in range(len(rows))]
    return {"projection": projection, "written": torch.cat(written), "written_rows": torch.cat(places)}


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
