"""Every way in which a function or a module may want to be called, likeliest first."""

import copy
import inspect
import itertools
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from attnscope.doctor.code_check.run import filling, probes
from attnscope.doctor.code_check.run.adapting import awake
from attnscope.doctor.code_check.run.invocation import Invocation
from attnscope.doctor.code_check.run.outputs import BY_COLUMNS, BY_ROWS, ONE_KEY_HEAD
from attnscope.doctor.code_check.run.parameters import is_norm, numbers_in
from attnscope.doctor.code_check.run.projections import Projections, candidates
from attnscope.doctor.code_check.run.sandbox import source_of
from attnscope.doctor.code_check.run.signature import Call, read_signature

BY_HEAD = "(batch, head, query, key)"
_BATCH, _HEADS = r"(?:b|bs|bsz|n|batch\w*)", r"(?:h|nh|heads?|n_?heads?|num_heads)"
_LENGTH = r"(?:t|s|n|l|m|i|j|q|k|lq|lk|tq|tk|len\w*|seq\w*|length|time|tokens?|n_\w+|moves|queries|keys|q_len|k_len)"
_SIZE = r"(?:d|c|e|f|dk|dh|hd|d_\w+|dim\w*|\w+_dim|emb\w*|n_embd|hidden\w*|width|size|features?|channels?)"
_AXES = (  # layouts, by the names of their axes in a comment
    ("heads", (_HEADS, _BATCH, _LENGTH, _SIZE)),
    ("4", (_BATCH, _HEADS, _LENGTH, _SIZE)),
    ("4late", (_BATCH, _LENGTH, _HEADS, _SIZE)),
    ("3first", (r"(?:t|s|l|len\w*|seq\w*|length|time|(?:tgt|src|q|k|kv)_len)", r"(?:b|bs|bsz|batch\w*)", _SIZE)),
    ("3", (_BATCH, _LENGTH, _SIZE)),
)
_EINSUM = (  # and by the letters of an einsum
    ("heads", r"['\"]\s*h\s*b\s*[a-z]\s*d\b"),
    ("4", r"['\"]\s*b\s*h\s*[a-z]\s*d\b"),
    ("4late", r"['\"]\s*b\s*[a-z]\s*h\s*d\b"),
    ("3", r"['\"]\s*b\s*[a-z]\s*[de]\s*,"),
)


def of_function(fn: Callable, what: str, heads: int = probes.HEADS) -> list[list[Invocation]]:
    """Ways of calling a function in tiers: those that its text speaks of come before the others."""
    call = read_signature(fn, what)
    text = text_of(fn)
    known: list[Invocation] = []
    meant = getattr(fn, "sizes", [])[:1]
    if call.heads_name:
        width = heads * probes.SIZE
        widths = (width, width, width)
        known.append(Invocation(fn, call, "(batch, length, width)", BY_HEAD, 2, heads, heads, widths=widths, flat=True))
    three = Invocation(fn, call, "(batch, length, size)", "(batch, query, key)", 1)
    four = Invocation(fn, call, "(batch, heads, length, size)", BY_HEAD, 2, heads, heads)
    late = Invocation(fn, call, "(batch, length, heads, size)", BY_HEAD, 2, heads, heads)
    two = Invocation(fn, call, "(length, size)", "(query, key)", 0, batch=1)
    first = Invocation(fn, call, "(length, batch, size)", "(batch, query, key)", 1)
    heads_first = replace(four, layout="(heads, batch, length, size)")
    one_key = replace(four, layout=ONE_KEY_HEAD, kv_heads=1)
    hints = layout_hints(text)
    invocations = {"3": three, "4": four, "4late": late, "2": two, "3first": first, "heads": heads_first}
    known += [invocations[h] for h in hints]
    tiers = [
        known,
        [candidate for candidate in (three, four, late) if candidate not in known],
        [two],
        [one_key, heads_first],
    ]
    if meant:
        tiers = [[replace(candidate, size=size) for size in meant for candidate in tier] for tier in tiers]
    elif pairs(text) or any(map(filling.turns, call.fills)):
        tiers += [
            [replace(candidate, size=probes.SIZE + 1) for candidate in tier if not candidate.flat] for tier in tiers
        ]
    return tiers


def of_groups(fn: Callable, what: str, heads: int | None = None) -> list[Invocation]:
    """A function with fewer key heads than query heads, 6 on 2 by default: hardly anything but grouped queries runs on that."""
    heads = heads or 6
    kv_heads = next((n for n in (heads // 3, heads // 2) if n > 1 and heads % n == 0), 0)
    call, text = read_signature(fn, what), text_of(fn)
    if call.inputs != 3 or not kv_heads:
        return []
    four = Invocation(fn, call, "(batch, heads, length, size)", BY_HEAD, 2, heads, kv_heads)
    late = replace(four, layout="(batch, length, heads, size)")
    hints = layout_hints(text)
    invocations = [late] if "4late" in hints and "4" not in hints else [four, late] if "4late" in hints else [four]
    return [
        replace(candidate, size=size)
        for candidate in invocations
        for size in ((probes.SIZE, probes.SIZE + 1) if pairs(text) else (probes.SIZE,))
    ]


def pairs(text: str) -> bool:
    """Whether the text speaks of what works on pairs of dimensions, and so wants an even size."""
    return bool(re.search(r"rot|rope|freq|//\s*2|::2", text, re.IGNORECASE))


def layout_hints(text: str) -> list[str]:
    """What source, comments and docstring say of the axes: "4", "4late", "3", "3first" or "2"."""
    found: list[str] = []
    for name, axes in _AXES:
        if re.search(r"(?<![\w,])" + r"\s*(?:,|[x×](?=\s))\s*".join(axes) + r"(?!\s*,|\w)", text, re.IGNORECASE):
            found.append(name)
    found += [name for name, pattern in _EINSUM if re.search(pattern, text)]
    return list(dict.fromkeys(found))


def text_of(fn: Any) -> str:
    """The source of what the user wrote, with comments and docstrings."""
    return source_of(getattr(fn, "__wrapped__", fn) if isinstance(fn, nn.Module) else fn)


LAYOUTS = (
    "(batch, length, width)",
    BY_ROWS,
    "(length, width)",
    "(length, batch, width)",
    "(batch, width, length)",
    "(batch, width, height, 1)",
)


def of_module(module: nn.Module, what: str) -> list[list[Invocation]]:
    """Ways of calling a module in tiers, a tier for each layout, likeliest first; in each one for every reading of its parameters.
    Works on a copy in eval mode."""
    try:
        mine = copy.deepcopy(module)
    except Exception:
        mine = module
    mine.eval()
    call = read_signature(mine if hasattr(mine, "__signature__") else mine.forward, what, projects=True)
    awake(mine, call.inputs)
    _wake(mine)
    readings = list(itertools.islice(_readings(mine, call), 60))
    likely = LAYOUTS[0] if filling.of_a_picture(call.fills) else _likely_layout(module)
    tiers = [(likely,), *((x,) if x != BY_ROWS else (BY_ROWS, BY_COLUMNS) for x in LAYOUTS if x != likely)]
    return [[_in_layout(candidate, layout) for candidate in readings for layout in tier] for tier in tiers]


def _in_layout(candidate: Invocation, layout: str) -> Invocation:
    return replace(candidate, layout=layout, batch={BY_ROWS: 4, BY_COLUMNS: 4, "(length, width)": 1}.get(layout, 3))


def _likely_layout(module: nn.Module) -> str:
    """By its convolutions, its batch_first, and what its text says of the axes."""
    if any(isinstance(part, nn.Conv2d) for part in module.modules()):
        return "(batch, width, height, 1)"
    if any(isinstance(part, nn.Conv1d) for part in module.modules()):
        return "(batch, width, length)"
    text = text_of(module)
    late = getattr(module, "batch_first", True) is False or _as_torch_has_it(module, text)
    late = late or re.search(r"\b(LND|LNE|TBC|TBD|SBH|SBD|LBD|TNC|TNE)\b", text) is not None
    late = late or _speaks_of_length_first(text)
    return "(length, batch, width)" if late else "(batch, length, width)"


_UNPACKED = re.compile(  # T, B, C = x.shape
    r"^\s*(T|L|S|seq_?len|(tgt|src|q)_?len|length)\s*,\s*(B|N|b|bs|bsz|batch(_size)?)\s*,\s*\w+\s*=\s*\w+\.(shape|size\(\))",
    re.MULTILINE,
)


def _speaks_of_length_first(text: str) -> bool:
    """Whether the source names its axes with the length first, and neither it nor its prose names them in another order."""
    axes = re.findall(r"\(([a-z_]\w+(?:, [a-z_]\w+){2})\)", prose(text))  # of the input, in comments and docstrings
    if axes and not any("3first" in layout_hints(one) for one in axes):
        return False
    if re.search(r"batch_first(?!`*\s*=\s*`*False)", text):
        return False
    return _UNPACKED.search(text) is not None or ("3first" in layout_hints(text) and "3" not in layout_hints(text))


def prose(text: str) -> str:
    """The comments and docstrings of a source."""
    quoted = [a or b for a, b in re.findall(r'"{3}(.*?)"{3}|\'{3}(.*?)\'{3}', text, re.DOTALL)]
    return "\n".join([*quoted, *(line.partition("#")[2] for line in text.splitlines())])


def _as_torch_has_it(module: nn.Module, text: str) -> bool:
    """Whether it hands its input to torch's own attention with the length first, speaks of its inputs as torch's layers do (src, tgt),
    and says nothing of a batch that comes first."""
    names = inspect.signature(module.forward).parameters
    torchs = any(re.fullmatch(r"src|tgt|pos|query_pos|\w*src_mask|tgt_mask", name) for name in names)
    return length_first(module) and torchs and not batch_is_first(text)


def length_first(module: Any) -> bool:
    """Whether it holds torch's own attention, and all of that takes the length first."""
    inner = (
        [part for part in module.modules() if isinstance(part, nn.MultiheadAttention)]
        if isinstance(module, nn.Module)
        else []
    )
    return bool(inner) and all(not part.batch_first for part in inner)


def batch_is_first(text: str) -> bool:
    """Whether the source says, in words or by how it takes shapes apart, that a batch's texts are the first axis of its input."""
    spoken = r"\b(batch|b|bs|bsz|n)\w*\s*,\s*\w+(\s*,\s*\w+)?\s*=\s*\w+\.(shape|size)|batch_first|[(\[]\s*(batch\w*|b|n)\s*,|\b(NLD|BTC|BTD|BLD|BSD|BNC)\b"
    return bool(re.search(spoken, text, re.IGNORECASE) or re.search(r"(shape\[1\]|size\(1\))", text))


def _readings(mine: nn.Module, call: Call) -> Iterator[Invocation]:
    """One for each reading of the parameters as projections."""
    factor = None
    for p in candidates(mine):
        widths = (p.query.weight.shape[0], p.key.weight.shape[0], p.value.weight.shape[0])
        single = p.heads == 1
        shape, queries_dim = ("(batch, query, key)", 1) if single else (BY_HEAD, 2)
        apart = call.across() if widths[0] != widths[1] else None
        base = Invocation(
            mine, apart or call, LAYOUTS[0], shape, queries_dim, p.heads, p.kv_heads, p, widths, flat=True, batch=3
        )
        if factor is None:  # so that scores have a standard deviation a little over 1
            q, k = (f(probes.gaussian("x", 64, f.weight.shape[0])).detach() for f in (p.query, p.key))
            factor = (1.5 / max(float(q.std() * k.std()), 1e-6)) ** 0.5
        yield replace(base, spread=factor)


def with_latents(invocations: list[Invocation], rows: int) -> list[Invocation]:
    """The same ways with queries of the module's own: a parameter of `rows` rows, as wide as the projection to queries takes; or, for one
    row, with the first token, the last, or their mean as the only query."""
    found = []
    for candidate in invocations:
        for parameter in candidate.fn.parameters() if candidate.call.inputs == 1 else ():  # type: ignore[attr-defined]
            rest = parameter.detach().flatten(0, -2) if parameter.ndim > 1 else parameter[None]
            if tuple(rest.shape) == (rows, candidate.widths[0]) and not _projects(candidate.projections, parameter):
                found.append(replace(candidate, latents=rest))
    alone = [c for c in invocations if rows == 1 and c.call.inputs == 1]
    return found + [replace(c, asks=asks) for asks in ("first", "last", "mean", "mean_too") for c in alone]


def _projects(p: Projections | None, parameter: torch.Tensor) -> bool:
    """Whether this parameter is one of the projections."""
    parts = () if p is None else (p.query, p.key, p.value, *([p.out] if p.out else []))
    return any(part.weight.data_ptr() == parameter.data_ptr() for part in parts)


def _wake(module: nn.Module) -> None:
    """Gives constant parameters of the copy (a bias of zeros, say) numbers, since what is zero hides mistakes."""
    for name, parameter in module.named_parameters():
        owner = module.get_submodule(name.rpartition(".")[0])
        if (name.count(".") and is_norm(owner)) or parameter.numel() < 2 or not parameter.is_floating_point():
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


def fixed_lengths(module: nn.Module) -> list[int]:
    """Numbers of tokens that may be the only ones which a module takes: by its square tables, by the tables that it adds to its
    tokens, and by the sides of a window."""
    found: list[int] = []
    for name, x in (*module.named_buffers(), *module.named_parameters()):
        if x.ndim > 1 and x.shape[-1] == x.shape[-2] and not re.search("weight|proj", name):
            found.append(x.shape[-1])
        elif re.search("pos|bias|emb", name) and x.ndim > 2:
            found.append(x.shape[-2])
    for part in module.modules():
        for value in vars(part).values():
            if isinstance(value, tuple) and len(value) == 2 and all(isinstance(n, int) for n in value):
                found.append(value[0] * value[1])
    for name, value in numbers_in(module).items():
        if isinstance(value, int) and re.search(r"window|patch|seq|len|tokens|size|grid|block", name, re.IGNORECASE):
            found += [value, value**2]
    return [n for n in dict.fromkeys(found) if 2 < n <= 64][:6]
