"""From the records of one forward pass to the sites and tokens of a Trace."""

from collections import Counter, defaultdict
from collections.abc import Sequence, Set
from dataclasses import replace
from typing import Any

from torch import nn

from attnscope.capturing.names import name_sites
from attnscope.capturing.notes import (
    broken_numbers,
    function_mode_notes,
    hook_notes,
    left_out_notes,
    without_projection,
)
from attnscope.capturing.parts import chunks_of, rows_of
from attnscope.capturing.read.stacks import Call, Place, stack_places
from attnscope.capturing.records import ASKED, Pass, Record, WeightsRecord
from attnscope.capturing.sites import Found, placed_sites
from attnscope.errors import CaptureError, InputError
from attnscope.tracing.modules import model_name
from attnscope.tracing.site import Site
from attnscope.tracing.stream import NO_STREAM, Stream
from attnscope.tracing.tokens import Tokens
from attnscope.tracing.trace import ModelInfo, Trace


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
    later = {one.place: each[0].place for each in chunks_of(chosen) for one in each[1:]}
    for place, (path, cross) in enumerate(chosen.order):
        if place in chosen.beside:
            continue
        if path in paths:
            call = Call(paths[path][number[path]], cross, 0)
        else:
            call = Call(path, cross, number[path])
        if place not in partial and place not in later:
            order[place] = call
        number[path] += 1
    layers = getattr(config, "num_hidden_layers", None)
    names = stack_places(
        [*order.values()],
        bool(getattr(config, "is_encoder_decoder", False)),
        layers if isinstance(layers, int) else None,
        bool(getattr(config, "is_decoder", False)),
    )
    places = dict(zip(order, names, strict=True))
    places |= {place: places[first] for place, first in later.items() if first in places}
    return _with_streams(places, chosen)


def _with_streams(places: dict[int, Place], chosen: Pass) -> dict[int, Place]:
    """The places with those of streams that stand beside a call, each a stack of its own."""
    if not chosen.beside:
        return places
    names = {place: one._replace(stack=one.stack or "main") for place, one in places.items()}
    for place, (main, number) in chosen.beside.items():
        if main in places:
            names[place] = places[main]._replace(stack=f"{places[main].stack or ''} stream {number}".strip())
    return names


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
    part: int = 0,
) -> Trace:
    """Row `index` of the batch as a trace; of parts that are too many to lay out, those from `part` on."""
    records = [record for record, _ in found]
    rows = rows_of(chosen.reads, records)
    placed, more = placed_sites(found, chosen, index, rows, len(named) if named is not None else None, part)
    sites, named, target = name_sites(placed, model, chosen.reads, named, target)
    config = getattr(model, "config", None)
    info = ModelInfo(
        name=name or model_name(model),
        class_name=type(model).__name__,
        type=getattr(config, "model_type", ""),
        dtype=str(records[0].dtype).removeprefix("torch."),
        implementation=", ".join(sorted({record.implementation for record in records})),
        revision=getattr(config, "_commit_hash", None),
    )
    # what a module says when it is asked for its weights is all that it does
    followed = {record.path for record in records if record.implementation != ASKED}
    left_out = left_out_notes(chosen.passed_over, followed)
    notes = (
        *notes,
        *more,
        *left_out,
        *hook_notes(chosen.by_hooks),
        *function_mode_notes(chosen, sites),
        *broken_numbers(sites),
        *without_projection(sites),
    )
    streams, broken = streams_of(chosen, sites, index)
    trace = Trace(tuple(sites), named, target, info, (*notes, *broken), tuple(unrecorded), inputs, streams=streams)
    return checked(trace, records)


def streams_of(chosen: Pass, sites: Sequence[Site], row: int) -> tuple[tuple[Stream, ...], list[str]]:
    """The residual streams of a row, each with the stack of its sites; and of those that could not be followed, why."""
    found, broken = [], []
    for watched in chosen.streams:
        stacks = {site.stack for site in sites if site.path.startswith(watched.path + ".")} - {"cross"}
        if watched.stream is None:
            if watched.broken:
                broken.append(f"{NO_STREAM} of {watched.path} could not be followed: {watched.broken}.")
        elif len(stacks) == 1:
            stack = stacks.pop()
            site = next(site for site in sites if site.stack == stack)
            if watched.length != site.queries:  # windows; or tokens before the batch
                broken.append(
                    f"{NO_STREAM} of {watched.path} could not be followed: its {watched.length} positions are not the "
                    f"{site.queries} of its attention."
                )
                continue
            positions = tuple(site.query_offset + position for position in watched.stream.positions)  # behind a cache
            found.append(replace(watched.stream, stack=stack, row=row, positions=positions))
    return tuple(found), broken


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
