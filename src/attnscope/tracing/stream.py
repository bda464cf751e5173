"""Stream: the residual stream of one stack as it was put together, from the first block's input to what it predicts.

A `Node` is a number array of the forward pass that is a linear function of others, with every norm and gate on the way frozen
at its value (attnscope.tracing.frozen). Its `leaves` are what the stream is the sum of: the embedding, what each head made before
W_O, what each MLP wrote, biases. `attnscope.predictions` computes with it; `attnscope.capturing` records it.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from attnscope.attention.precision import without_autocast
from attnscope.tracing.frozen import Cut, FrozenStep

NO_STREAM = "The residual stream"  # begins the note of a trace that says why it has none


@dataclass(frozen=True)
class Label:
    """What a leaf is. `kind`: "embedding", "heads" (the z of an attention, [H, Dv]), "attention" (what one wrote, whole), "mlp" or
    "bias". `layer`: of the block that it belongs to; None for what is of none. `cross`: of attention to another text. `path`: of the
    module that made it. `call`: which call of that module. `shared`: a bias of the layer that no block wrote, as of a norm
    of the stream."""

    kind: str
    layer: int | None = None
    cross: bool = False
    path: str = ""
    call: int = 0
    shared: bool = False

    @property
    def block(self) -> tuple[int, str] | None:
        """(layer, "attention", "cross" or "mlp"); None for what is of no block."""
        if self.layer is None or self.kind == "embedding" or self.shared:
            return None
        if self.kind == "mlp":
            return self.layer, "mlp"
        return self.layer, "cross" if self.cross else "attention"

    def as_bias(self) -> "Label":
        """Of a bias that is added where this is made."""
        return replace(self, kind="bias")


@dataclass(eq=False)
class Node:
    """An array on the way. `serial`: later ones have larger numbers. `width`: its axes behind batch and position.
    `flow`: "stream" of the stream or a norm of it.
    `inputs`: what it is the sum of, each after a step (None: as it is). A leaf has none, but a `value`, [B or 1, P or 1, *W], and
    a `label`. `seen`: what the model had there, for the receipt."""

    serial: int
    width: tuple[int, ...]
    inputs: tuple[tuple["Node", FrozenStep | None], ...] = ()
    value: Tensor | None = field(default=None, repr=False)
    label: Label | None = None
    seen: Tensor | None = field(default=None, repr=False)
    flow: str = ""


@dataclass(frozen=True, eq=False)
class Join:
    """Where something was added to the stream. `before`: the stream. `written`: what was added. `after`: the stream with it."""

    before: Node
    written: Node
    after: Node


@dataclass(frozen=True, eq=False)
class Head:
    """What makes logits out of the stream's last state.

    `logits`: the node of the logits before a cap. `cap`: softcap · tanh(logit / softcap) follows; None: nothing does. `norm`: the model's own final norm, None without one. `last`: the stream's last state, which it
    takes. `normed`: what it returned; without one the last state too.
    """

    logits: Node
    cap: float | None
    norm: Callable[[Tensor], Tensor] | None
    last: Node
    normed: Node


@dataclass(frozen=True, eq=False)
class Returned:
    """The logits that the model returned. `task`: "next" tokens, "fill" (the token at a place) or "label". `logits`: [B, R, V] at
    `rows` of the kept positions, or [B, V] of the whole text, with `rows` None. `names`: of the labels. `places`: of the whole text, in each row
    which of the kept positions it is read from by a linear layer (None: one that was not kept); None where it is not read from one."""

    task: str
    logits: Float[Tensor, "B ... V"]
    rows: Int[Tensor, " R"] | None
    names: tuple[str, ...] = ()
    places: tuple[int | None, ...] | None = None


@dataclass(frozen=True, eq=False)
class Stream:
    """The stream of one stack, at some positions.

    `stack`: as of a Site. `path`: of the list of its blocks. `positions`: of the tokens, P of them. `states`: the stream before
    the first block and after each. `joins`: what was added, in order. `head`: what predicts from it; None without one, and
    `no_head` says why. `returned`: the model's own logits. `final`: the last node of the stream that the model returned, after a final norm; the last state
    where that is not known. `dtype`: the model's. `row`: of the batch. `attended`: what enters attention, (q, k, v) by (path, call); None for
    what could not be followed.
    `tokenizer`: spells what it predicts; None: ids are all that is known.
    """

    stack: str | None
    path: str
    positions: tuple[int, ...]
    states: tuple[Node, ...]
    joins: tuple[Join, ...]
    final: Node
    head: Head | None
    no_head: str
    returned: Returned | None
    dtype: torch.dtype
    row: int = 0
    attended: Mapping[tuple[str, int], tuple[Node | None, Node | None, Node | None]] = field(
        default_factory=dict, repr=False
    )
    tokenizer: Any = field(default=None, repr=False)

    @property
    def layers(self) -> int:
        """L: how many blocks ran."""
        return len(self.states) - 1

    @property
    def device(self) -> torch.device:
        """Where its numbers are."""
        first = self.states[0].value
        return torch.device("cpu") if first is None else first.device

    @property
    def nbytes(self) -> int:
        """Bytes that it keeps; the model's parameters do not count."""
        nodes = reached(
            [self.final, *self.states, *(node for given in self.attended.values() for node in given if node)]
        )
        factors = [getattr(step, "factor", None) for node in nodes for _, step in node.inputs]
        several = [t for node in nodes for t in (node.value, node.seen)] + factors
        kept = {id(t): t for t in several if isinstance(t, Tensor)}
        return sum(t.nbytes for t in kept.values())

    def leaves(self, root: Node | None = None) -> list[Node]:
        """What `root` (None: the final state) is the sum of, in the order in which it was made."""
        return [node for node in reached([root or self.final]) if node.label is not None]

    def cut(self, positions: Sequence[int] | None = None) -> Cut:
        """The view of its frozen tensors at these tokens; None: all that it has."""
        return Cut(self.row, None if positions is None else tuple(self.positions.index(one) for one in positions))


def spelled_by(streams: Sequence[Stream], tokenizer: Any) -> tuple[Stream, ...]:
    """The same, with a `tokenizer` that spells what they predict."""
    return tuple(replace(stream, tokenizer=tokenizer) for stream in streams)


def reached(roots: Collection[Node]) -> list[Node]:
    """Every node that these are made of, themselves too, the first made first."""
    found: dict[int, Node] = {}
    waiting = list(roots)
    while waiting:
        node = waiting.pop()
        if id(node) not in found:
            found[id(node)] = node
            waiting += [before for before, _ in node.inputs]
    return sorted(found.values(), key=lambda node: node.serial)


def forward(root: Node, cut: Cut, given: Mapping[Node, Tensor] | None = None) -> Tensor:
    """The node's numbers, [..., P, *W], computed from its leaves. `given`: other numbers for some leaves; those that are not in
    it then count as zero."""
    found = values([root], cut, given).get(root)
    return torch.zeros(1, *root.width) if found is None else found


@without_autocast
def values(roots: Collection[Node], cut: Cut, given: Mapping[Node, Tensor] | None = None) -> dict[Node, Tensor]:
    """The numbers of all nodes that `roots` are made of, computed from the leaves; `given` as in `forward`: what is zero is left
    out."""
    made: dict[Node, Tensor] = {}
    for node in reached(roots):
        if node.label is not None and given is not None:
            if node in given:
                made[node] = given[node]
        elif node.value is not None:
            made[node] = cut(node.value)
        else:
            terms = [
                made[before] if step is None else step.forward(made[before], cut)
                for before, step in node.inputs
                if before in made
            ]
            if terms:
                made[node] = sum(terms[1:], start=terms[0])
    return made


@without_autocast
def back(root: Node, g: Tensor, cut: Cut, until: Node | None = None) -> dict[Node, Tensor]:
    """Of each node that `root` is made of the gradient, [..., P, *W], of ⟨root, g⟩: what a leaf adds to it is ⟨leaf, gradient⟩.

    `g`: [..., P, *W of the root]. `until`: a node behind which nobody asks; None: the leaves."""
    found: dict[Node, Tensor] = {root: g}
    for node in reversed(reached([root])):
        if (own := found.get(node)) is None or node is until:
            continue
        for before, step in node.inputs:
            gradient = own if step is None else step.back(own, cut)
            found[before] = found[before] + gradient if before in found else gradient
    return found
