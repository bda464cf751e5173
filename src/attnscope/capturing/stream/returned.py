"""What a model returned of its stream: the logits, and the way from the last state to them."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor, nn

from attnscope.capturing.stream.layout import CAPPED, STREAM, Ref
from attnscope.tracing.frozen import Scale
from attnscope.tracing.stream import Head, Node, Returned

LOGIT_BYTES = 16_000_000  # of the model's own logits, which the receipt compares with
NO_LOGITS = (
    "this model returns no logits: load it with a head (task=…); of sentence embeddings, ask for trace.similarity(…)"
)
NOT_LINEAR = (
    "what this model returns is no linear function of its residual stream, even with its norms frozen: a function that bends "
    "stands between (the transform of a masked language model, the tanh of a pooler)"
)


def head_of(ref: Ref, last: Node, model: nn.Module, norms: Mapping[Node, tuple[str, Node]]) -> tuple[Head, Node]:
    """What makes logits, which `ref` is, out of the `last` state of a stream; and the node that the first linear layer takes. `norms`: of the
    nodes that a module returned, its path and what it was given."""
    cap = None
    if ref.flow == CAPPED:
        step = ref.node.inputs[0][1]
        cap = float(step.factor) if isinstance(step, Scale) and not isinstance(step.factor, Tensor) else None
    final = ref.node
    while final.flow != STREAM:
        final = final.inputs[0][0]
    normed = final
    while normed not in norms and normed is not last and len(normed.inputs) == 1:
        normed = normed.inputs[0][0]  # T5 scales what its norm returns
    path, before = norms.get(normed, ("", None))
    norm = model.get_submodule(path) if before is last else None
    return Head(ref.node, cap, norm, last, normed), final


def returned_by(
    output: Any,
    model: nn.Module,
    positions: Sequence[int] | None,
    length: int,
    causal: bool,
    picked: Int[Tensor, " B"] | None = None,
) -> Returned | None:
    """The logits in what the model returned. `positions`: which are kept; None: all. `length`: of the stream. `causal`: no token sees a later
    one. `picked`: the position in each row from which labels of the whole text are read."""
    logits = next((x for name, x in tensors_of(output) if name in ("logits", "prediction_logits")), None)
    if logits is None or logits.ndim not in (2, 3):
        return None
    config: Any = getattr(model, "config", None)
    names = getattr(config, "id2label", None) or {}
    config = config.get_text_config() if hasattr(config, "get_text_config") else config
    words = logits.shape[-1] == getattr(config, "vocab_size", None) or logits.shape[-1] > len(names)
    labels = () if words else tuple(str(names.get(i, i)) for i in range(logits.shape[-1]))
    if logits.ndim == 2:
        places = None
        if picked is not None:
            kept = [*range(length)] if positions is None else [*positions]
            places = tuple(kept.index(one) if one in kept else None for one in picked.tolist())
        return Returned("label", logits.detach().float().clone(), None, labels, places)
    if logits.shape[1] != length:
        return None
    kept = logits.detach() if positions is None else logits.detach()[:, list(positions)]
    most, count = max(1, LOGIT_BYTES // (kept[:, 0].numel() * 4)), kept.shape[1]
    rows = torch.arange(count) if count <= most else torch.linspace(0, count - 1, most).round().long().unique()
    task = "label" if not words else "next" if causal else "fill"
    return Returned(task, kept[:, rows.to(kept.device)].float().clone(), rows, labels)


def tensors_of(output: Any) -> list[tuple[str, Tensor]]:
    """What a model returned, by name."""
    if isinstance(output, Tensor):
        return [("", output)]
    items = output.items() if hasattr(output, "items") else ((str(i), one) for i, one in enumerate(output or ()))
    return [(name, one) for name, one in items if isinstance(one, Tensor) and one.is_floating_point()]


def is_made_of(node: Node, wanted: Node) -> bool:
    """Whether `wanted` is on the way to a node."""
    waiting, seen = [node], set()
    while waiting:
        one = waiting.pop()
        if one is wanted:
            return True
        if id(one) not in seen and one.serial > wanted.serial:
            seen.add(id(one))
            waiting += [before for before, _ in one.inputs]
    return False
