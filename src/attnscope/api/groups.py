"""Trace.groups: the weights of some queries by group, and with a model what a cut of each group does to the answer."""

from dataclasses import replace
from typing import Any

from torch import Tensor

from attnscope.editing.group_cuts import GroupCuts, cut_groups
from attnscope.errors import InputError, NotCaptured
from attnscope.statistics.by_group import ANSWER, chosen_groups, groups_of as by_group
from attnscope.statistics.group_table import GroupTable
from attnscope.statistics.sink_tokens import set_aside
from attnscope.text.format import chance
from attnscope.tracing.held import open_held
from attnscope.tracing.places import is_number
from attnscope.tracing.trace import Trace


def groups_of(
    trace: Trace,
    query: Any,
    heads: Any,
    kind: Any,
    special: Any,
    stack: Any,
    model: Any,
    tokenizer: Any,
    control: Any,
    seed: Any,
) -> GroupTable:
    """See Trace.groups."""
    if not is_number(control) or control < 0 or not is_number(seed):
        raise InputError(
            f"expected control and seed as whole numbers, control from 0; got {control!r:.20} and {seed!r:.20}."
        )
    if model is None:
        if control:
            raise InputError("control= cuts other groups of a model: give model=, the one that was traced.")
        return by_group(trace, query, heads, kind, special, stack)
    if query != ANSWER:
        raise InputError('with model= each group is cut, and the answer asked again: ask for query="answer".')
    inputs, answer = _prompt(trace)
    table = by_group(trace, query, heads, kind, special, stack)
    held = open_held(model, tokenizer)
    aside = set_aside(trace, trace.sites[0])
    plain = [at for at in range(inputs["input_ids"].shape[1]) if not aside[at]]
    found = [group for group in chosen_groups(trace.tokens, kind) if group.kind != "answer"]
    cuts = cut_groups(held.model, held.reader, inputs, found, plain, answer, int(control), int(seed))
    rows = tuple(replace(row, **_effect(cuts, row.name)) for row in table.rows)
    return replace(table, rows=rows, notes=(*table.notes, *_notes(trace, cuts, held.reader, int(control), int(seed))))


def _prompt(trace: Trace) -> tuple[dict[str, Any], tuple[int, ...] | None]:
    """The inputs up to the answer, and the answer's ids; None where none was generated."""
    inputs = dict(trace.inputs or {})
    tensors = {name: value for name, value in inputs.items() if isinstance(value, Tensor)}
    ids = tensors.get("input_ids")
    if ids is None or trace.target is not None or set(tensors) - {"input_ids", "attention_mask"}:
        raise NotCaptured(
            "the effect of a cut runs the model again on the ids of a text: use a trace that attnscope.trace made of a causal model and a "
            "text alone."
        )
    border = trace.tokens.border
    if border is None or border >= ids.shape[1]:
        return inputs, None
    return inputs | {name: value[:, :border] for name, value in tensors.items()}, tuple(ids[0, border:].tolist())


def _effect(cuts: GroupCuts, name: str) -> dict[str, Any]:
    if (cut := cuts.cuts.get(name)) is None:
        return {}
    return {"effect": cut.effect, "band": (min(cut.band), max(cut.band)) if cut.band else None}


def _notes(trace: Trace, cuts: GroupCuts, reader: Any, control: int, seed: int) -> list[str]:
    spelled = reader.decode(list(cuts.answer)) if hasattr(reader, "decode") else str(cuts.answer)
    said = f"effect: how much the log-probability of {spelled!r:.60} ({chance(cuts.probability)}) falls, in nats, where nothing behind the group can see it, in any head."
    if not control:
        return [said, "No control yet: control=20 cuts as many other tokens, 20 times, and shows the band."]
    fewest = min((len(cut.band) for cut in cuts.cuts.values()), default=0)
    fewer = "" if fewest == control else f" (of some lengths only {fewest})"
    return [said, f"band: as many other tokens that follow each other, {control} draws{fewer}, seed {seed}."]
