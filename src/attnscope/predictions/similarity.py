"""How alike two texts are to a sentence-embedding model, as a sum over the parts of one of them.

The similarity is the cosine of two pooled last states. With the norms on the path frozen at their values, and both lengths too, it is linear in
the stream of the first text: every LayerNorm of a post-LN encoder is affine once its σ is frozen, so what its parts add sums to the cosine
exactly.
"""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from attnscope.errors import InputError
from attnscope.predictions.attribution import Contribution, Sum
from attnscope.predictions.parts import parts_of
from attnscope.predictions.streams import checked, stream_of
from attnscope.predictions.targets import read_tokens
from attnscope.tracing.stream import Stream, back, forward
from attnscope.tracing.stream_table import StreamReceipt
from attnscope.tracing.tokens import Tokens
from attnscope.tracing.trace import Trace

POOLINGS = ("mean", "first", "last")


@dataclass(frozen=True, repr=False)
class Similarity(Sum):
    """The cosine of two pooled texts, as the sum of what each part of the first text's stream added.

    `contributions`: one for each part; `blocks`: those that wrote. `cosine`: of the two pooled states. `pooling`: how. `tokens`: of the
    first text; `by_token`: what the parts at each of them add, [T]. `receipt`: whether they add up.
    """

    cosine: float
    pooling: str
    tokens: Tokens
    by_token: Float[Tensor, " T"]
    receipt: StreamReceipt

    def __repr__(self) -> str:
        best = self.by_token.abs().topk(min(5, len(self.by_token))).indices.tolist()
        words = ", ".join(f"{self.tokens.shown[i]} {float(self.by_token[i]):+.3f}" for i in sorted(best))
        return "\n".join(
            [
                f"Similarity {self.cosine:.4f} ({self.pooling} of the tokens):",
                *self.lines(self.cosine),
                f"  by token: {words}",
            ]
        )


def similarity(trace: Trace, other: Any, pooling: Any = "mean") -> Similarity:
    """The similarity of two traces of one model; `Trace.similarity` says what the arguments are."""
    if not isinstance(other, Trace):
        raise InputError(f"expected other as the trace of a second text, got {type(other).__name__}.")
    if pooling not in POOLINGS:
        raise InputError(f"expected pooling as one of {', '.join(POOLINGS)}, got {pooling!r}.")
    first, second = stream_of(trace), stream_of(other)
    receipt = checked(first)
    checked(second)
    mine, theirs = pooled(first, pooling), pooled(second, pooling)
    if mine.shape != theirs.shape:
        raise InputError("the two traces are of different models: their states have different widths.")
    shares = _shares(len(first.positions), pooling).to(first.device)
    gradient = shares[:, None] * theirs / (mine.norm() * theirs.norm())
    cut = first.cut()
    gradients = back(first.final, gradient[None], cut)
    leaves = sorted((node for node in gradients if node.label is not None), key=lambda node: node.serial)
    parts = parts_of(first, leaves)
    terms = [(gradients[leaf] * cut(leaf.value)).sum(-1)[0] for leaf in leaves if leaf.value is not None]
    found = [
        Contribution(
            part,
            float((terms[at] if head is None else terms[at][:, head]).sum()),
            None if part.block is None else parts.blocks[part.block].layer,
        )
        for part, (at, head) in zip(parts.parts, parts.places, strict=True)
    ]
    by_token = torch.stack([term if term.ndim == 1 else term.sum(1) for term in terms]).sum(0)
    cosine = float(torch.cosine_similarity(mine, theirs, dim=0))
    error = abs(sum(one.value for one in found) - cosine)
    receipt = StreamReceipt(receipt.stream_error, receipt.logit_error, error, receipt.tolerance)
    return Similarity(tuple(found), parts.blocks, cosine, pooling, read_tokens(trace, first), by_token, receipt)


def pooled(stream: Stream, pooling: str) -> Float[Tensor, " M"]:
    """The last state of a text, pooled over its tokens: their "mean", the "first" ([CLS]) or the "last"."""
    return _shares(len(stream.positions), pooling).to(stream.device) @ forward(stream.final, stream.cut())


def _shares(count: int, pooling: str) -> Float[Tensor, " T"]:
    if pooling == "mean":
        return torch.full((count,), 1 / count)
    return torch.zeros(count).index_fill(0, torch.tensor(0 if pooling == "first" else count - 1), 1.0)
