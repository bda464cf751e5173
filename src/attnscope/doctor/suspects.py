"""How to call somebody's function or module, found from its signature and by trying.

A `Suspect` is one way of calling: it turns canonical q, k, v into the arguments the user's code wants, and what comes
back into (output, weights). Where several ways are possible, several suspects are tried, and the one that agrees with
the reference, or with a known mistake, was right.
"""

import copy
import inspect
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from attnscope.doctor import probes
from attnscope.doctor.projections import Projections, candidates, numbers_in, role_of
from attnscope.doctor.recipe import Operands
from attnscope.doctor.trial import Outcome, run, source_of
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


@dataclass(frozen=True)
class Reading:
    """One run, understood: output as the recipes give it, weights [B, H, Q, K] where they came back."""

    outcome: Outcome
    output: Tensor | None = None
    weights: Tensor | None = None
    wrong: str = ""  # the shape that came instead


@dataclass(frozen=True)
class Suspect:
    """One way of calling the user's code."""

    fn: Callable
    call: Call
    layout: str
    shape: str  # of the scores, in words, as the user sees them
    queries_dim: int  # the axis of queries in them
    heads: int = 1
    kv_heads: int = 1
    projections: Projections | None = None
    widths: tuple[int, int, int] = (0, 0, 0)
    flat: bool = False
    size: int = probes.SIZE
    spread: float = 1.0
    batch: int = probes.BATCH
    permit: tuple[str, str] | None = None  # the form and kind of the mask that permits all, where one must be passed

    def inputs(self, name: str, queries: int, keys: int | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Canonical q, k, v: [B, H, T, D], or [B, T, width] where heads are split by the user's code. Without `keys`:
        self-attention, of the same length; and of the same tokens where the user's code takes one sequence."""
        lengths = (queries, keys or queries, keys or queries)
        if self.flat:
            made = [self.spread * probes.gaussian(f"{name}{i}", self.batch, t, w) for i, (t, w) in enumerate(zip(lengths, self.widths, strict=True))]  # fmt: skip
        else:
            heads = (self.heads, self.kv_heads, self.kv_heads)
            made = [probes.gaussian(f"{name}{i}", self.batch, h, t, self.size) for i, (h, t) in enumerate(zip(heads, lengths, strict=True))]  # fmt: skip
        if self.call.inputs < 3:
            made[2] = made[1]
        return (made[0],) * 3 if self.call.inputs == 1 else tuple(made)  # type: ignore[return-value]

    def operands(self, inputs: tuple[Tensor, Tensor, Tensor], sinks: Tensor | None = None, order: str = "head-major") -> Operands:  # fmt: skip
        """What the recipes compute with."""
        if not self.flat:
            return Operands(*inputs, sinks=sinks)
        p = self.projections
        if p is None:
            return Operands(*inputs, heads=self.heads, kv_heads=self.kv_heads, sinks=sinks, order=order)
        q, k, v = p.query(inputs[0]), p.key(inputs[1]), p.value(inputs[2])
        out = None if p.out is None else (p.out.weight, p.out.bias)
        return Operands(q, k, v, p.heads, p.kv_heads, out, sinks, order)

    def run(self, inputs: tuple[Tensor, ...], mask: Tensor | None = None, name: str | None = None, **options: Any) -> Reading:  # fmt: skip
        """Once. `options`: seed, still, causal (the user's own flag), dtype, sinks, limit."""
        causal, sinks = options.pop("causal", None), options.pop("sinks", None)
        given = [_to_user(x, self.layout) for x in inputs]
        args = tuple([given[i] for i in self.call.order] if self.call.inputs == 3 else given[: self.call.inputs])
        kwargs = dict(self.call.fixed)
        if self.call.heads_name and self.flat and self.projections is None:
            kwargs[self.call.heads_name] = self.heads
        if causal is not None and self.call.causal_flag:
            kwargs[self.call.causal_flag] = causal
        if sinks is not None and self.call.sinks_name:
            kwargs[self.call.sinks_name] = sinks
        if mask is not None and name:
            kwargs[name] = mask
        elif self.call.needs_mask:
            kwargs[self.call.masks[0]] = self._permission(inputs)
        outcome = run(self.fn, args, kwargs, **options)
        return self._read(outcome, inputs)

    def _permission(self, inputs: tuple[Tensor, ...]) -> Tensor | None:
        """A mask that permits everything, if this way of calling reads its user's masks rightly."""
        if self.permit is None:
            return None
        form, kind = self.permit
        every = torch.ones(inputs[0].shape[0], 1, inputs[0].shape[-2], inputs[1].shape[-2], dtype=torch.bool)
        mask = next(f for f in probes.FORMS if f.name == form).shaped(every)
        assert mask is not None
        mask = mask if kind.startswith("ones") else ~mask
        return mask.float() if kind.endswith("float") else mask

    def permitting(self) -> "list[Suspect]":
        """This way of calling, once for every mask that may be the one that permits all."""
        if not self.call.needs_mask:
            return [self]
        forms = ("(batch, 1, query, key)" if self.heads > 1 else "(batch, query, key)", "(batch, key)", "(query, key)")
        kinds = ("ones bool", "ones float", "zeros bool", "zeros float")
        return [self, *(replace(self, permit=(form, kind)) for form in forms for kind in kinds)]

    def _read(self, outcome: Outcome, inputs: tuple[Tensor, ...]) -> Reading:
        if not outcome.ok:
            return Reading(outcome)
        tensors = _tensors(outcome.value)
        batch, queries, keys = inputs[0].shape[0], inputs[0].shape[-2], inputs[1].shape[-2]
        wanted = self._wanted(batch, queries)
        output = weights = None
        for tensor in tensors:
            canonical = _from_user(tensor, self.layout, self.flat)
            if output is None and canonical is not None and tuple(canonical.shape) in wanted:
                output = canonical
                if tuple(canonical.shape) != wanted[0]:
                    output = canonical.transpose(1, 2).flatten(-2)
            elif weights is None and tensor.ndim >= 2 and tuple(tensor.shape[-2:]) == (queries, keys):
                weights = tensor.reshape(1, 1, *tensor.shape) if tensor.ndim == 2 else tensor.unsqueeze(1) if tensor.ndim == 3 else tensor  # fmt: skip
        if output is None:
            shapes = ", ".join(str(tuple(t.shape)) for t in tensors) or type(outcome.value).__name__
            return Reading(outcome, wrong=f"returned {shapes}; expected {wanted[0] if self.flat or self.heads > 1 else (batch, queries, self.size)}")  # fmt: skip
        return Reading(outcome, output.detach().float(), None if weights is None else weights.detach().float())

    def _wanted(self, batch: int, queries: int) -> list[tuple[int, ...]]:
        if not self.flat:
            return [(batch, self.heads, queries, self.size)]
        p = self.projections
        width = self.widths[0] if p is None else p.out.weight.shape[1] if p.out else p.value.weight.shape[1] * p.heads // p.kv_heads  # fmt: skip
        return [(batch, queries, width), (batch, self.heads, queries, width // max(self.heads, 1))]


def _tensors(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value] if value.is_floating_point() else []
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list | tuple):
        return [t for part in value for t in _tensors(part)]
    return _tensors(list(vars(value).values())) if hasattr(value, "__dict__") and not callable(value) else []


def _to_user(x: Tensor, layout: str) -> Tensor:
    match layout:
        case "(batch, length, size)":
            return x.squeeze(1)
        case "(length, size)":
            return x[0, 0]
        case "(batch, length, heads, size)":
            return x.transpose(1, 2)
        case "(length, batch, size)":
            return x.squeeze(1).transpose(0, 1)
        case "(length, batch, width)":
            return x.transpose(0, 1)
    return x


def _from_user(x: Tensor, layout: str, flat: bool) -> Tensor | None:
    match layout:
        case "(batch, length, size)":
            return x.unsqueeze(1) if x.ndim == 3 else None
        case "(length, size)":
            return x[None, None] if x.ndim == 2 else None
        case "(batch, length, heads, size)":
            return x.transpose(1, 2) if x.ndim == 4 else None
        case "(length, batch, size)":
            return x.transpose(0, 1).unsqueeze(1) if x.ndim == 3 else None
        case "(length, batch, width)":
            return x.transpose(0, 1) if x.ndim == 3 else None
    return x


def of_function(fn: Callable, what: str) -> list[list[Suspect]]:
    """Ways of calling a function in tiers: those that its text speaks of come before the others."""
    call = read_signature(fn, what)
    text = source_of(fn)
    known: list[Suspect] = []
    if call.heads_name:
        width = probes.HEADS * probes.SIZE
        flat = Suspect(fn, call, "(batch, length, width)", "(batch, head, query, key)", 2, probes.HEADS, probes.HEADS, widths=(width, width, width), flat=True)  # fmt: skip
        known.append(flat)
    three = Suspect(fn, call, "(batch, length, size)", "(batch, query, key)", 1)
    four = Suspect(fn, call, "(batch, heads, length, size)", "(batch, head, query, key)", 2, probes.HEADS, probes.HEADS)
    late = Suspect(fn, call, "(batch, length, heads, size)", "(batch, head, query, key)", 2, probes.HEADS, probes.HEADS)
    two = Suspect(fn, call, "(length, size)", "(query, key)", 0, batch=1)
    first = Suspect(fn, call, "(length, batch, size)", "(batch, query, key)", 1)
    grouped = Suspect(fn, call, "(batch, heads, length, size)", "(batch, head, query, key)", 2, 6, 2)
    hints = layout_hints(text)
    ways = {"3": three, "4": four, "4late": late, "2": two, "3first": first}
    known += [ways[h] for h in hints]
    if re.search(r"repeat|expand|kv_heads|gqa|group", text, re.IGNORECASE):
        late_too = [replace(grouped, layout="(batch, length, heads, size)")] if "4late" in hints else []
        known = [grouped, *late_too, *known]  # 6 heads on 2: nothing but grouped queries runs on that
    return [known, [way for way in (three, four, late) if way not in known], [two]]


def layout_hints(text: str) -> list[str]:
    """What source, comments and docstring say of the axes: "4", "4late", "3", "3first" or "2"."""
    found: list[str] = []
    batch, heads, length, size = r"(?:b|bs|bsz|n|batch\w*)", r"(?:h|nh|heads?|n_?heads?|num_heads)", r"(?:t|s|n|l|m|i|j|q|k|lq|lk|tq|tk|len\w*|seq\w*|length|time|tokens?|n_\w+|moves|queries|keys|q_len|k_len)", r"(?:d|c|e|f|dk|d_k|dh|d_\w+|dim\w*|size|features?|channels?|head_dim|hd)"  # fmt: skip
    gap = r"\s*,\s*"
    for name, axes in (
        ("4", (batch, heads, length, size)), ("4late", (batch, length, heads, size)),
        ("3first", (r"(?:t|s|l|len\w*|seq\w*|length|time)", r"(?:b|bs|bsz|batch\w*)", size)), ("3", (batch, length, size)),
    ):  # fmt: skip
        if re.search(r"(?<![\w,])" + gap.join(axes) + r"(?!\s*,|\w)", text, re.IGNORECASE):
            found.append(name)
    for name, pattern in (("4", r"['\"]\s*b\s*h\s*[a-z]\s*d\b"), ("4late", r"['\"]\s*b\s*[a-z]\s*h\s*d\b"), ("3", r"['\"]\s*b\s*[a-z]\s*[de]\s*,")):  # fmt: skip
        if re.search(pattern, text):
            found.append(name)
    return list(dict.fromkeys(found))


def of_module(module: nn.Module, what: str) -> Iterator[Suspect]:
    """Ways of calling a module, one for each reading of its parameters. Works on a copy in eval mode."""
    try:
        mine = copy.deepcopy(module)
    except Exception:
        mine = module
    mine.eval()
    call = read_signature(mine.forward, what)
    _wake(mine)
    late = getattr(module, "batch_first", True) is False
    text = source_of(module)
    late = late or ("3first" in layout_hints(text) and "3" not in layout_hints(text) and "batch_first" not in text)
    layout = "(length, batch, width)" if late else "(batch, length, width)"
    factor = None
    for count, p in enumerate(candidates(mine)):
        if count == 60:
            return
        widths = (p.query.weight.shape[0], p.key.weight.shape[0], p.value.weight.shape[0])
        single = p.heads == 1
        base = Suspect(mine, call, layout, "(batch, query, key)" if single else "(batch, head, query, key)", 1 if single else 2, p.heads, p.kv_heads, p, widths, True, batch=3)  # fmt: skip
        if factor is None:  # so that scores have a standard deviation a little over 1
            q, k = (f(probes.gaussian("x", 64, f.weight.shape[0])) for f in (p.query, p.key))
            factor = (1.5 / max(float(q.std() * k.std()), 1e-6)) ** 0.5
        yield replace(base, spread=factor)


def _wake(module: nn.Module) -> None:
    """Gives constant parameters of the copy (a bias of zeros, say) numbers, since what is zero hides mistakes."""
    for name, parameter in module.named_parameters():
        owner = module.get_submodule(name.rpartition(".")[0])
        if "norm" in type(owner).__name__.lower() or parameter.numel() < 2 or not parameter.is_floating_point():
            continue
        if bool((parameter == parameter.flatten()[0]).all()):
            scale = 0.3 if parameter.ndim == 1 else parameter.shape[-1] ** -0.5
            with torch.no_grad():
                parameter.copy_(scale * probes.gaussian(name, *parameter.shape))


def width_of(module: nn.Module) -> int | None:
    """The width of x, guessed from attributes, where no projection was found."""
    named = numbers_in(module)
    for name in ("d_model", "embed_dim", "n_embd", "hidden_size", "dim", "width", "emb", "d", "embed_size", "channels"):
        if isinstance(named.get(name), int):
            return named[name]
    return None
