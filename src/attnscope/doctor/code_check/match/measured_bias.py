"""What the code adds to its scores by itself: a position bias (ALiBi), a window, a fixed pattern of keys.

Where queries are zero (in a module: its input and its biases), q · k is the same for every key, and what is left in the
scores is the code's own. The scores are read off as they enter the softmax; a function without
one (flash-style code) is given unit vectors as values, so that its output is its weights.
"""

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from attnscope.doctor.code_check.run.invocation import Invocation, Own
from attnscope.doctor.code_check.run.outputs import Reading

EMPTY = -9e3  # a row whose largest score is this far below the others' has no key, whatever the sentinel
MASKED = -1e3  # scores this far below their row's largest are masked, whatever the sentinel


class OwnScores:
    """Measured when it is asked for, once for every pair of lengths."""

    def __init__(self, invocation: Invocation, options: dict[str, Any]) -> None:
        self.invocation, self.options = invocation, options
        self.known: dict[tuple[int, int], Own | None] = {}

    def at(self, queries: int, keys: int) -> Own | None:
        if (queries, keys) not in self.known:
            self.known[queries, keys] = self._measure(queries, keys)
        return self.known[queries, keys]

    def _measure(self, queries: int, keys: int) -> Own | None:
        invocation = self.invocation
        inputs = invocation.inputs("own", queries, None if invocation.call.inputs == 1 else keys)
        if invocation.projections is not None:
            inputs = tuple(torch.zeros_like(x) for x in inputs)  # type: ignore[assignment]
        else:
            zero = torch.zeros_like(inputs[0])
            inputs = (zero, zero, zero) if invocation.call.inputs == 1 else (zero, *inputs[1:])
        unit = (
            invocation.projections is None
            and invocation.call.inputs == 3
            and not invocation.flat
            and keys <= invocation.size
        )
        if unit:
            inputs = (*inputs[:2], unit_values(inputs[2]))
        with _without_biases(invocation.fn):
            reading = invocation.run(inputs, seed=5, **self.options)
        if reading.output is None:
            return None
        weights = reading.output[..., :keys] if unit else None
        scores = scores_seen(reading, inputs[0].shape[0], invocation.heads, queries, keys)
        if scores is None and weights is not None:
            scores = weights.clamp_min(0).log()
        if scores is None or not same(scores):
            return None
        raw = scores[0]
        scores = scores[0] - scores[0].nan_to_num(nan=-torch.inf).amax((-2, -1), keepdim=True)
        most = scores.amax(-1, keepdim=True)
        pattern = (scores > most + MASKED) & (most > EMPTY)
        late = weights is not None and bool(pattern.all()) and bool((weights.abs() < 1e-9).any()) and same(weights)
        if late and weights is not None:
            pattern = (weights[0].abs() > 1e-9).expand_as(scores)
        bias = torch.where(pattern, scores, 0.0)
        return Own(torch.where(bias.abs() < 1e-5, 0.0, bias), pattern, late, raw)


@contextlib.contextmanager
def _without_biases(module: Any) -> Iterator[None]:
    """With the biases of linear maps and norms at zero, in which zeros give queries and keys of zero."""
    parts = list(module.modules()) if isinstance(module, nn.Module) else []
    named = [getattr(part, "bias", None) for part in parts if hasattr(part, "weight")]
    biases = [bias for bias in named if isinstance(bias, nn.Parameter)]
    before = [bias.detach().clone() for bias in biases]
    with torch.no_grad():
        for bias in biases:
            bias.zero_()
    try:
        yield
    finally:
        with torch.no_grad():
            for bias, value in zip(biases, before, strict=True):
                bias.copy_(value)


def unit_values(value: Tensor) -> Tensor:
    """Values [..., K, D] of which key j has a 1 in dimension j alone, so that outputs are weights."""
    return torch.eye(value.shape[-2], value.shape[-1]).expand_as(value).clone()


def scores_seen(reading: Reading, batch: int, heads: int, queries: int, keys: int) -> Tensor | None:
    """[B, H or 1, Q, K], from what entered the softmax of one run; None where that cannot be told."""
    seen = [s.detach().float() for s in reading.outcome.seen.scores if isinstance(s, Tensor) and s.ndim > 1]
    seen = [s for s in seen if s.shape[-2] == queries and s.shape[-1] in (keys, keys + 1)]  # one column more: a sink
    seen = [s[..., :keys].reshape(-1, queries, keys) for s in seen]
    if len(seen) == 1 and len(seen[0]) in (1, batch, batch * heads):
        rows = len(seen[0])
        if rows in (1, batch):
            return seen[0].expand(batch, -1, -1)[:, None]
        return seen[0].view(batch, heads, queries, keys)
    if len(seen) == heads and all(len(s) == batch for s in seen):  # one head after another
        return torch.stack(seen, dim=1)
    return None


def same(scores: Tensor) -> bool:
    """Whether every text of the batch has the same."""
    return torch.allclose(scores.nan_to_num(), scores[:1].nan_to_num().expand_as(scores), atol=1e-4)


def sinks_in_row_sums(invocation: Invocation, options: dict[str, Any]) -> list[Tensor]:
    """[H], from what is missing in a function's row sums: with all scores 0, a row of K keys sums to K / (K + exp(sink))."""
    if invocation.projections is not None or invocation.flat or invocation.call.inputs != 3:
        return []
    query, key, value = invocation.inputs("sinks", 7)
    output = invocation.run((query * 0, key, unit_values(value)), seed=5, **options).output
    if output is None:
        return []
    sums = output[0, :, -1].sum(-1)  # the last query sees every key, causal or not
    return [(7 / sums - 7).log()] if bool(((sums > 0.01) & (sums < 0.999)).all()) else []
