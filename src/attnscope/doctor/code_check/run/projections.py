"""Finds the projections of a module by name, else by shape, so that the reference runs on the module's own weights.

A weight is brought to one form, x @ weight + bias with weight [in, out]: nn.Linear stores [out, in], Conv1D [in, out],
research code one matrix per head, or one parameter with an axis for everything. What a name does not settle (a raw square
matrix, the order inside a fused one, which leftover weight is the output's) comes out as several candidates; the one under
which the module agrees with the reference is right.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from attnscope.doctor.code_check.run import fused_layouts
from attnscope.doctor.code_check.run.affine import Affine, outs
from attnscope.doctor.code_check.run.latent import latents
from attnscope.doctor.code_check.run.low_rank import adapted
from attnscope.doctor.code_check.run.parameters import Owner, head_counts, named_heads, owners_of, role_of
from attnscope.doctor.code_check.run.roles import BILINEAR, OF_KEYS, Roles, assignments, unprojected


@dataclass(frozen=True)
class Projections:
    """The four of them, how many heads they are for, and how they were read."""

    query: Affine
    key: Affine
    value: Affine
    out: Affine | None
    heads: int
    kv_heads: int
    layout: str = "separate"  # of a fused weight: "q|k|v blocks", "per head", ...
    found: str = "by name"
    unused: tuple[str, ...] = ()
    norms: tuple[Any, Any] = (None, None)  # modules that normalise queries and keys
    paths: dict[str, str] = field(default_factory=dict)  # from q, k, v, o to the module that projects
    turned: int = 0  # dimensions at the front of each head that a rotary embedding turns; 0: not known
    merged: str = "joined"  # joined | mean | sum: what becomes of the heads' outputs

    @property
    def bilinear(self) -> bool:
        """Whether keys are the inputs themselves, so that one map makes the scores."""
        return self.found.endswith((BILINEAR, OF_KEYS))


def candidates(module: nn.Module) -> Iterator[Projections]:
    """Every reading of the module's parameters as projections, likeliest first; heads that are not joined and an output projection
    that is applied twice come after all others, since searches try only so many."""
    rare = []
    for reading in _every(module):
        if reading.merged != "joined" or (reading.out is not None and reading.out.twice):
            rare.append(reading)
        else:
            yield reading
    yield from rare


def _every(module: nn.Module) -> Iterator[Projections]:
    norms = (_norm_of(module, "q|query|queries"), _norm_of(module, "k|key|keys"))
    owners = owners_of(module)
    for latent in latents(module, owners):
        left = [o for o in owners if not any(o is used for used in latent.used)]
        inner = latent.value.weight.shape[1]
        for out, owner in outs([o for o in left if role_of(o.path[-1]) == "o"], left, inner, latent.heads):
            unused = tuple(".".join(o.path) for o in left if o is not owner)
            made = (latent.query, latent.key, latent.value, out, latent.heads, latent.heads, "through a latent")
            yield Projections(*made, unused=unused, turned=latent.turned)  # type: ignore[arg-type]
    for roles, other, how in (*assignments(owners), *unprojected(module, owners)):
        ends = [*roles.get("o", []), *other]
        paths = {
            role: _path(module, found[0])
            for role, found in roles.items()
            if role != "o" and len(found) == 1 and _path(module, found[0])
        }
        inner = list(
            dict.fromkeys(
                [o.weight.shape[0] for o in ends if o.weight.ndim == 2]
                + [o.weight.shape[0] for o in roles.get("qkv", [])]
            )
        )
        for affine, heads in _read({r: found for r, found in roles.items() if r != "o"}, ends):
            for (q, k, v), layout, n, kv in _triples(module, affine, heads, inner):
                for out, owner in outs(roles.get("o", []), other, v.weight.shape[1] * n // kv, n):
                    unused = tuple(".".join(o.path) for o in other if o is not owner)
                    found = (
                        {**paths, "o": _path(module, owner)} if owner is not None and _path(module, owner) else paths
                    )
                    made = Projections(q, k, v, out, n, kv, layout, how, unused, paths=found)
                    yield from adapted(module, made, other) if unused else ()
                    if norms != (None, None):
                        yield replace(made, norms=norms)
                    yield made
                for out, owner in _of_one_head(v.weight, n, kv, roles.get("o", []), other):
                    unused = tuple(".".join(o.path) for o in other if o is not owner)
                    made = Projections(q, k, v, out, n, kv, layout, how, unused)
                    yield from (replace(made, merged=merged) for merged in ("mean", "sum"))


def _of_one_head(
    value: Tensor, heads: int, kv_heads: int, named: list[Owner], other: list[Owner]
) -> Iterator[tuple[Affine | None, Owner | None]]:
    """Output projections that take the numbers of one head: of heads that are averaged or added up, not joined."""
    size = value.shape[1] // kv_heads
    ends = [*named, *other]
    if heads > 1 and (
        any(size in o.weight.shape for o in ends if o.weight.ndim == 2) or (not ends and size == len(value))
    ):
        yield from (found for found in outs(named, other, size, 1) if found[0] is not None or not ends)


def _path(module: nn.Module, owner: Owner) -> str:
    """The module that holds it, where it is a module's own weight."""
    path = ".".join(owner.path)
    parts = dict(module.named_modules())
    whole = owner.measured or (not owner.raw and hasattr(parts.get(path), "weight"))
    return path if whole and path in parts else ""


def _norm_of(module: nn.Module, names: str) -> nn.Module | None:
    """The norm of queries, or of keys, by its name: q_norm, norm_q, ln_q, query_layernorm."""
    kind = r"(layer_?|rms_?)?(norm|ln)"
    for path, part in module.named_modules():
        if re.fullmatch(rf"({names})_?{kind}|{kind}_?({names})", path.rpartition(".")[2], re.IGNORECASE):
            return part
    return None


# --- every weight as [in, out] ---------------------------------------------------------------------------------------


def _read(roles: Roles, ends: list[Owner]) -> Iterator[tuple[dict[str, Affine], int | None]]:
    """Each role as one matrix, with the number of heads where the weights have an axis for it: as stored or turned, and
    for three axes as (in, heads, size), (heads, in, size), (heads, size, in)."""
    every = [o for found in roles.values() for o in found]
    turns = (False, True) if any(o.raw and o.weight.ndim == 2 for o in every) else (False,)
    forms = (0, 1, 2) if any(o.weight.ndim == 3 for o in every) else (0,)
    made = []
    for turned in turns:
        for form in forms:
            affine = {role: _stacked(found, turned, form) for role, found in roles.items()}
            axis = next(
                (
                    o.weight.shape[1 if form == 0 else 0]
                    for r, found in roles.items()
                    for o in found
                    if o.weight.ndim == 3 and "q" in r
                ),
                None,
            )
            count = len(roles.get("q") or roles.get("qkv") or roles["qk"])
            if any(a.bias is not None and len(a.bias) != a.weight.shape[1] for a in affine.values()):
                continue
            made.append((affine, axis or (count if count > 1 else None)))
    widths = {n for o in ends for n in (o.weight.shape[0], o.weight.shape[-1])}
    yield from sorted(made, key=lambda m: next(iter(m[0].values())).weight.shape[0] not in widths)


def _stacked(found: list[Owner], turned: bool, form: int) -> Affine:
    """One matrix [in, out] from a matrix, a matrix per head, or a list of one-head matrices."""
    weights: list[Tensor] = []
    for owner in found:
        weight = owner.weight
        if weight.ndim == 3:
            weight = weight.permute(*((0, 1, 2), (1, 0, 2), (2, 0, 1))[form]).flatten(1)
        weights.append(weight.T if turned and owner.raw and owner.weight.ndim == 2 else weight)
    if len({w.shape[0] for w in weights}) > 1:
        weights = weights[:1]
    biases = [o.bias.flatten() for o in found[: len(weights)] if o.bias is not None]
    return Affine(torch.cat(weights, dim=1), torch.cat(biases) if len(biases) == len(weights) else None)


# --- queries, keys and values ----------------------------------------------------------------------------------------


def _triples(
    module: nn.Module, affine: dict[str, Affine], known_heads: int | None, inner: list[int]
) -> Iterator[tuple]:
    """(q, k, v), layout, heads, kv_heads."""
    if "qkv" in affine and not all(r in affine for r in "qkv"):
        yield from _from_one(module, affine["qkv"], known_heads, inner)
        return
    both = affine.get("qk") if "q" not in affine or "k" not in affine else None
    width = both.weight.shape[1] // 2 if both is not None else affine["q"].weight.shape[1]
    for heads in [known_heads] if known_heads else head_counts(module, width):
        size, rest = divmod(width, heads)
        if rest:
            continue
        if both is not None:
            for layout, (first, second) in fused_layouts.halves(width, heads, ("q", "k")):
                yield (both.columns(first), both.columns(second), affine["v"]), layout, heads, heads
        elif "kv" in affine and not ("k" in affine and "v" in affine):
            half = affine["kv"].weight.shape[1] // 2
            for layout, (first, second) in (
                fused_layouts.halves(half, half // size, ("k", "v")) if not half % size else ()
            ):
                yield (
                    (affine["q"], affine["kv"].columns(first), affine["kv"].columns(second)),
                    layout,
                    heads,
                    half // size,
                )
        else:
            q, k, v = (affine[r] for r in "qkv")
            kv_heads, rest = divmod(k.weight.shape[1], size)
            if not rest and kv_heads and heads % kv_heads == 0 and v.weight.shape[1] % kv_heads == 0:
                yield (q, k, v), "separate", heads, kv_heads


def _from_one(module: nn.Module, whole: Affine, known_heads: int | None, inner: list[int]) -> Iterator[tuple]:
    """Out of one fused weight: three equal parts, or fewer keys and values than queries."""
    width = whole.weight.shape[1]
    counts = [] if known_heads else fused_layouts.group_counts(module, width, inner)
    equal = [known_heads] if known_heads else head_counts(module, width // 3) if width % 3 == 0 else []
    if (
        width % 3 == 0 and width // 3 not in inner and counts
    ):  # what the output projection takes says that it is not thirds
        equal = [h for h in equal if h in named_heads(module)]
    for heads in equal:
        for layout, index in fused_layouts.thirds(width, heads) if width % (3 * heads) == 0 else ():
            yield tuple(whole.columns(i) for i in index), layout, heads, heads
    for heads, kv_heads, size in counts:
        for layout, index in fused_layouts.unequal(heads, kv_heads, size):
            yield tuple(whole.columns(i) for i in index), layout, heads, kv_heads
