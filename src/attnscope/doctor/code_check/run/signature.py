"""What a signature says: which parameters take q, k, v, which a mask, and what the others get."""

import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from attnscope.doctor.code_check.run.filling import GUESSES, kinds_of, sides_in
from attnscope.doctor.code_check.run.parameters import TURNED, input_role, role_of
from attnscope.errors import InputError

_MASK = re.compile(
    r"mask|bias|keep|ignore|pad|adj|observed|valid|allowed|visible|exclude|block|attend|skip|edges|msk|lens$|lengths$",
    re.IGNORECASE,
)
_NOT_MASK = re.compile(
    r"drop|scal|softcap|sink|generator|rng|head|past|cache|rot|freq|pos|dim|temp|return|need|need_|causal|train|cos|sin"
    r"|theta|eps|weights|output|layer|context|memory|encoder|source|^d_?[kqv]?$|size|^p$",
    re.IGNORECASE,
)
_MEMORY = re.compile(
    r"context|memory|encoder|source|key_value|^kv$|^cond(itioning)?$", re.IGNORECASE
)  # of keys and values
_OF_MEMORY = re.compile(  # a mask of keys and values from elsewhere
    r"(context|memory|encoder|source|src|enc)\w*_(mask|padding|lens|lengths)$|^(mask|padding)_(context|memory|encoder)",
    re.IGNORECASE,
)
_HEADS = re.compile(r"^(n_?|num_?)?heads?$|^h$|n_?heads|num_?heads|^nhead", re.IGNORECASE)
_CAUSAL = re.compile(r"^(is_?)?(causal|autoregressive|masked|use_causal(_mask)?|causal_mask(ing)?)$", re.IGNORECASE)


@dataclass(frozen=True)
class Call:
    """What a signature says: which parameters take q, k, v, and what the others get."""

    inputs: int  # 1: x; 2: x and memory; 3: query, key, value
    order: tuple[int, ...] = (0, 1, 2)
    names: tuple[str | None, ...] = (None, None, None)  # of inputs that are passed by name, in the code's order
    masks: tuple[str, ...] = ()
    causal_flag: str | None = None
    heads_name: str | None = None
    fixed: dict[str, Any] = field(default_factory=dict)
    fills: dict[str, tuple[str, ...]] = field(default_factory=dict)  # parameters, and the kinds of values to try
    guessed: tuple[str, ...] = ()  # those among them whose names say nothing
    needs_mask: bool = False
    needed_masks: tuple[str, ...] = ()  # all that it must have
    sinks_name: str | None = None
    needs_sinks: bool = False
    memory: str | None = None  # a parameter with a default that keys and values may come from
    turned: bool = False  # whether keys are passed as (size, length)

    def across(self) -> "Call | None":
        """The same code with keys and values from a sequence of their own, where it has a parameter for that."""
        if self.memory is None or self.inputs != 1:
            return None
        masks = tuple(name for name in self.masks if name != self.memory)
        return replace(self, inputs=2, names=(self.names[0], self.memory, None), masks=masks)


def read_signature(fn: Callable, what: str, projects: bool = False) -> Call:
    """From names and defaults. `projects`: whether it has projections of its own, so that keys may be values too. Raises InputError for code that takes nothing, a query and a key alone, or bare weights."""
    if getattr(fn, "__name__", "") == "scaled_dot_product_attention" and not inspect.isfunction(fn):
        return Call(3, masks=("attn_mask",), causal_flag="is_causal")
    try:
        every = list(inspect.signature(fn).parameters.values())
    except (TypeError, ValueError):
        return Call(3)
    parameters = [p for p in every if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    sides = sides_in([p.name for p in parameters[1:] if p.default is p.empty or p.default is None])
    parameters = [p for p in parameters if p.name not in sides]
    if not parameters and any(p.kind == p.VAR_POSITIONAL for p in every):
        return Call(3)
    if not parameters:
        raise InputError(
            f"{what} takes no arguments; check wants a function of (query, key, value[, mask]) or a module of (x)."
        )
    roles = [input_role(p.name) for p in parameters]
    if len(parameters) == 2 and sorted(map(str, roles)) == ["k", "q"] and not projects:
        raise InputError(
            f"{what} takes two arguments ({_names(parameters)}); (query, key, value) were expected. Let it take the values "
            "and return their weighted sum."
        )
    first = _inputs(parameters, roles)
    order: tuple[int, ...] = (0, 1, 2)
    if len(first) == 3 and sorted(map(str, map(roles.__getitem__, first))) == ["k", "q", "v"]:
        order = tuple("qkv".index(str(roles[i])) for i in first)
    taken = [parameters[i] for i in first]
    in_front = first == list(range(len(first)))
    names = tuple(None if in_front and p.kind != p.KEYWORD_ONLY else p.name for p in taken)
    turned = any(TURNED.match(p.name) for p in taken)
    others = [p for p in parameters if p not in taken]
    call = _others(Call(len(first), order, (*names, None, None, None)[:3], turned=turned), others)
    return replace(call, fills=call.fills | {name: (kind,) for name, kind in sides.items()})


def _inputs(parameters: list[inspect.Parameter], roles: list[str | None]) -> list[int]:
    """The places of the parameters that take q, k and v, or what they are made of."""
    named = [i for i, role in enumerate(roles) if role in ("q", "k", "v")]
    if sorted(str(roles[i]) for i in named) == ["k", "q", "v"]:
        return named
    required = [i for i, p in enumerate(parameters) if p.default is p.empty]
    positional = [i for i in required if parameters[i].kind != inspect.Parameter.KEYWORD_ONLY]
    tensors = [i for i in positional if _is_tensor(parameters[i].name)][:3]
    second = parameters[tensors[1]].name if len(tensors) == 2 else ""
    if second and not _MEMORY.search(second) and kinds_of(second, True) is not None:
        tensors = tensors[:1]  # positions, say, that are added to x
    return tensors or required[:1] or [0]


def _others(call: Call, parameters: list[inspect.Parameter]) -> Call:
    """The call with what every other parameter gets."""
    masks: list[str] = []
    more: dict[str, Any] = {}
    fixed, fills, guessed = {}, {}, []
    for p in parameters:
        must = p.default is p.empty
        kinds = kinds_of(p.name, must)
        if _CAUSAL.match(p.name):
            more["causal_flag"] = p.name
            fixed |= {p.name: False} if must else {}
        elif "sink" in p.name.lower():
            more |= {"sinks_name": p.name, "needs_sinks": must}
        elif _HEADS.search(p.name) and "kv" not in p.name:
            more["heads_name"] = p.name
        elif kinds is not None:
            fills[p.name] = kinds
        elif (must or p.default is None) and _MEMORY.search(p.name) and not re.search("mask|bias|len", p.name):
            more.setdefault("memory", p.name)
            fixed |= {p.name: None} if must else {}
        elif must and _OF_MEMORY.search(p.name) and (call.inputs == 1 or more.get("needs_mask")):
            fills[p.name] = GUESSES
            guessed.append(p.name)
        elif not must and _OF_MEMORY.search(p.name) and call.inputs == 1:
            continue  # of keys and values that may come from elsewhere, and do not
        elif (must or p.default is None) and _is_mask(p.name):
            masks.append(p.name)
            guessed += [p.name] if must and not _MASK.search(p.name) else []
            more["needs_mask"] = more.get("needs_mask", False) or must
            more["needed_masks"] = (*more.get("needed_masks", ()), *[p.name] * must)
        elif must:
            fills[p.name] = GUESSES
            guessed.append(p.name)
    return replace(call, masks=tuple(masks), fixed=fixed, fills=fills, guessed=tuple(guessed), **more)


def _names(parameters: list[inspect.Parameter]) -> str:
    return ", ".join(p.name for p in parameters)


def _is_tensor(name: str) -> bool:
    """Whether a required parameter of this name is one of q, k, v or what they are made of."""
    if _OF_MEMORY.search(name):
        return False
    other = _MASK.search(name) or _NOT_MASK.search(name)
    return not other or role_of(name) in ("q", "k", "v") or _MEMORY.search(name) is not None


def _is_mask(name: str) -> bool:
    named = _MASK.search(name) or not _NOT_MASK.search(name)
    other = r"return|dropout|head_?mask" + ("" if _OF_MEMORY.search(name) else "|context|memory|encoder")
    return bool(named) and not re.search(other, name)
