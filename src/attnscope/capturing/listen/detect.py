"""Does a model attend outside transformers' attention interface? Read from the code of its modules, before it runs.

The function mode turns torch's fused fast paths off while it is entered, so it is entered only where a module calls
scaled_dot_product_attention, nn.MultiheadAttention or a softmax by itself. A class that asks `get_interface` is
covered.
"""

import functools
import inspect
import re
from collections.abc import Iterator
from types import CodeType, FunctionType
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

CALLS = frozenset({"scaled_dot_product_attention", "multi_head_attention_forward"})
# A softmax where no mode looks: exp(score - logsumexp), and torch's flex_attention, which is compiled as it runs.
UNSEEN = frozenset({"logsumexp", "flex_attention"})
FUNCTIONS = (F.scaled_dot_product_attention, F.multi_head_attention_forward)
_FUNCTION_IDS = frozenset(map(id, FUNCTIONS))
SOFTMAX = (F.softmax, torch.softmax, torch.special.softmax)
HELPERS_DEEP = 3  # how far functions that a method calls are followed


def looks_like_attention(module: nn.Module) -> bool:
    """By its class name, because it is torch's own, or because its code asks for transformers' interface."""
    return _named_attention(type(module)) or attends_by_interface(module)


def attends_by_interface(module: nn.Module) -> bool:
    """Whether this module's own code asks for transformers' interface."""
    return "interface" in _uses(type(module))


@functools.cache
def _named_attention(kind: type) -> bool:
    name = kind.__name__.lower()
    # RobertaPreLayerNormSelfAttention attends; AttentionLayerNorm and BertAttentionOutput do not.
    return ("attention" in name or "attn" in name) and re.search(r"(norm\w{0,2}|output)$", name) is None


def attends_itself(module: nn.Module) -> bool:
    """Whether this module's own code seems to attend without the interface."""
    kind = type(module)
    if isinstance(module, nn.MultiheadAttention):
        return True
    used = _uses(kind)
    if "interface" in used:
        return False
    if "attention" in used or not _FUNCTION_IDS.isdisjoint(map(id, vars(module).values())):
        return True
    softmax = "softmax" in used or any(isinstance(child, nn.Softmax) for child in module._modules.values())
    # Transformers' own modules have softmaxes of many kinds (routers, samplers); a stranger's are few, and named freely.
    return softmax and (looks_like_attention(module) or not _from(kind, "transformers"))


def may_be_asked(module: nn.Module) -> bool:
    """Whether this is attention with layers of its own that calls nothing which is always seen: neither transformers' interface nor
    torch's attention, nor does a part of it; but it has a softmax."""
    if not _named_attention(type(module)) or isinstance(module, nn.MultiheadAttention):
        return False
    parts = [*module.modules()]
    layers = sum(isinstance(part, nn.Linear) for part in parts)
    return (
        layers > 1
        and not mixes_otherwise(module)
        and not any(_uses(type(part)) & {"interface", "attention"} for part in parts)
    )


def mixes_otherwise(module: nn.Module) -> bool:
    """Whether the code of this module and its parts has no softmax and asks nothing that has one: a recurrence, linear attention."""
    return not any(_uses(type(part)) or isinstance(part, nn.Softmax) for part in module.modules())


def makes_shares(module: nn.Module) -> bool:
    """Whether the code of this module or a part of it makes a softmax that nobody sees: by hand from logsumexp, or in flex_attention."""
    return any("shares" in _uses(type(part)) for part in module.modules())


_MIXERS = re.compile(r"mixer|mamba|ssm|recurren|rwkv|fourier|deltanet|hyena|retention|lstm|gru$|conv", re.IGNORECASE)


def mixer_names(model: nn.Module) -> list[str]:
    """The classes of a model that, by their names, mix tokens by other means than attention; those that hold others first
    of all, so convolutions last."""
    names = {type(module).__name__ for module in model.modules() if _MIXERS.search(type(module).__name__)}
    return sorted(names, key=lambda name: ("conv" in name.lower(), name))


@functools.cache
def _uses(kind: type) -> frozenset[str]:
    """Which of "interface", "attention", "softmax" and "shares" the methods of a class name, or the helpers that they call."""
    found: set[str] = set()
    for method in _methods(kind):
        found |= _named(method, HELPERS_DEEP)
    return frozenset(found)


def _methods(kind: type) -> Iterator[FunctionType]:
    """The methods that instances have, without those of torch and of transformers' base classes."""
    replaced: set[str] = set()
    for base in kind.__mro__:
        if (
            base is object
            or _from(base, "torch")
            or (_from(base, "transformers") and ".models." not in base.__module__)
        ):
            continue
        for name, value in vars(base).items():
            if isinstance(value, (staticmethod, classmethod)):
                value = value.__func__
            if name not in replaced and isinstance(value, FunctionType):
                if "super" not in _names(inspect.unwrap(value).__code__):  # else the one below runs as well
                    replaced.add(name)
                yield value


def _named(function: FunctionType, deep: int) -> set[str]:
    function = inspect.unwrap(function)  # type: ignore[assignment]
    names = set(_names(function.__code__)) if isinstance(function, FunctionType) else set[str]()
    found = {"attention"} if names & CALLS else set[str]()
    found |= {"interface"} if "get_interface" in names else set()
    found |= {"softmax"} if names & {"softmax", "Softmax"} else set()
    found |= {"shares"} if names & UNSEEN else set()
    for name in names:
        value: Any = function.__globals__.get(name)
        if any(value is one for one in FUNCTIONS):
            found.add("attention")
        elif any(value is one for one in SOFTMAX):
            found.add("softmax")
        elif deep and isinstance(value, type) and issubclass(value, torch.autograd.Function):
            found |= _named(value.forward, deep - 1)  # a softmax of its own, with a gradient
        elif deep and isinstance(value, FunctionType) and _is_followed(value, function):
            found |= _named(value, deep - 1)
    return found


def _is_followed(helper: FunctionType, caller: FunctionType) -> bool:
    """Helpers of torch and transformers are not looked into, but for what stands beside the model: its eager attention."""
    return helper.__module__ == caller.__module__ or not (_from(helper, "torch") or _from(helper, "transformers"))


def _names(code: CodeType) -> Iterator[str]:
    yield from (*code.co_names, *code.co_freevars)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)


def _from(value: Any, package: str) -> bool:
    return (getattr(value, "__module__", None) or "").split(".")[0] == package
