"""From the records of one forward pass to the sites and tokens of a Trace."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from attnscope.capturing.names import Placed, name_sites
from attnscope.capturing.read.kv_cache import AlignedKeys
from attnscope.capturing.read.parts import (
    MOST,
    block_bias,
    block_mask,
    block_weights,
    one_after_another,
    parts_of,
    rows_of,
)
from attnscope.capturing.read.stacks import Call, Place, stack_places
from attnscope.capturing.records import Pass, Record, WeightsRecord
from attnscope.errors import CaptureError, InputError
from attnscope.tracing.site import Site
from attnscope.tracing.tokens import Tokens
from attnscope.tracing.trace import ModelInfo, Trace
from attnscope.tracing.weights_site import WeightsSite

NO_VECTORS = (
    "this module computes its softmax by itself, in a way that could not be followed back to q and k, so only its weights "
    "could be seen"
)
FUNCTION_MODE_NOTE = (
    "Attention outside transformers' interface was read from torch's own functions. Torch leaves out its fused paths "
    "meanwhile, so the model's outputs agree with those of a plain pass to 4 ulp, and may not be equal to the bit."
)

Found = tuple[Record | WeightsRecord, Place]


def places_of(chosen: Pass, model: nn.Module) -> dict[int, Place]:
    """(stack, layer) of every call of the pass that is complete."""
    seen = len(chosen.order) + sum(len(sizes) for sizes, _ in chosen.softmaxes.values())
    if chosen.places[0] != seen:
        chosen.places = seen, _places_of(chosen, model)
    return chosen.places[1]


def _places_of(chosen: Pass, model: nn.Module) -> dict[int, Place]:
    config = getattr(model, "config", None)
    partial = chosen.partial
    number: Counter[str] = Counter()
    order: dict[int, Call] = {}
    paths = _registered(chosen, model)
    for place, (path, cross) in enumerate(chosen.order):
        if path in paths:
            call = Call(paths[path][number[path]], cross, 0)
        else:
            call = Call(path, cross, number[path])
        if place not in partial:
            order[place] = call
        number[path] += 1
    layers = getattr(config, "num_hidden_layers", None)
    names = stack_places(
        [*order.values()],
        bool(getattr(config, "is_encoder_decoder", False)),
        layers if isinstance(layers, int) else None,
        bool(getattr(config, "is_decoder", False)),
    )
    return dict(zip(order, names, strict=True))


def _registered(chosen: Pass, model: nn.Module) -> dict[str, list[str]]:
    """Of modules that stand at several places of the model, and ran as often: these places, by the first of them."""
    several = {path for path, count in chosen.calls.items() if count > 1}
    if not several:
        return {}
    places: dict[int, list[str]] = defaultdict(list)
    for path, module in model.named_modules(remove_duplicate=False):
        places[id(module)].append(path)
    return {
        paths[0]: paths for paths in places.values() if paths[0] in several and len(paths) == chosen.calls[paths[0]]
    }


def wanted_of(
    chosen: Pass, model: nn.Module, layers: frozenset[int] | None, sites: Sequence[str] | None
) -> list[Found]:
    """The records of a pass with stack and layer; none where it has no complete call. Raises InputError where layers=
    or sites= name nothing in it.
    """
    if not (places := places_of(chosen, model)):
        return []
    found = [(record, places[record.place]) for record in chosen.records if record.place in places]
    if layers is not None:
        found = [(record, place) for record, place in found if place.layer in layers]
        there = {place.layer for place in places.values()}
        if missing := layers - there:
            raise InputError(
                f"layers={sorted(layers)}: there is no layer {', '.join(map(str, sorted(missing)))}; this model has "
                f"attention in layers {', '.join(map(str, sorted(there)))}."
            )
    if not found:
        paths = ", ".join(dict.fromkeys(path for path, _ in chosen.order))
        raise InputError(f"sites={list(sites or ())} names none of the attention modules of this pass: {paths}.")
    return found


def trace_of(
    chosen: Pass,
    found: Sequence[Found],
    model: nn.Module,
    index: int,
    named: Tokens | None,
    target: Tokens | None,
    *,
    name: str,
    notes: Sequence[str],
    unrecorded: Sequence[str],
    inputs: Any,
) -> Trace:
    """Row `index` of the batch as a trace."""
    records = [record for record, _ in found]
    rows = rows_of(chosen.reads, records)
    placed, more = placed_sites(found, chosen, index, rows, len(named) if named is not None else None)
    sites, named, target = name_sites(placed, model, chosen.reads, named, target)
    config = getattr(model, "config", None)
    info = ModelInfo(
        name=name or getattr(config, "_name_or_path", "") or "",
        class_name=type(model).__name__,
        type=getattr(config, "model_type", ""),
        dtype=str(records[0].dtype).removeprefix("torch."),
        implementation=", ".join(sorted({record.implementation for record in records})),
        revision=getattr(config, "_commit_hash", None),
    )
    notes = (*notes, *more, *function_mode_notes(chosen, sites), *broken_numbers(sites))
    return checked(Trace(tuple(sites), named, target, info, notes, tuple(unrecorded), inputs), records)


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
        notes.append(f"The rows of {_several(joined)} {apart}. They are laid out one after another.")
    if cut:
        notes.append(f"The rows of {_several(cut)} {apart}. There are too many to lay out, so part 0 is shown alone.")
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


def unrecorded_of(chosen: Pass, ran: Sequence[str]) -> list[str]:
    """Attention-like modules that ran without a record, nor one inside or around them."""
    partial = chosen.partial
    recorded = {path for place, (path, _) in enumerate(chosen.order) if place not in partial}
    around = {part for path in recorded for part in _and_around(path)}
    return sorted(path for path in ran if path not in around and recorded.isdisjoint(_and_around(path)))


def _and_around(path: str) -> list[str]:
    """A module's path, and those of the modules that it is a part of."""
    names = path.split(".")
    return [".".join(names[:count]) for count in range(1, len(names) + 1)]


def site_of(record: Record | WeightsRecord, place: Place, rows: range, total: int | None) -> Site:
    """Some rows of the batch as a site: one, or those that are parts of one (windows, frames), after one another.

    `total`: how many tokens its tower has read so far, None where that is not known.
    """
    if len(rows) > 1:
        return _site_of_parts(record, place, rows)
    index = rows.start
    at = _at(record, place)
    if isinstance(record, WeightsRecord):
        return WeightsSite(given=_row(record.weights, index), note=NO_VECTORS, **at)
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
    pre_q, pre_k = record.pre_rotary or (None, None)
    return Site(
        q=q,
        k=aligned.k,
        v=aligned.v,
        scaling=record.scaling,
        softcap=record.softcap,
        mask=aligned.mask,
        position_bias=aligned.bias,
        sinks=record.sinks,
        z=None if record.z is None else _row(record.z, index).transpose(0, 1),
        z_rows=None if record.z is None else record.z_rows,
        projection=record.projection,
        x=_row(record.x, index) if record.x is not None and record.x.ndim == 3 else None,
        x_keys=None
        if record.x_keys is None or record.x_keys.shape[1] != aligned.k.shape[1]
        else _row(record.x_keys, index),
        pre_rotary_q=None if pre_q is None else _row(pre_q, index).detach(),
        pre_rotary_k=None if pre_k is None else _row(pre_k, index).detach(),
        **_origins(record, index),
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
        projection=record.projection,
        note=record.note,
        offset=0,
        **at,
    )


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


def checked(trace: Trace, records: Sequence[Record | WeightsRecord]) -> Trace:
    """Refuse, by name, tensor arguments that attnscope does not know, unless the output shows they change nothing."""
    unknown = {record.path: record.unknown for record in records if record.unknown}
    sites = []
    for site in trace.sites:
        if site.path in unknown:
            names = ", ".join(unknown[site.path])
            if site.verify().status != "exact":
                raise CaptureError(
                    f"{site.path} passes attention a tensor argument that attnscope does not know ({names}), and without it "
                    "the model's own output cannot be reproduced. Its weights would be wrong, so they are not shown."
                )
            site = replace(site, note=f"called with the unknown argument {names}, which changes nothing here")
        sites.append(site)
    return trace.replace_sites(sites) if unknown else trace


def broken_numbers(sites: Sequence[Site]) -> list[str]:
    """A note for the reader where q, k or v hold NaN or infinite values: the layers, named."""
    # One look at the sums is many times cheaper than one at each value; a sum may overflow, and then each site is read.
    sums = [x.sum(dtype=torch.float32) for site in sites for x in site.kept.values()]
    if bool(torch.stack([one.to(sums[0].device) for one in sums]).isfinite().all()):
        return []
    broken = [site.name for site in sites if not all(bool(x.isfinite().all()) for x in site.kept.values())]
    if not broken:
        return []
    names = _several(broken)
    where = "the weights" if all(site.weights_only for site in sites) else "q, k or v"
    return [f"The model computes NaN or infinite values: they are in {where} of {names}, and are shown as they are."]


def function_mode_notes(chosen: Pass, sites: Sequence[Site]) -> list[str]:
    """What a reader must know of a pass in which torch's own functions were watched."""
    if not chosen.watched:
        return []
    notes = [FUNCTION_MODE_NOTE]
    only = [site.name for site in sites if site.weights_only]
    if only:
        notes.append(f"Weights only ({_several(only)}): {NO_VECTORS}.")
    return notes


def _several(names: Sequence[str]) -> str:
    """The first eight, and how many more."""
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
