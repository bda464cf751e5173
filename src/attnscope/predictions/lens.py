"""The logit lens: what the model would predict if it stopped after each layer.

W_U · norm_f(x_l) for the stream x_l after the embedding and after each layer, with the final norm computed anew for each x_l
(nostalgebraist 2020, "interpreting GPT: the logit lens"). At the last layer these are the model's own logits. It is not a sum of parts: see
`attnscope.predictions.readout` for that, where the norm is frozen.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from attnscope.errors import InputError, NotCaptured
from attnscope.predictions.streams import capped, head_of, stream_of
from attnscope.predictions.targets import position_of, text_of
from attnscope.text.format import chance
from attnscope.tracing.frozen import Cut
from attnscope.tracing.places import is_number
from attnscope.tracing.stream import Node, Stream, values
from attnscope.tracing.trace import Trace

AT_ONCE = 64_000_000  # bytes of logits that are in memory together: W_U is read once for each batch


@dataclass(frozen=True, repr=False)
class Lens:
    """The most probable tokens at P positions, after L1 numbers of layers.

    `positions`: of the tokens. `layers`: after how many layers; 0 is the embedding. `ids`, `probabilities`: [P, L1, top], the
    most probable first. `texts`: [P][L1][top].
    """

    positions: tuple[int, ...]
    layers: tuple[int, ...]
    ids: Int[Tensor, "P L1 top"]
    probabilities: Float[Tensor, "P L1 top"]
    texts: tuple[tuple[tuple[str, ...], ...], ...]

    def __repr__(self) -> str:
        lines = []
        for place, position in enumerate(self.positions):
            lines.append(f"Lens at position {position}:")
            for row, (layer, texts) in enumerate(zip(self.layers, self.texts[place], strict=True)):
                name = "embedding" if layer == 0 else f"after L{layer - 1}"
                words = ", ".join(
                    f"{text!r} {chance(probability)}"
                    for text, probability in zip(texts, self.probabilities[place, row].tolist(), strict=True)
                )
                lines.append(f"  {name:10s}  {words}")
        return "\n".join(lines)


def lens(trace: Trace, query: Any = None, layer: Any = None, top: Any = 5) -> Lens:
    """The lens of a trace; `Trace.lens` says what the arguments are."""
    if not is_number(top) or int(top) < 1:
        raise InputError(f"expected top as a number from 1 on, got {top!r}.")
    stream = stream_of(trace)
    positions = stream.positions if query is None else (position_of(trace, stream, query),)
    count = len(stream.states)
    if layer is not None and not (is_number(layer) and -count <= int(layer) < count):
        raise InputError(
            f"layer {layer} is out of range: the lens looks after 0 (the embedding) to {count - 1} layers."
        )
    layers = tuple(range(count)) if layer is None else (int(layer) % count,)
    ids, chances = lens_top(stream, positions, int(top), layers)
    named = dict.fromkeys(ids.flatten().tolist())
    spelled = {number: text_of(stream, number) for number in named}
    texts = tuple(tuple(tuple(spelled[i] for i in row) for row in rows) for rows in ids.tolist())
    return Lens(tuple(positions), layers, ids, chances, texts)


def lens_logits(stream: Stream, positions: Sequence[int], layers: Sequence[int]) -> Float[Tensor, "L P V"]:
    """W_U · norm_f(x_l), after a cap, of the stream before layer l (L: after the last), for each of `layers` and `positions`.

    Raises NotCaptured where the final norm is no module of the model.
    """
    head = head_of(stream)
    if head.norm is None and head.normed is not head.last:
        raise NotCaptured("the lens computes the final norm anew, and this model's is no module that could be called.")
    cut = stream.cut(positions)
    made = values([stream.states[layer] for layer in layers], cut)
    states = torch.stack([made[stream.states[layer]] for layer in layers])
    return capped(stream, _unembedded(head.logits, head.normed, _normed(stream, states)))


def lens_top(
    stream: Stream, positions: Sequence[int], top: int, layers: Sequence[int] | None = None
) -> tuple[Int[Tensor, "P L top"], Float[Tensor, "P L top"]]:
    """(ids, probabilities) of the most probable tokens; `layers` of the states, None: all."""
    chosen = range(len(stream.states)) if layers is None else layers
    count = len(positions) * head_of(stream).logits.width[0] * 4
    step = max(1, AT_ONCE // max(1, count))
    ids, chances = [], []
    for first in range(0, len(chosen), step):
        logits = lens_logits(stream, positions, chosen[first : first + step])
        best = logits.topk(min(top, logits.shape[-1]))
        ids.append(best.indices.cpu())
        chances.append((best.values - logits.logsumexp(-1, keepdim=True)).exp().cpu())
    return torch.cat(ids).transpose(0, 1), torch.cat(chances).transpose(0, 1)


@torch.no_grad()
def _normed(stream: Stream, states: Float[Tensor, "L P M"]) -> Float[Tensor, "L P M"]:
    head = stream.head
    if head is None or head.norm is None:
        return states
    return head.norm(states.to(stream.dtype)).float()


def _unembedded(node: Node, normed: Node, x: Tensor) -> Tensor:
    """What comes of other numbers in the place of what the final norm returned: the steps from there to the logits."""
    if node is normed:
        return x
    terms = []
    for before, step in node.inputs:
        term = before.value[0] if before.value is not None else _unembedded(before, normed, x)
        terms.append(term.float() if step is None else step.forward(term.float(), Cut()))
    return sum(terms[1:], start=terms[0])
