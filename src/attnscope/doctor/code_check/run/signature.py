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

_MASK = re.compile(r"mask|bias|keep|ignore|pad|adj|observed|valid|allowed|visible|exclude|block|attend|skip|edges|msk", re.IGNORECASE)  # fmt: skip
_NOT_MASK = re.compile(r"drop|scal|softcap|sink|generator|rng|head|past|cache|rot|freq|pos|dim|temp|return|need|need_|causal|train|cos|sin|theta|eps|weights|output|layer|context|memory|encoder|source", re.IGNORECASE)  # fmt: skip
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
        raise InputError(f"{what} takes two arguments ({', '.join(p.name for p in parameters)}); (query, key, value) were expected. Let it take the values and return their weighted sum.")  # fmt: skip
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
        parameters = [p for p in inspect.signature(fn).parameters.values() if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]  # fmt: skip
    except (TypeError, ValueError):
        return Call(3)
    if not parameters and any(p.kind == p.VAR_POSITIONAL for p in inspect.signature(fn).parameters.values()):
        return Call(3)
    required = [p for p in parameters if p.default is p.empty and p.kind != p.KEYWORD_ONLY]
    tensors = [p for p in required if not (_MASK.search(p.name) or _NOT_MASK.search(p.name)) or role_of(p.name) in ("q", "k", "v") or re.search(r"context|memory|encoder|source", p.name)]  # fmt: skip
    roles = [role_of(re.sub(r"\d+$", "", p.name.split("_")[-1])) or role_of(p.name) for p in parameters[:3]]
    order, inputs = (0, 1, 2), min(len(tensors), 3)
    if sorted(str(r) for r in roles) == ["k", "q", "v"]:
        inputs, order = 3, tuple("qkv".index(str(r)) for r in roles)
    if len(tensors) > 3 and any(re.match(r"w_?[qkv]", p.name, re.IGNORECASE) for p in tensors[1:]):
        raise InputError(f"{what} takes its weight matrices as arguments ({', '.join(p.name for p in tensors)}); check wants a function of query, key, value or a module. Wrap it: check(lambda q, k, v: …).")  # fmt: skip
    if inputs == 0:
        if not parameters:
            raise InputError(f"{what} takes no arguments; check wants a function of (query, key, value[, mask]) or a module of (x).")  # fmt: skip
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
        elif re.search(r"^(n_?|num_?)?heads?$|^h$|n_?heads|num_?heads|^nhead", p.name, re.IGNORECASE) and "kv" not in p.name:  # fmt: skip
            heads_name = p.name
        elif (must or p.default is None) and (_MASK.search(p.name) or not _NOT_MASK.search(p.name)) and not re.search(r"return|dropout|context|memory|encoder", p.name):  # fmt: skip
            masks.append(p.name)
            needs = needs or must
        elif must:
            fixed[p.name] = _guess(p.name, what)
    return Call(inputs, order, tuple(masks), flag, heads_name, fixed, needs, sinks_name)


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
    raise InputError(f"check does not know what to pass for {what}'s argument {name!r}; give it a default, or wrap it: check(lambda q, k, v: …).")  # fmt: skip
