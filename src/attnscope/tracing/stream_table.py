"""StreamTable: how the residual stream became a prediction, at chosen positions, as plain data.

A page draws the level *stream* from it, and a file keeps it; nothing here needs the model. `attnscope.predictions` makes it.
"""

from dataclasses import dataclass

from jaxtyping import Float, Int
from torch import Tensor

BLOCK_KINDS = ("attention", "cross", "mlp")
PART_KINDS = ("embedding", "head", "attention", "mlp", "bias", "softcap")
TASKS = ("next", "fill", "label", "")


@dataclass(frozen=True)
class StreamBlock:
    """One block that writes into the stream. `kind`: "attention", "cross" (attention to another text) or "mlp". `layer`: from 0."""

    kind: str
    layer: int

    @property
    def name(self) -> str:
        """For people: "L2 attention", "L2 MLP"."""
        return (
            f"L{self.layer} {'MLP' if self.kind == 'mlp' else 'cross-attention' if self.kind == 'cross' else self.kind}"
        )


@dataclass(frozen=True)
class StreamPart:
    """One term of the sum that is a logit.

    `kind`: "embedding", "head", "attention" (of a block whose heads cannot be told apart), "mlp", "bias", or "softcap" (what a
        cap on the logits adds).
    `name`: for people, such as "L2H8", "L2 MLP", "L2 attention bias", "final norm bias".
    `block`: the index of the block that wrote it; None for what is of no block. What an attention block adds is the sum of
        the parts with its index: its heads and its bias.
    `head`: from 0; None for what is no head.
    """

    kind: str
    name: str
    block: int | None = None
    head: int | None = None


@dataclass(frozen=True)
class Target:
    """What may be predicted. `id`: of a token or a label. `text`: as people read it."""

    id: int
    text: str


@dataclass(frozen=True)
class StreamReceipt:
    """Whether the parts are the model's own numbers.

    `stream_error`: largest |embedding + Σ writes - what the model's final norm received|, as a part of the largest of these.
    `logit_error`: largest |logits from that sum - the model's own logits|, as a part of the largest; None without logits.
    `sum_error`: largest |Σ contributions - logit|, in logits; None without contributions.
    `tolerance`: the largest of the first two that rounding explains, by the model's dtype.
    """

    stream_error: float
    logit_error: float | None
    sum_error: float | None
    tolerance: float

    @property
    def passed(self) -> bool:
        """Whether both errors are within the tolerance."""
        return all(error <= self.tolerance for error in (self.stream_error, self.logit_error or 0.0))


@dataclass(frozen=True, eq=False)
class StreamTable:
    """The stream at P chosen positions of one text: C targets, N parts, B blocks, L layers.

    `stack`: the stack of attention whose stream it is ("decoder" of an encoder-decoder model). `positions`: of the tokens, in
        order.
    `task`: what the targets are: "next" tokens, "fill" (the token at this place), "label", or "" where the model predicts
        nothing.
    `blocks`: in the order in which they wrote. `parts`: the terms of the sum.
    `targets`: of each position, the C most probable, the first first, of which those that somebody named are never left out; empty
        without a prediction, and at every position but the one from which the label of the whole text is read.
    `logits`, `probabilities`: of these targets; zero where a position has none.
    `contributions`: of each part to each of these logits; they add up to it. A logit difference of two targets is the difference
        of their columns. None where they would not add up; `refused` says why, or why some positions have no targets.
    `lens_ids`, `lens_text`, `lens_probabilities`: the most probable token after the embedding and after each layer, by W_U ·
        norm_f(x) with the norm computed anew (logit lens, nostalgebraist 2020). None where there is none.
    `sizes`: ‖x‖ after the embedding and after each layer. `writes`: ‖what each block added‖. `turns`: the cosine between x before
        and after each block.
    `receipt`: whether these are the model's own numbers.
    """

    stack: str | None
    positions: tuple[int, ...]
    task: str
    blocks: tuple[StreamBlock, ...]
    parts: tuple[StreamPart, ...]
    targets: tuple[tuple[Target, ...], ...]
    logits: Float[Tensor, "P C"]
    probabilities: Float[Tensor, "P C"]
    contributions: Float[Tensor, "P N C"] | None
    lens_ids: Int[Tensor, "P L1"] | None
    lens_text: tuple[tuple[str, ...], ...]
    lens_probabilities: Float[Tensor, "P L1"] | None
    sizes: Float[Tensor, "P L1"]
    writes: Float[Tensor, "P B"]
    turns: Float[Tensor, "P B"]
    receipt: StreamReceipt
    refused: str = ""

    @property
    def nbytes(self) -> int:
        """Bytes of its numbers."""
        return sum(value.nbytes for value in vars(self).values() if isinstance(value, Tensor))

    @property
    def layers(self) -> int:
        """L: how many layers wrote into the stream."""
        return self.sizes.shape[1] - 1
