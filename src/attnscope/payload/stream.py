"""The StreamTable of a trace in a payload: its words in the description, its numbers as tensors (docs/payload.md)."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from attnscope.payload.fields import entry, one_of, real, several, text, whole
from attnscope.payload.header import Layout
from attnscope.tracing.stream_table import (
    BLOCK_KINDS,
    PART_KINDS,
    TASKS,
    StreamBlock,
    StreamPart,
    StreamReceipt,
    StreamTable,
    Target,
)
from attnscope.tracing.trace import Trace

_ALWAYS = ("sizes", "writes", "turns")
_PREDICTED = ("logits", "probabilities")
_LENS = ("lens_ids", "lens_probabilities")
_MOST = 1 << 20  # layers


def put_stream(tensors: dict[str, Tensor], table: StreamTable) -> dict[str, Any]:
    """Add the numbers of a table to `tensors`, and return the words for it."""
    names = [*_ALWAYS, *(_PREDICTED if table.targets else ())]
    names += ["contributions"] if table.contributions is not None else []
    names += _LENS if table.lens_ids is not None else ()
    for name in names:
        value = getattr(table, name)
        tensors[f"stream.{name}"] = value.int() if name == "lens_ids" else value.float()
    receipt = table.receipt
    return {
        "stack": table.stack,
        "positions": list(table.positions),
        "task": table.task,
        "layers": table.layers,
        "blocks": [{"kind": block.kind, "layer": block.layer} for block in table.blocks],
        "parts": [
            {"kind": part.kind, "name": part.name, "block": part.block, "head": part.head} for part in table.parts
        ],
        "targets": [[{"id": target.id, "text": target.text} for target in row] for row in table.targets],
        "lens_text": [list(row) for row in table.lens_text],
        "receipt": {
            "passed": receipt.passed,
            "stream_error": receipt.stream_error,
            "logit_error": receipt.logit_error,
            "sum_error": receipt.sum_error,
            "tolerance": receipt.tolerance,
        },
        "refused": table.refused,
    }


def stream_from_json(meta: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> StreamTable | None:
    """The table in a checked description; None where it has none."""
    if (found := meta.get("stream")) is None:
        return None
    positions, receipt = len(found["positions"]), found["receipt"]

    def named(name: str) -> Any:
        return tensors.get(f"stream.{name}")

    none = tensors["stream.sizes"].new_zeros(positions, 0)
    return StreamTable(
        found["stack"],
        tuple(found["positions"]),
        found["task"],
        tuple(StreamBlock(one["kind"], one["layer"]) for one in found["blocks"]),
        tuple(StreamPart(one["kind"], one["name"], one["block"], one["head"]) for one in found["parts"]),
        tuple(tuple(Target(one["id"], one["text"]) for one in row) for row in found["targets"]),
        named("logits") if found["targets"] else none,
        named("probabilities") if found["targets"] else none,
        named("contributions"),
        named("lens_ids"),
        tuple(tuple(row) for row in found["lens_text"]),
        named("lens_probabilities"),
        tensors["stream.sizes"],
        tensors["stream.writes"],
        tensors["stream.turns"],
        StreamReceipt(
            real(receipt["stream_error"], "stream_error"),
            _maybe(receipt["logit_error"]),
            _maybe(receipt["sum_error"]),
            real(receipt["tolerance"], "tolerance"),
        ),
        found["refused"],
    )


def _maybe(error: Any) -> float | None:
    return None if error is None else real(error, "error")


def check_stream(stream: Any, layouts: Mapping[str, Layout]) -> None:
    """Raises ValueError for what is no table, or for tensors that do not have its shapes."""
    what = "stream"
    if (stack := entry(stream, "stack", what)) is not None:
        text(stack, f"{what}, stack")
    positions = several(entry(stream, "positions", what), f"{what}, positions")
    if [whole(one, f"{what}, positions", 0) for one in positions] != sorted(set(positions)) or not positions:
        raise ValueError(f"{what}, positions are not in order")
    task = one_of(entry(stream, "task", what), TASKS, f"{what}, task")
    layers = whole(entry(stream, "layers", what), f"{what}, layers", 1, _MOST)
    blocks = several(entry(stream, "blocks", what), f"{what}, blocks")
    for block in blocks:
        one_of(entry(block, "kind", what), BLOCK_KINDS, f"{what}, kind of a block")
        whole(entry(block, "layer", what), f"{what}, layer of a block", 0, layers - 1)
    parts = several(entry(stream, "parts", what), f"{what}, parts")
    for part in parts:
        one_of(entry(part, "kind", what), PART_KINDS, f"{what}, kind of a part")
        text(entry(part, "name", what), f"{what}, name of a part")
        if (block := entry(part, "block", what)) is not None:
            whole(block, f"{what}, block of a part", 0, len(blocks) - 1)
        if (head := entry(part, "head", what)) is not None:
            whole(head, f"{what}, head of a part", 0)
    targets = several(entry(stream, "targets", what), f"{what}, targets")
    columns = max((len(several(row, f"{what}, targets")) for row in targets), default=0)
    for row in several(targets, f"{what}, targets", len(positions) if targets else 0):
        none = task == "label" and not row  # a label of the whole text stands at one position
        for target in several(row, f"{what}, targets", 0 if none else columns):
            whole(entry(target, "id", what), f"{what}, id of a target", 0)
            text(entry(target, "text", what), f"{what}, text of a target")
    lens = several(entry(stream, "lens_text", what), f"{what}, lens_text")
    for row in several(lens, f"{what}, lens_text", len(positions) if lens else 0):
        for word in several(row, f"{what}, lens_text", layers + 1):
            text(word, f"{what}, lens_text")
    text(entry(stream, "refused", what), f"{what}, refused")
    _check_receipt(entry(stream, "receipt", what))
    _check_shapes(layouts, len(positions), layers, len(blocks), len(parts), columns, bool(lens))


def check_positions(trace: Trace) -> None:
    """Raises ValueError where the table names a token or a stack that the trace does not have."""
    table = trace.stream_table
    if table is None:
        return
    sites = [site for site in trace.sites if site.stack == table.stack]
    if sites and table.positions[-1] >= len(trace.query_tokens(sites[0])):
        raise ValueError("stream, positions lie behind the text")


def _check_receipt(receipt: Any) -> None:
    for name in ("stream_error", "logit_error", "sum_error", "tolerance"):
        error = entry(receipt, name, "stream, receipt")
        if error is not None or name in ("stream_error", "tolerance"):
            real(error, f"stream, receipt {name}")


def _check_shapes(
    layouts: Mapping[str, Layout], positions: int, layers: int, blocks: int, parts: int, columns: int, lens: bool
) -> None:
    shapes: dict[str, tuple[int, ...]] = {
        "sizes": (positions, layers + 1),
        "writes": (positions, blocks),
        "turns": (positions, blocks),
    }
    if columns:
        shapes |= dict.fromkeys(_PREDICTED, (positions, columns))
        if "stream.contributions" in layouts:
            shapes["contributions"] = positions, parts, columns
    if lens:
        shapes |= dict.fromkeys(_LENS, (positions, layers + 1))
    for name, shape in shapes.items():
        layout, dtype = layouts.get(f"stream.{name}"), "I32" if name == "lens_ids" else "F32"
        if layout is None or layout.shape != shape or layout.dtype != dtype:
            found = "not here" if layout is None else f"{layout.dtype} {list(layout.shape)}"
            raise ValueError(f"stream: tensor stream.{name} is {found}, and should be {dtype} {list(shape)}")
