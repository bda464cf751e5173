"""The linear readout: what a vector in the stream adds to logit(target) - logit(against), with every norm frozen.

Of x_L, the stream's last state, logits = W_U · norm_f(x_L) + b_U. With the scale σ of norm_f held at the value that it has at
x_L, a part p of x_L adds

    ((p - mean p) · γ / σ(x_L)) · (u_target - u_against)        (no mean for RMSNorm)

and β · (u_target - u_against) and the difference of b_U are parts of their own (Elhage et al. 2021, "A mathematical framework for
transformer circuits"; McGrath et al. 2023, arXiv 2307.15771). Any further norm, scale or gate that a part passes on its way is
frozen too: the block's own norm in Gemma 2 and OLMo 2, each LayerNorm of a post-LN model. A cap on the logits is not
linear: what is read is the logit before it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from attnscope.errors import NotCaptured
from attnscope.predictions.streams import head_of
from attnscope.tracing.frozen import FrozenStep, Linear, Scale
from attnscope.tracing.stream import Node, Stream, back


@dataclass(frozen=True, eq=False)
class Readout:
    """What each place of the stream is read with, for C readings (targets, or differences of targets) at each of P positions.

    `stream`: whose. `positions`: of the tokens. `gradients`: of every node of the stream, [C, P, *W]. `behind`: what the leaves behind
    the final state add (the unembedding bias), [C, P] each.
    """

    stream: Stream
    positions: tuple[int, ...]
    gradients: dict[Node, Tensor]
    behind: dict[Node, Tensor]

    @property
    def leaves(self) -> list[Node]:
        """The parts that add up to what is read, in the order in which they were made."""
        within = (node for node in self.gradients if node.label is not None)
        return [*sorted(within, key=lambda node: node.serial), *self.behind]

    def of_leaf(self, leaf: Node) -> Float[Tensor, "C P *H"]:
        """What a leaf adds to each reading; of the z of an attention, what each head adds."""
        if leaf in self.behind:
            return self.behind[leaf]
        assert leaf.value is not None
        return (self.gradients[leaf] * self.stream.cut(self.positions)(leaf.value)).sum(-1)

    def of_z(self, layer: int, z: Float[Tensor, "*n H Dv"], cross: bool = False) -> Float[Tensor, "C *n"]:
        """What z of all heads of a layer's attention, or a change of it, adds to each reading.

        `layer`: from 0. `cross`: of the attention to another text. `z`: [*n, H, Dv], any axes in front. Raises NotCaptured where
        that attention is not on the way.
        """
        gradient = self.gradients[self.heads(layer, cross)][:, 0].to(z.device)
        return torch.einsum("...hd,chd->c...", z.float(), gradient)

    def of_write(self, layer: int, write: Float[Tensor, "*n M"], kind: str = "attention") -> Float[Tensor, "C *n"]:
        """What a vector adds to each reading if a block of this layer writes it, before a norm of its own.

        `layer`: from 0. `write`: [*n, M], any axes in front: of a head what z · W_O[h] gives, or a change of it. `kind`: "attention", "cross"
        or "mlp". Raises NotCaptured where that block is not on the way.
        """
        gradient = self.gradients[self.written(layer, kind)][:, 0].to(write.device)
        return torch.einsum("...m,cm->c...", write.float(), gradient)

    def heads(self, layer: int, cross: bool = False) -> Node:
        """The z of a layer's attention."""
        return self._find(layer, "cross" if cross else "attention", "heads")

    def written(self, layer: int, kind: str = "attention") -> Node:
        """What a block of a layer wrote, before a norm of its own: the first vector through which all of it goes."""
        leaf = self._find(layer, kind, "mlp" if kind == "mlp" else "heads", "attention")
        if leaf.label is not None and leaf.label.kind != "heads":
            return leaf
        width = self.stream.states[0].width
        after = sorted((node for node in self.gradients if node.serial > leaf.serial), key=lambda node: node.serial)
        made = {leaf}
        for node in after:  # the first that every way from z goes through
            if any(before in made for before, _ in node.inputs):
                made.add(node)
                later = {before for other in after if other.serial > node.serial for before, _ in other.inputs}
                if node.width == width and made & later <= {node}:
                    return node
        raise NotCaptured(f"what the {kind} of layer {layer} wrote could not be told apart from other parts.")

    def _find(self, layer: int, block: str, *kinds: str) -> Node:
        for leaf in self.leaves:
            label = leaf.label
            if label is not None and label.block == (layer, block) and label.kind in kinds:
                return leaf
        raise NotCaptured(
            f"layer {layer} has no {block} in this stream: it has layers 0 to {self.stream.layers - 1}, with "
            f"{', '.join(sorted({leaf.label.block[1] for leaf in self.leaves if leaf.label and leaf.label.block}))}."
        )


def readout(
    stream: Stream,
    position: int | Sequence[int],
    targets: Sequence[Any],
    against: Sequence[int] | None = None,
) -> Readout:
    """How the logits of `targets` are read from the stream, before a cap.

    `position`: of the token at which the prediction stands; or several, and then `targets` holds a list for each.
    `targets`: ids of tokens or labels, C of them. `against`: for each, what its logit is compared with; None: nothing.

    Raises NotCaptured for a model without a head that is linear, CaptureError where the receipt of the stream fails.
    """
    head = head_of(stream)
    positions = (position,) if isinstance(position, int) else tuple(position)
    rows = [targets] if isinstance(position, int) else targets
    reading = torch.eye(len(rows[0]), device=stream.device)[:, None]
    if against is not None:
        reading = torch.cat([reading, -reading], -1)
    final, behind = [], {}
    for one, ids in zip(positions, rows, strict=True):
        root, cut = narrowed(head.logits, [*ids, *(against or ())], stream.final), stream.cut([one])
        found = back(root, reading, cut, until=stream.final)
        final.append(found.pop(stream.final))
        leaves = sorted((node for node in found if node.label is not None), key=lambda node: node.serial)
        for place, leaf in enumerate(leaves):
            assert leaf.value is not None
            behind.setdefault(place, []).append((leaf, (found[leaf] * cut(leaf.value)).sum(-1)))
    sums = {several[0][0]: torch.cat([term for _, term in several], 1) for several in behind.values()}
    return Readout(stream, positions, back(stream.final, torch.cat(final, 1), stream.cut(positions)), sums)


def narrowed(node: Node, ids: Sequence[int], final: Node) -> Node:
    """The logits of some `ids` alone, in their order: the same steps from the `final` state, with the rows of W_U that are theirs."""
    if node is final:
        return node
    chosen = torch.as_tensor(ids)
    if node.label is not None:
        assert node.value is not None
        return replace(node, width=(len(ids),), value=node.value[..., chosen.to(node.value.device)])
    inputs: list[tuple[Node, FrozenStep | None]] = []
    for before, step in node.inputs:
        if isinstance(step, Linear):
            inputs.append((before, Linear(step.rows(ids))))
        else:
            wide = (
                isinstance(step, Scale)
                and isinstance(step.factor, Tensor)
                and step.factor.shape[-1] == node.width[-1] > 1
            )
            kept = Scale(step.factor[..., chosen.to(step.factor.device)]) if wide else step  # type: ignore[union-attr, index]
            inputs.append((narrowed(before, ids, final), kept))
    return replace(node, width=(len(ids),), inputs=tuple(inputs))
