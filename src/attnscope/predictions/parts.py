"""The parts that a logit is the sum of, with their names."""

from dataclasses import dataclass

from attnscope.tracing.stream import Node, Stream
from attnscope.tracing.stream_table import BLOCK_KINDS, StreamBlock, StreamPart


@dataclass(frozen=True, eq=False)
class Parts:
    """`parts`: their names, in order. `places`: of each the index of its leaf, and the head in it. `blocks`: those that wrote."""

    parts: tuple[StreamPart, ...]
    places: tuple[tuple[int, int | None], ...]
    blocks: tuple[StreamBlock, ...]


def parts_of(stream: Stream, leaves: list[Node]) -> Parts:
    """The parts that these leaves are."""
    places = {leaf.label.block for leaf in leaves if leaf.label is not None and leaf.label.block is not None}
    ordered = sorted(places, key=lambda place: (place[0], BLOCK_KINDS.index(place[1])))
    index = {place: at for at, place in enumerate(ordered)}
    blocks = tuple(StreamBlock(kind, layer) for layer, kind in ordered)
    parts: list[StreamPart] = []
    found: list[tuple[int, int | None]] = []
    for number, leaf in enumerate(leaves):
        label = leaf.label
        assert label is not None
        block = None if label.block is None else index[label.block]
        if label.kind == "heads":
            cross = "X" if label.cross else ""
            for head in range(leaf.width[0]):
                parts.append(StreamPart("head", f"L{label.layer}{cross}H{head}", block, head))
                found.append((number, head))
        else:
            parts.append(StreamPart(label.kind, _name(stream, leaf, None if block is None else blocks[block]), block))
            found.append((number, None))
    return Parts(tuple(parts), tuple(found), blocks)


def _name(stream: Stream, leaf: Node, block: StreamBlock | None) -> str:
    label = leaf.label
    assert label is not None
    if label.kind == "embedding":
        return "embedding" if leaf is stream.states[0] else f"added at {label.path}"
    if block is not None:
        return f"{block.name} bias" if label.kind == "bias" else block.name
    if label.layer is not None:
        return f"L{label.layer} norm bias"
    behind = leaf.serial > stream.final.serial
    return "unembedding bias" if behind else "final norm bias"
