"""What a signature says: which parameters take q, k, v, which a mask, and what the others get."""

import functools
import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from attnscope.doctor.code_check.run import probes
from attnscope.doctor.code_check.run.parameters import role_of
from attnscope.errors import InputError

_MASK = re.compile(
    r"mask|bias|keep|ignore|pad|adj|observed|valid|allowed|visible|exclude|block|attend|skip|edges|msk",
    re.IGNORECASE,
)
_NOT_MASK = re.compile(
    r"drop|scal|softcap|sink|generator|rng|head|past|cache|rot|freq|pos|dim|temp|return|need|need_|causal|train|cos|sin"
    r"|theta|eps|weights|output|layer|context|memory|encoder|source",
    re.IGNORECASE,
)
_MEMORY = re.compile(r"context|memory|encoder|source")  # what keys and values are made of, in cross-attention
_HEADS = re.compile(r"^(n_?|num_?)?heads?$|^h$|n_?heads|num_?heads|^nhead", re.IGNORECASE)
_CAUSAL = re.compile(r"^(is_?)?(causal|autoregressive|masked|use_causal(_mask)?|causal_mask(ing)?)$", re.IGNORECASE)


@dataclass(frozen=True)
class Call:
    """What a signature says: which parameters take q, k, v, and what the others get."""

    inputs: int  # 1: x; 2: x and memory; 3: query, key, value
    order: tuple[int, ...] = (0, 1, 2)
    masks: tuple[str, ...] = ()
    causal_flag: str | None = None
    heads_name: str | None = None
    fixed: dict[str, Any] = field(default_factory=dict)
    needs_mask: bool = False
    sinks_name: str | None = None


def by_position(fn: Callable, what: str) -> Callable:
    """A function that takes query, key and value by keyword only, as one that takes them by position; others as they are.
    Raises InputError for a function of a query and a key alone."""
    try:
        signature = inspect.signature(fn)
    except (TypeError, ValueError):
        return fn
    parameters = list(signature.parameters.values())
    roles = [role_of(p.name) for p in parameters]
    if len(parameters) == 2 and sorted(str(r) for r in roles) == ["k", "q"]:
        raise InputError(
            f"{what} takes two arguments ({_names(parameters)}); (query, key, value) were expected. Let it take the values "
            "and return their weighted sum."
        )
    named = [p for p, role in zip(parameters, roles, strict=True) if role in ("q", "k", "v")]
    if len(named) != 3 or any(p.kind != p.KEYWORD_ONLY for p in parameters):
        return fn

    @functools.wraps(fn)
    def called(*args: Any, **kwargs: Any) -> Any:
        return fn(**dict(zip([p.name for p in named], args, strict=False)), **kwargs)

    moved = [p.replace(kind=p.POSITIONAL_OR_KEYWORD, default=p.empty) for p in named]
    called.__signature__ = signature.replace(parameters=[*moved, *(p for p in parameters if p not in named)])  # type: ignore[attr-defined]
    return called


def read_signature(fn: Callable, what: str) -> Call:
    """From names and defaults. Raises InputError for an argument that nothing tells how to fill."""
    if getattr(fn, "__name__", "") == "scaled_dot_product_attention" and not inspect.isfunction(fn):
        return Call(3, masks=("attn_mask",), causal_flag="is_causal")
    try:
        every = list(inspect.signature(fn).parameters.values())
    except (TypeError, ValueError):
        return Call(3)
    parameters = [p for p in every if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    if not parameters and any(p.kind == p.VAR_POSITIONAL for p in every):
        return Call(3)
    required = [p for p in parameters if p.default is p.empty and p.kind != p.KEYWORD_ONLY]
    tensors = [p for p in required if _is_tensor(p.name)]
    roles = [role_of(re.sub(r"\d+$", "", p.name.split("_")[-1])) or role_of(p.name) for p in parameters[:3]]
    order, inputs = (0, 1, 2), min(len(tensors), 3)
    if sorted(str(r) for r in roles) == ["k", "q", "v"]:
        inputs, order = 3, tuple("qkv".index(str(r)) for r in roles)
    if len(tensors) > 3 and any(re.match(r"w_?[qkv]", p.name, re.IGNORECASE) for p in tensors[1:]):
        raise InputError(
            f"{what} takes its weight matrices as arguments ({_names(tensors)}); check wants a function of query, key, value "
            "or a module. Wrap it: check(lambda q, k, v: …)."
        )
    if inputs == 0:
        if not parameters:
            raise InputError(
                f"{what} takes no arguments; check wants a function of (query, key, value[, mask]) or a module of (x)."
            )
        inputs = 1
    masks, fixed, flag, heads_name, needs, sinks_name = [], {}, None, None, False, None
    for p in parameters[inputs:]:
        must = p.default is p.empty
        if _CAUSAL.match(p.name):
            flag = p.name
            if must:
                fixed[p.name] = False
        elif "sink" in p.name.lower():
            sinks_name = p.name
        elif _HEADS.search(p.name) and "kv" not in p.name:
            heads_name = p.name
        elif (must or p.default is None) and _is_mask(p.name):
            masks.append(p.name)
            needs = needs or must
        elif must:
            fixed[p.name] = _guess(p.name, what)
    return Call(inputs, order, tuple(masks), flag, heads_name, fixed, needs, sinks_name)


def _names(parameters: list[inspect.Parameter]) -> str:
    return ", ".join(p.name for p in parameters)


def _is_tensor(name: str) -> bool:
    """Whether a required parameter of this name is one of q, k, v or what they are made of."""
    other = _MASK.search(name) or _NOT_MASK.search(name)
    return not other or role_of(name) in ("q", "k", "v") or _MEMORY.search(name) is not None


def _is_mask(name: str) -> bool:
    named = _MASK.search(name) or not _NOT_MASK.search(name)
    return bool(named) and not re.search(r"return|dropout|context|memory|encoder", name)


def _guess(name: str, what: str) -> Any:
    low = name.lower()
    if re.search("drop|^p$", low):
        return 0.0 if "rate" in low or low == "p" or low.endswith("_p") else None
    if re.search(r"^d_?k$|dim|size|^d$", low):
        return probes.SIZE
    if "scal" in low or "temp" in low:
        return probes.SIZE**-0.5 if "scal" in low else probes.SIZE**0.5
    if "train" in low or "return" in low or "need" in low:
        return False
    raise InputError(
        f"check does not know what to pass for {what}'s argument {name!r}; give it a default, or wrap it: "
        "check(lambda q, k, v: …)."
    )
