"""Rows read back from the JSON of a table."""

import os
from dataclasses import fields
from typing import Any

from attnscope.errors import InputError
from attnscope.head_roles.cases import TO_DEPENDENT, TO_HEAD, Task
from attnscope.head_roles.content import CONTENT
from attnscope.head_roles.images import NEAR, SINKS
from attnscope.head_roles.links import link_task
from attnscope.head_roles.relations import relation_task
from attnscope.head_roles.rows import RoleRow
from attnscope.head_roles.speech import ALIGNMENT
from attnscope.head_roles.tasks import RULES
from attnscope.payload.json_file import read_json

KNOWN = {**RULES, **{task.relation: task for task in (CONTENT, ALIGNMENT, NEAR, *SINKS.values())}}
NUMBERS = tuple(
    f.name
    for f in fields(RoleRow)
    if f.name not in ("layer", "head", "task", "n", "p", "looked_at", "chosen", "examples", "measures")
)


def read_rows(path: str | os.PathLike[str]) -> tuple[RoleRow, ...]:
    """The rows of a file that RoleTable.save wrote as .json, or `attnscope roles --json` printed."""
    records = read_json(path, "roles", "RoleTable.save(….json)")
    if not isinstance(records, list):
        raise InputError(f"{os.fspath(path)}: expected a list of rows, got {type(records).__name__}.")
    return tuple(_row(record, f"{os.fspath(path)}, row {number}") for number, record in enumerate(records))


def _row(record: Any, where: str) -> RoleRow:
    if not isinstance(record, dict):
        raise InputError(f"{where}: expected a mapping with the keys layer, head, relation …, got {record!r:.60}.")
    layer, head, n = (record.get(name) for name in ("layer", "head", "n"))
    if not (type(layer) is type(head) and (layer is None or type(layer) is int) and type(n) is int):
        raise InputError(f"{where}: expected layer, head and n as whole numbers, got {layer!r}, {head!r}, {n!r}.")
    values: dict[str, Any] = {name: record.get(name) for name in NUMBERS if name in record}
    measures = record.get("measures") or {}
    if not isinstance(measures, dict) or not all(isinstance(value, int | float) for value in measures.values()):
        raise InputError(f"{where}: measures is {measures!r:.60}, which does not fit.")
    for name, value in values.items():
        right = isinstance(value, str) if name == "baseline_word" else isinstance(value, int | float)
        if value is not None and not right:
            raise InputError(f"{where}: {name} is {value!r:.60}, which does not fit.")
    return RoleRow(layer=layer, head=head, n=n, task=_task(record, where), measures=tuple(measures.items()), **values)


def _task(record: dict[str, Any], where: str) -> Task:
    relation, direction = record.get("relation"), record.get("direction")
    if not isinstance(relation, str) or not isinstance(direction, str):
        raise InputError(
            f"{where}: expected relation and direction as text, got {relation!r:.60} and {direction!r:.60}."
        )
    if direction in (TO_HEAD, TO_DEPENDENT):
        return relation_task(relation, direction)
    if relation in KNOWN:
        return KNOWN[relation]
    one, to, other = direction.partition(" to ")
    if not to:
        raise InputError(f"{where}: {relation!r:.60} is no rule; expected one of {', '.join(KNOWN)}.")
    return link_task(relation, TO_HEAD, (one, other))
