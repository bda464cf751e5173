"""A page for each example of a report: the sentence in the instrument, on the head that was found, its query and its key."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from attnscope.errors import InputError
from attnscope.head_roles.examples import Example
from attnscope.head_roles.rows import RoleRow

ROOM = 0.8  # MB of numbers in a page


def write_examples(rows: Sequence[RoleRow], table: Any, folder: Path) -> dict[int, str]:
    """The pages into `folder`, which is made. Returns the address of each by the id() of its example, from beside the folder.

    Raises InputError where the table no longer has its model, OutputError where a page cannot be written.
    """
    if table.source is None:
        raise InputError(
            "examples=True needs the model that the table was made with, and this table was read from a file or is one of many "
            "checkpoints. Save it where attnscope.roles returned it, or without examples."
        )
    model, tokenizer = table.source
    links: dict[int, str] = {}
    traces: dict[tuple[int, ...], Any] = {}
    for row in rows:
        for number, one in enumerate(row.examples):
            ids = tuple(one.inputs["input_ids"])
            if ids not in traces:
                traces[ids] = _trace(model, tokenizer, one)
            name = f"{row.name}-{_plain(row.relation)}-{_plain(row.direction)}-{number + 1}.html"
            view = _view(traces[ids], row, one, table)
            folder.mkdir(parents=True, exist_ok=True)
            view.save(folder / name)
            links[id(one)] = f"{folder.name}/{name}"
    return links


def _trace(model: Any, tokenizer: Any, one: Example) -> Any:
    import attnscope

    if one.text is not None:
        return attnscope.trace(model, tokenizer, one.text)
    import torch

    inputs = {name: torch.tensor([values]) for name, values in one.inputs.items()}
    return attnscope.trace(model, tokenizer, inputs=inputs)


def _view(trace: Any, row: RoleRow, one: Example, table: Any) -> Any:
    stack = next((site.stack for site in trace.sites if site.kind == "self"), None)
    place = {"layer": row.layer, "head": row.head, "query": one.query_token, "key": one.key_token}
    return trace.show("head", stack=stack, roles=table, max_mb=ROOM, **place)


def _plain(name: str) -> str:
    return re.sub(r"\W+", "-", name).strip("-")
