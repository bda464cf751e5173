"""Every entry by its id, and what is done with one: fill it in, explain it."""

import difflib
from typing import Any

from attnscope.doctor.findings import (
    batch,
    blocks,
    cache,
    causal_mask,
    causal_meant,
    heads,
    mask_argument,
    model_adapters,
    model_given,
    model_length,
    model_masks,
    model_outputs,
    model_text,
    norms,
    parts,
    position_bias,
    rotary,
    running,
    scale,
    sentinel,
    softmax,
    unexplained,
    unused,
    whole_model,
)
from attnscope.doctor.findings.entry import Entry, Finding
from attnscope.errors import InputError

CODE = (
    softmax,
    blocks,
    scale,
    causal_mask,
    causal_meant,
    mask_argument,
    sentinel,
    heads,
    norms,
    parts,
    position_bias,
    rotary,
    batch,
    cache,
    whole_model,
    running,
    unused,
    unexplained,
)
MODEL = (model_text, model_length, model_given, model_masks, model_outputs, model_adapters)
FAMILIES = (*CODE, *MODEL)

ENTRIES: tuple[Entry, ...] = tuple(entry for family in FAMILIES for entry in family.ENTRIES)
REGISTRY: dict[str, Entry] = {entry.id: entry for entry in ENTRIES}


def finding(id: str, /, *, line: int | None = None, **fields: Any) -> Finding:
    """The finding of this id with its fields filled in; `line` is the suspect line of the source, where it is known."""
    return REGISTRY[id].fill(line, fields)


def explain(id: str) -> str:
    """What `attnscope check --explain ID` prints. Raises InputError for an id that the registry does not hold."""
    if id not in REGISTRY:
        near = difflib.get_close_matches(id, REGISTRY, n=3, cutoff=0.4)
        hint = f"Did you mean {' or '.join(near)}?" if near else "docs/reference/findings.md lists all."
        raise InputError(f"expected the id of a finding, got {id!r}. {hint}")
    entry = REGISTRY[id]
    wrong, right = entry.codes()
    row = f", row {entry.row} of the table of attention bugs" if entry.row else ""
    parts = [
        f"{entry.id} ({entry.severity}{row})",
        entry.what,
        f"Why: {entry.general('why')}" if entry.why else "",
        f"Cure: {entry.general('cure')}",
        f"What does not hold: {entry.general('invariant')}",
        f"Wrong:\n{_indented(wrong)}",
        f"Right:\n{_indented(right)}",
        f"Checked by: {entry.call}" if isinstance(entry.wrong, str) else "",
        f"Reference: {entry.reference}" if entry.reference else "",
    ]
    return "\n\n".join(part for part in parts if part)


def _indented(code: str) -> str:
    return "\n".join(f"    {line}".rstrip() for line in code.splitlines())
