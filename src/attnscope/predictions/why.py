"""Why a head attends: q · k of one query and one key, split exactly by where q and k come from.

q is linear in what the residual stream held at the query's token, once the norm before W_Q (and a norm of q behind it, and a latent norm) is
frozen at its value: rotary embedding turns q, and a turn is linear. So q = Σ over parts a of q_a, k = Σ over parts b of k_b, and

    scaled = scaling · q · k = Σ over a, b of scaling · q_a · k_b

where a part is the embedding, a head or an MLP of an earlier layer, or a bias (Elhage et al. 2021, "A mathematical framework for
transformer circuits", for the terms of two attention-only layers).
"""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from attnscope.errors import CaptureError, InputError, NotCaptured
from attnscope.predictions.parts import Parts, parts_of
from attnscope.predictions.streams import checked
from attnscope.statistics.frames import data_frame
from attnscope.tracing.places import parse_head
from attnscope.tracing.receipts import tolerance_of
from attnscope.tracing.site import Site
from attnscope.tracing.stream import Node, Stream, back, reached
from attnscope.tracing.stream_table import StreamPart
from attnscope.tracing.trace import Trace

WIDEST = 8  # columns of a table that is printed whole


@dataclass(frozen=True)
class Source:
    """Where a part of q or k comes from. `name`: such as "L2H8". `layer`: of the block that wrote it; None for the embedding and for
    biases. `group`: the row of the table by layer: "embedding", "L2", "biases"."""

    name: str
    layer: int | None
    group: str


@dataclass(frozen=True, repr=False)
class Why:
    """The scaled score of one query and key, split by where q and k come from.

    `name`: of the head, such as "L2H8". `query`, `key`: the tokens as written. `query_sources`, `key_sources`: of the rows and columns of
    `table`, [Nq, Nk], which adds up to `scaled`: scaling · q · k. `steps`: what follows, (name, what it adds): the softcap and the position
    bias. `score`: scaled and these. `masked`: whether the query may not see the key. `error`: |Σ of the table - scaled|.
    """

    name: str
    query: str
    key: str
    query_sources: tuple[Source, ...]
    key_sources: tuple[Source, ...]
    table: Float[Tensor, "Nq Nk"]
    scaled: float
    steps: tuple[tuple[str, float], ...]
    score: float
    masked: bool
    error: float

    def by_layer(self) -> tuple[tuple[str, ...], tuple[str, ...], Float[Tensor, "Gq Gk"]]:
        """(rows, columns, table) with the parts of a layer together: the embedding, "L0", "L1", …, the biases."""
        rows, columns = ([*dict.fromkeys(one.group for one in side)] for side in (self.query_sources, self.key_sources))
        found = torch.zeros(len(rows), len(columns))
        for i, one in enumerate(self.query_sources):
            for j, other in enumerate(self.key_sources):
                found[rows.index(one.group), columns.index(other.group)] += self.table[i, j]
        return tuple(rows), tuple(columns), found

    def top(self, count: int = 10) -> tuple[tuple[str, str, float], ...]:
        """(part of q, part of k, what they add), the largest in either direction first. `count`: how many."""
        flat = self.table.flatten()
        best = flat.abs().topk(min(count, len(flat))).indices.tolist()
        width = self.table.shape[1]
        return tuple(
            (self.query_sources[i // width].name, self.key_sources[i % width].name, float(flat[i])) for i in best
        )

    def to_frame(self) -> Any:
        """A DataFrame of the table, parts of q in rows and parts of k in columns. Raises MissingDependency without pandas."""
        rows, columns = ([one.name for one in side] for side in (self.query_sources, self.key_sources))
        return data_frame(self.table.numpy(), index=rows, columns=columns)

    def __repr__(self) -> str:
        rows, columns, table = self.by_layer()
        lines = [f"Why {self.name} looks from {self.query!r} to {self.key!r}: q · k · scaling = {self.scaled:+.3f}"]
        if len(columns) <= WIDEST:
            lines.append(f"  {'q from ↓  k from →':20s}" + "".join(f"{name[:10]:>11s}" for name in columns))
            lines += [
                f"  {name:20s}" + "".join(f"{value:+11.3f}" for value in row)
                for name, row in zip(rows, table.tolist(), strict=True)
            ]
        else:
            for what, names, sums in (("q", rows, table.sum(1)), ("k", columns, table.sum(0))):
                best = sums.abs().topk(6).indices.tolist()
                words = ", ".join(f"{names[at]} {float(sums[at]):+.3f}" for at in best)
                lines.append(f"  {what} from, with all of the other side: {words}")
        lines += [f"  {name} {value:+.3f}" for name, value in self.steps]
        lines.append("  largest: " + ", ".join(f"{q} × {k} {value:+.3f}" for q, k, value in self.top(5)))
        lines.append(f"  they add up to {float(self.table.sum()):+.4f}, within {self.error:.1e}")
        return "\n".join([*lines, *(["  masked: the query may not see this key"] if self.masked else [])])


def why(trace: Trace, layer: Any, head: Any, query: Any, key: Any, stack: str | None = None) -> Why:
    """Of one head, query and key; `Trace.why` says what the arguments are."""
    site = _site(trace, layer, head, stack)
    number = site._head(head)
    row, column = site._row(query), trace.key_tokens(site).find(key, "key")
    mine, found = _stream_with(trace, site)
    q_node, k_node = found
    theirs = mine
    if site.kind == "cross":
        theirs = next((one for one in trace.streams if k_node in _nodes(one, k_node)), trace.streams[0])
    for stream in {id(one): one for one in (mine, theirs)}.values():
        checked(stream)
    group = number // (site.heads // site.kv_heads)
    q_names, q_parts = _side(mine, q_node, number, row + site.query_offset, "query bias")
    k_names, k_parts = _side(theirs, k_node, group, column, "key bias")
    table = (site.scaling * q_parts @ k_parts.T).cpu()
    chain = site.chain(number, row)
    scaled = float(chain.scaled[0, column])
    steps = []
    if site.softcap is not None:
        steps.append(("softcap", float(chain.capped[0, column]) - scaled))
    if site.position_bias is not None:
        steps.append(("position bias", float(chain.biased[0, column] - chain.capped[0, column])))
    error = abs(float(table.sum()) - scaled)
    _check(site, error, float(q_parts.sum(0).norm() * k_parts.sum(0).norm()) * abs(site.scaling))
    return Why(
        f"L{site.layer}H{number}",
        trace.query_tokens(site).shown[row + site.query_offset],
        trace.key_tokens(site).shown[column],
        q_names,
        k_names,
        table,
        scaled,
        tuple(steps),
        scaled + sum(value for _, value in steps),
        not bool(torch.isfinite(chain.masked[0, column])) or float(chain.masked[0, column]) < -1e30,
        error,
    )


def _site(trace: Trace, layer: Any, head: Any, stack: str | None) -> Site:
    number, _ = parse_head(head, layer)
    if number is None:
        raise InputError(f'expected a layer beside head {head!r}, or a head by its whole name, such as "L2H8".')
    site = trace.site(number, stack)
    if site.weights_only:
        raise NotCaptured(f"{site.name} holds weights only: why a head attends needs its q and k.")
    return site


def _stream_with(trace: Trace, site: Site) -> tuple[Stream, tuple[Node, Node]]:
    for stream in trace.streams:
        q, k, _ = stream.attended.get((site.path, site.call), (None, None, None))
        if q is not None and k is not None and q.width[-1] == site.head_size:
            return stream, (q, k)
    raise NotCaptured(
        f"how q and k of {site.name} are made of the residual stream could not be followed (a function that is not linear, or a stream "
        "that was not kept)."
    )


def _nodes(stream: Stream, k_node: Node) -> set[Node]:
    """The node of k, if it is made of this stream."""
    return {k_node} if stream.states[0] in reached([k_node]) else set()


def _side(
    stream: Stream, node: Node, head: int, row: int, bias: str
) -> tuple[tuple[Source, ...], Float[Tensor, "N D"]]:
    """The parts of q or k of one head at a row, [N, D] each, with their names."""
    if row not in stream.positions:
        raise InputError(f"the stream was kept for {len(stream.positions)} tokens, and not for token {row}.")
    cut, (heads, size) = stream.cut([row]), node.width
    gradient = torch.zeros(size, 1, heads, size, device=stream.device)
    gradient[torch.arange(size), 0, head, torch.arange(size)] = 1.0
    gradients = back(node, gradient, cut)
    leaves = sorted((one for one in gradients if one.label is not None), key=lambda one: one.serial)
    parts = parts_of(stream, leaves)
    values = [(gradients[leaf] * cut(leaf.value)).sum(-1)[:, 0] for leaf in leaves if leaf.value is not None]
    found = torch.stack([values[at] if h is None else values[at][:, h] for at, h in parts.places])
    own = _own_biases(node)
    sources = tuple(
        _source(part, parts, bias if leaves[at] in own else part.name)
        for part, (at, _) in zip(parts.parts, parts.places, strict=True)
    )
    return sources, found


def _own_biases(node: Node) -> set[Node]:
    """The leaves that joined behind the stream: biases of the layers that make q or k."""
    return {
        before
        for one in reached([node])
        if one.flow == "projected"
        for before, _ in one.inputs
        if before.label is not None and before.flow == ""
    }


def _source(part: StreamPart, parts: Parts, name: str) -> Source:
    if part.block is not None:
        layer = parts.blocks[part.block].layer
        return Source(name, layer, f"L{layer}")
    return Source(name, None, "embedding" if part.kind == "embedding" else "biases")


def _check(site: Site, error: float, size: float) -> None:
    if not error <= tolerance_of(site.dtype or site.q.dtype) * max(size, 1.0):
        raise CaptureError(
            f"the parts of q and k do not add up to the score of {site.name} that the model computed (they differ by {error:.1e}): "
            "something between the stream and the score could not be followed, or the model was changed since it was traced."
        )
