"""The same edits as attnscope.edit, written by hand: hooks on the linear layers of each architecture, found in its code."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from tiny_models import KINDS, VARIANTS


@dataclass(frozen=True)
class Layers:
    """Where a kind's layers are, with {i} for the number. `q`, `k`, `v`: (path, first output); `o`: of W_O; `attention`: the module that takes the mask."""

    attention: str
    q: tuple[str, int]
    k: tuple[str, int]
    v: tuple[str, int]
    o: str
    heads: int
    groups: int
    size: int
    stack: str | None = None


def _separate(base: str, names: str, heads: int, groups: int, size: int, o: str, stack: str | None = None) -> Layers:
    q, k, v = (f"{base}.{name}" for name in names.split())
    return Layers(base, (q, 0), (k, 0), (v, 0), o, heads, groups, size, stack)


_OF_LLAMA = "model.layers.{i}.self_attn"
_GPT2 = "transformer.h.{i}.attn"
_T5 = "encoder.block.{i}.layer.0.SelfAttention"
_T5_CROSS = "decoder.block.{i}.layer.1.EncDecAttention"
LAYERS = {
    "bert": _separate(
        "encoder.layer.{i}.attention.self", "query key value", 3, 3, 7, "encoder.layer.{i}.attention.output.dense"
    ),
    "gpt2": Layers(
        _GPT2, (f"{_GPT2}.c_attn", 0), (f"{_GPT2}.c_attn", 21), (f"{_GPT2}.c_attn", 42), f"{_GPT2}.c_proj", 3, 3, 7
    ),
    "llama": _separate(_OF_LLAMA, "q_proj k_proj v_proj", 6, 2, 10, f"{_OF_LLAMA}.o_proj"),
    "gemma2": _separate(_OF_LLAMA, "q_proj k_proj v_proj", 6, 2, 14, f"{_OF_LLAMA}.o_proj"),
    "olmo2": _separate(_OF_LLAMA, "q_proj k_proj v_proj", 6, 2, 10, f"{_OF_LLAMA}.o_proj"),
    "gpt_oss": _separate(_OF_LLAMA, "q_proj k_proj v_proj", 6, 2, 10, f"{_OF_LLAMA}.o_proj"),
    "t5": _separate(_T5, "q k v", 3, 3, 7, f"{_T5}.o", "encoder"),
    "t5 cross": _separate(_T5_CROSS, "q k v", 3, 3, 7, f"{_T5_CROSS}.o", "cross"),
}


@contextmanager
def hooks(*handles: Any) -> Iterator[None]:
    """Take the hooks off at the end."""
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def before_output(model: nn.Module, kind: str, layer: int, change: Callable[[Tensor], Tensor]) -> Any:
    """A hook that changes z, [B, T, H, Dv], before W_O takes it."""
    at = LAYERS[kind]

    def hook(module: nn.Module, args: Any) -> Any:
        z = args[0].unflatten(-1, (at.heads, -1)).clone()
        return (change(z).flatten(-2), *args[1:])

    return model.get_submodule(at.o.format(i=layer)).register_forward_pre_hook(hook)


def after_projection(model: nn.Module, kind: str, layer: int, link: str, change: Callable[[Tensor], Tensor]) -> Any:
    """A hook that changes what W_q, W_k or W_v make, [B, T, heads, D]."""
    at = LAYERS[kind]
    path, first = getattr(at, link)
    count = at.heads if link == "q" else at.groups

    def hook(module: nn.Module, args: Any, output: Tensor) -> Tensor:
        made = output.clone()
        stop = first + count * at.size
        made[..., first:stop] = change(made[..., first:stop].unflatten(-1, (count, -1)).clone()).flatten(-2)
        return made

    return model.get_submodule(path.format(i=layer)).register_forward_hook(hook)


def with_mask(model: nn.Module, kind: str, layer: int, head: int, pairs: Tensor) -> Any:
    """A hook that masks pairs, [Q, K], for one head, under eager attention."""
    at = LAYERS[kind]

    def hook(module: nn.Module, args: Any, kwargs: dict[str, Any]) -> Any:
        name = next((one for one in kwargs if "mask" in one), "attention_mask")
        if kwargs.get("position_bias") is not None:  # T5 adds it to the scores; in transformers 5.1 it holds the mask
            name = "position_bias"
        mask = kwargs.get(name)
        mask = torch.zeros(1, 1, *pairs.shape) if mask is None else mask
        mask = mask.expand(-1, at.heads, -1, -1).clone()
        mask[:, head].masked_fill_(pairs, torch.finfo(mask.dtype).min)
        return args, {**kwargs, name: mask}

    return model.get_submodule(at.attention.format(i=layer)).register_forward_pre_hook(hook, with_kwargs=True)


def made_by(model: nn.Module, kind: str, layer: int, link: str, run: Callable[[], Any]) -> Tensor:
    """What W_q, W_k or W_v make in a run, [T, heads, D]; of "o" what W_O takes."""
    found: list[Tensor] = []

    def keep(x: Tensor) -> Tensor:
        found.append(x[0].detach().clone())
        return x

    made = before_output(model, kind, layer, keep) if link == "o" else after_projection(model, kind, layer, link, keep)
    with hooks(made):
        run()
    return found[0]


def outputs(found: Any) -> Tensor:
    """What a model returned: logits, else its last hidden states."""
    return found.logits if getattr(found, "logits", None) is not None else found.last_hidden_state


def family(kind: str) -> Any:
    """The kind of tiny model of a row of `LAYERS`."""
    return (KINDS | VARIANTS)[kind.split()[0]]
