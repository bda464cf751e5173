"""Traces with a StreamTable of random numbers, for tests that need no model."""

from dataclasses import replace
from typing import Any

import torch

from attnscope.tracing.stream_table import StreamBlock, StreamPart, StreamReceipt, StreamTable, Target
from attnscope.tracing.trace import Trace
from made_traces import made_trace


def made_table(predicts: bool = True) -> StreamTable:
    """Two layers, heads 0 to 2, at three positions with five targets each."""
    generator = torch.Generator().manual_seed(3)
    kinds = ("attention", "mlp")
    blocks = tuple(StreamBlock(kind, layer) for layer in range(2) for kind in kinds)
    terms = [StreamPart("embedding", "embedding")]
    for index, block in enumerate(blocks):
        if block.kind == "attention":
            terms += [StreamPart("head", f"L{block.layer}H{head}", index, head) for head in range(3)]
        else:
            terms.append(StreamPart("mlp", block.name, index))
    positions, columns = (1, 4, 12), 5

    def numbers(*shape: int) -> Any:
        return torch.randn(shape, generator=generator)

    given = numbers(3, len(terms), columns)
    order = given.sum(1).argsort(descending=True)  # the most probable target first
    given = given.gather(2, order[:, None].expand_as(given))
    targets = (
        tuple(tuple(Target(10 * p + c, f" w{10 * p + c}") for c in range(columns)) for p in range(3))
        if predicts
        else ()
    )
    count = columns if predicts else 0
    logits = given.sum(1)[:, :count]
    return StreamTable(
        None,
        positions,
        "next" if predicts else "",
        blocks,
        tuple(terms),
        targets,
        logits,
        logits.softmax(-1) * 0.9,
        given if predicts else None,
        torch.arange(9, dtype=torch.int32).reshape(3, 3) if predicts else None,
        tuple(("a", "b", "c") for _ in range(3)) if predicts else (),
        torch.rand(3, 3, generator=generator) if predicts else None,
        numbers(3, 3).abs() + 1,
        numbers(3, 4).abs(),
        numbers(3, 4).tanh(),
        StreamReceipt(1e-7, 2e-7 if predicts else None, 3e-6 if predicts else None, 1e-4),
        "" if predicts else "this model predicts nothing",
    )


def streamed(predicts: bool = True) -> Trace:
    return replace(made_trace(), stream_table=made_table(predicts))
