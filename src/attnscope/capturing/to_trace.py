"""From the records of one forward pass to the sites and tokens of a Trace."""

import re
from collections.abc import Sequence, Set
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from attnscope.capturing.notes import NO_VECTORS, broken_numbers, function_mode_notes, without_projection
from attnscope.capturing.read.effective_projection import projection_of
from attnscope.capturing.read.kv_cache import AlignedKeys
from attnscope.capturing.read.output_projection import written_rows
from attnscope.capturing.read.stacks import stack_names
from attnscope.capturing.records import Pass, Record, WeightsRecord
from attnscope.errors import CaptureError, InputError
from attnscope.tracing.site import Site
from attnscope.tracing.tokens import Tokens, tokens_of
from attnscope.tracing.trace import ModelInfo, Trace
from attnscope.tracing.weights_site import WeightsSite

Place = tuple[str | None, int]  # stack and layer
Placed = tuple[Record | WeightsRecord, Place]


def places_of(chosen: Pass, model: nn.Module) -> dict[int, Place]:
    """(stack, layer) of every call of the pass that is complete."""
    seen = len(chosen.order) + sum(len(sizes) for sizes, _ in chosen.softmaxes.values())
    if chosen.places[0] != seen:
        chosen.places = seen, _places_of(chosen, model)
    return chosen.places[1]


def _places_of(chosen: Pass, model: nn.Module) -> dict[int, Place]:
    config = getattr(model, "config", None)
    partial = chosen.partial
    order = {place: call for place, call in enumerate(chosen.order) if place not in partial}
    both = getattr(config, "is_encoder_decoder", None)
    if both is None:  # nn.Transformer
        both = any(cross for _, cross in order.values()) and any(
            re.search(r"(^|\.)encoder(\.|$)", path) for path, _ in order.values()
        )
    names = stack_names([*order.values()], bool(both), pooled=not both and chosen.pooled)
    return dict(zip(order, names, strict=True))


def wanted_of(
    chosen: Pass, model: nn.Module, layers: frozenset[int] | None, sites: Sequence[str] | None
) -> list[Placed]:
    """The records of a pass with stack and layer; none where it has no complete call. Raises InputError where layers=
    or sites= name nothing in it.
    """
    if not (places := places_of(chosen, model)):
        return []
    found = [(record, places[record.place]) for record in chosen.records if record.place in places]
    if layers is not None:
        found = [(record, place) for record, place in found if place[1] in layers]
        there = {layer for _, layer in places.values()}
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
    found: Sequence[Placed],
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
    sites = [
        site_of(record, place, index, _count(target if target is not None and place[0] == "decoder" else named))
        for record, place in found
    ]
    named, target = name_positions(sites, named, target)
    records = [record for record, _ in found]
    config = getattr(model, "config", None)
    info = ModelInfo(
        name=name or getattr(config, "_name_or_path", "") or "",
        class_name=type(model).__name__,
        type=getattr(config, "model_type", ""),
        dtype=str(records[0].dtype).removeprefix("torch."),
        implementation=", ".join(sorted({record.implementation for record in records})),
        revision=getattr(config, "_commit_hash", None),
    )
    notes = (*notes, *function_mode_notes(chosen, sites), *broken_numbers(sites), *without_projection(sites))
    return checked(Trace(tuple(sites), named, target, info, notes, tuple(unrecorded), inputs), records)


def unrecorded_of(chosen: Pass, ran: Set[str], recorded: Set[str]) -> list[str]:
    """Attention-like modules that ran in this pass without a record of it, nor one inside or around them; and those that no
    pass recorded. `ran`, `recorded`: in any pass."""
    partial = chosen.partial
    here = {path for place, (path, _) in enumerate(chosen.order) if place not in partial}
    missing = _without_record(chosen.ran, here) + _without_record(ran - chosen.ran, here | recorded)
    return sorted(missing)


def _without_record(ran: Set[str], recorded: Set[str]) -> list[str]:
    if ran <= recorded:
        return []
    around = {part for path in recorded for part in _and_around(path)}
    return [path for path in ran if path not in around and recorded.isdisjoint(_and_around(path))]


def _and_around(path: str) -> list[str]:
    """A module's path, and those of the modules that it is a part of."""
    names = path.split(".")
    return [".".join(names[:count]) for count in range(1, len(names) + 1)]


def _count(tokens: Tokens | None) -> int | None:
    return None if tokens is None else len(tokens)


def site_of(record: Record | WeightsRecord, place: Place, index: int, names: int | None) -> Site:
    """Row `index` of the batch as a site. `names`: how many positions there are names for, None where there are
    none.
    """
    stack, layer = place
    kind = "cross" if record.cross else "self"
    if isinstance(record, WeightsRecord):
        given = _row(record.weights, index)
        return WeightsSite(
            given=given, path=record.path, call=record.call, kind=kind, stack=stack, layer=layer, note=NO_VECTORS
        )
    k, v = record.key_value(index)
    aligned = AlignedKeys(k, v, *record.rules.row(index))
    q = _row(record.query, index)
    note = record.note
    if not record.cross:
        aligned = aligned.without_empty_places(q.shape[1])
        missing = (names or 0) - aligned.k.shape[1]
        if missing > 0 and record.window is not None and aligned.k.shape[1] >= record.window:
            aligned = aligned.with_dropped_keys(q.shape[1], aligned.k.shape[1] + missing)
            note = (
                f"the cache of this layer has dropped the first {missing} keys, outside its window: they are zeros here, "
                "and masked"
            )
    pre_q, pre_k = record.pre_rotary or (None, None)
    z = None if record.z is None else _row(record.z, index).transpose(0, 1)
    return Site(
        q=q,
        k=aligned.k,
        v=aligned.v,
        scaling=record.scaling,
        path=record.path,
        call=record.call,
        kind=kind,
        stack=stack,
        layer=layer,
        softcap=record.softcap,
        mask=aligned.mask,
        position_bias=aligned.bias,
        sinks=record.sinks,
        z=z,
        z_rows=None if z is None else record.z_rows,
        **_projection(record, z, index),
        x=_row(record.x, index) if record.x is not None and record.x.ndim == 3 else None,
        x_keys=None
        if record.x_keys is None or record.x_keys.shape[1] != aligned.k.shape[1]
        else _row(record.x_keys, index),
        pre_rotary_q=None if pre_q is None else _row(pre_q, index).detach(),
        pre_rotary_k=None if pre_k is None else _row(pre_k, index).detach(),
        **_origins(record, index),
        dtype=None if record.coarsest == q.dtype else record.coarsest,
        note=note,
    )


def _projection(record: Record, z: Tensor | None, index: int) -> dict[str, Any]:
    """W_O as far as it may be claimed, and what the output projection returned for a few rows."""
    took = record.took
    if took is None:
        return {}
    written = None if took.written is None or z is None else _row(took.written, index)
    rows = None if written is None else written_rows(record.query.shape[2])

    def sample() -> tuple[Tensor, Tensor] | None:
        """z and what was written, of the rows for which both are kept."""
        if z is None or written is None or rows is None:
            return None
        both = torch.isin(rows, record.z_rows)
        return z[:, torch.isin(record.z_rows, rows).to(z.device)], written[both.to(written.device)]

    projection, reason = projection_of(took, sample)
    if projection is None:
        return {"no_projection": reason}
    return {"projection": projection, "written": written, "written_rows": rows}


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


def given_names(tokenizer: Any, input_ids: Any, tokens: Any, index: int) -> Tokens | None:
    """What the caller calls the positions, or None."""
    if tokens is not None:
        return tokens if isinstance(tokens, Tokens) else Tokens(tuple(map(str, tokens)))
    if input_ids is None:
        return None
    ids = torch.as_tensor(input_ids)
    if ids.ndim == 2 and not -len(ids) <= index < len(ids):
        raise InputError(
            f"input_ids have {len(ids)} rows, and you ask for row {index}: give the ids of the whole batch."
        )
    return tokens_of(tokenizer, (ids[index] if ids.ndim == 2 else ids).tolist())


def name_positions(sites: Sequence[Site], named: Tokens | None, target: Tokens | None) -> tuple[Tokens, Tokens | None]:
    """Names for what the model read and, where there is a decoder beside it, for what that read; numbers without any.

    Raises InputError where the names given do not fit the sites.
    """
    read, decoder = _length(sites, "read"), _length(sites, "decoder")
    if target is None and read is not None and decoder is not None:
        target = _numbers(decoder)
    elif target is not None:
        _check_length(target, decoder)
    named = named if named is not None else _numbers(read if read is not None else decoder or 0)
    if any(site.query_offset for site in sites) and len(named) == (read or 0) + 1:
        named = named.select(range(len(named) - 1))  # generate() returns one token more than the model has read
    _check_length(named, read if read is not None else decoder)
    return named, target


def _length(sites: Sequence[Site], what: str) -> int | None:
    """Positions of what was read (keys of the encoder, of cross-attention, of a model without a decoder beside it), or
    of the decoder; the longest, where caches have dropped some."""
    lengths = [
        site.queries if site.stack == "cross" and what == "decoder" else site.keys
        for site in sites
        if site.stack == "cross" or (site.stack == "decoder") == (what == "decoder")
    ]
    return max(lengths, default=None)


def _numbers(length: int) -> Tokens:
    return Tokens(tuple(map(str, range(length))))


def _check_length(named: Tokens, length: int | None) -> None:
    if length is not None and len(named) != length:
        raise InputError(
            f"{len(named)} tokens were given, but this pass attends over {length} positions. With a cache, give the ids "
            "of the whole text so far; for another pass, say which with forward=."
        )


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
