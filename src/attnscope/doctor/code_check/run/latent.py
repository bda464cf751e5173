"""Multi-head latent attention (DeepSeek-V2, 2024): keys and values of all heads from few numbers, and one rotary key for all heads.

Keys have a part for each head out of the latent, and a part that is turned by the position, the same for every head; queries have both
parts for each head, by way of a latent of their own or not. The turned part is laid first in each head, where the recipes turn it: q · k
is the same for every order of the dimensions.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

import torch
from torch import Tensor, nn

from attnscope.doctor.code_check.run.affine import Affine
from attnscope.doctor.code_check.run.parameters import Owner, head_counts, is_norm, norm_size, numbers_in

_TURNED = re.compile(r"rope|rot|pe$|[qk]_?r$|r_?[qk]$", re.IGNORECASE)


@dataclass(frozen=True)
class Made:
    """What projects in more than one step. `weight` has the shape of one map that would do the same."""

    made: Callable[[Tensor], Tensor]
    weight: Tensor
    bias: None = None
    twice: bool = False

    def __call__(self, x: Tensor) -> Tensor:
        return self.made(x)

    def transposed(self) -> "Made":
        raise RuntimeError("several steps have no weights that could be transposed")


@dataclass(frozen=True)
class Latent:
    """One reading: query, key and value for `heads` heads, of which the first `turned` dimensions are turned."""

    query: Made
    key: Made
    value: Made
    heads: int
    turned: int
    used: tuple[Owner, ...]


def latents(module: nn.Module, owners: list[Owner]) -> Iterator[Latent]:
    """Every reading of a module's maps as latent attention whose sizes fit together."""
    maps = [o for o in owners if o.weight.ndim == 2]
    ofs: dict[str, list[Owner]] = {"q": [], "kv": [], "o": []}
    for owner in maps:
        name = re.sub(r"lora|proj\w*|weights?|linear|with|mqa|rope|down|compress\w*", "", "_".join(owner.path).lower())
        ofs["q" if "q" in name else "kv" if re.search("[kv]", name) else "o"].append(owner)
    if len(ofs["kv"]) < 2 or not ofs["q"] or len(ofs["q"]) > 3 or len(ofs["kv"]) > 4:
        return
    widest = max(o.weight.shape[1] for o in ofs["q"])
    for heads in [n for n in head_counts(module, widest) if n > 1][:8]:
        for key, value, no, turned, used in _keys(
            module, ofs["kv"], heads, [o.weight.shape[1] // heads for o in ofs["q"]]
        ):
            for query, by in _queries(module, ofs["q"], heads, no, turned):
                yield Latent(query, key, value, heads, turned, (*used, *by))


def _norm_for(module: nn.Module, size: int, letter: str) -> nn.Module | None:
    """The module's norm of so many numbers; of several the one that is named for queries, or for keys and values."""
    found = {n: part for n, part in module.named_modules() if n and is_norm(part) and norm_size(part) == size}
    named = [part for name, part in found.items() if ("q" in name.lower()) == (letter == "q")]
    return named[0] if named else None


def _affine(owner: Owner) -> Affine:
    return Affine(owner.weight, owner.bias)


def _by_head(x: Tensor, heads: int, sizes: tuple[int, int], blocks: bool) -> tuple[Tensor, Tensor]:
    """Two parts of each head, [..., H, size]: side by side in each head, or one part of all heads before the other."""
    if blocks:
        first, second = x.split([heads * sizes[0], heads * sizes[1]], dim=-1)
        return first.unflatten(-1, (heads, -1)), second.unflatten(-1, (heads, -1))
    first, second = x.unflatten(-1, (heads, -1)).split(list(sizes), dim=-1)
    return first, second


def _together(x: Tensor, *more: Tensor) -> Tensor:
    """Parts of each head side by side, [..., H·size]; a part without heads is every head's."""
    parts = [y.unsqueeze(-2).expand(*y.shape[:-1], x.shape[-2], -1) if y.ndim < x.ndim else y for y in more]
    return torch.cat([*parts, x], dim=-1).flatten(-2)


def _stand_in(wide: int, width: int) -> Tensor:
    return torch.zeros(wide, width)


def _keys(
    module: nn.Module, found: list[Owner], heads: int, sizes: list[int]
) -> Iterator[tuple[Made, Made, int, int, tuple[Owner, ...]]]:
    """Keys and values, the size of the part of each head that is not turned, that of the turned one, and the maps used. `sizes`: of a
    head's queries, out of each map."""
    if len(found) == 2:
        yield from _of_two(module, found[0], found[1], heads, sizes)
        return
    turned = [o for o in found if _TURNED.search("_".join(re.sub(r"_?proj\w*$", "", part) for part in o.path))]
    rest = [o for o in found if not any(o is t for t in turned)]
    down = [o for o in rest if sum(other.weight.shape[0] == o.weight.shape[1] for other in rest if other is not o) == 2]
    if len(rest) != 3 or len(turned) > 1 or len(down) != 1:
        return
    ups = [o for o in rest if o is not down[0]]
    ups.sort(key=lambda o: "v" in "_".join(o.path).lower().replace("kv", ""))
    norm, (first, up_key, up_value) = _norm_for(module, down[0].weight.shape[1], "k"), map(_affine, (*down, *ups))
    no, rest_of = divmod(up_key.weight.shape[1], heads)
    turning = _affine(turned[0]) if turned else None
    if rest_of or up_value.weight.shape[1] % heads:
        return
    size = turning.weight.shape[1] if turning else 0

    def latent(x: Tensor) -> Tensor:
        return first(x) if norm is None else norm(first(x))

    def key(x: Tensor) -> Tensor:
        made = up_key(latent(x)).unflatten(-1, (heads, -1))
        return _together(made, *([turning(x)] if turning else []))

    wide = first.weight.shape[0]
    value = Made(lambda x: up_value(latent(x)), _stand_in(wide, up_value.weight.shape[1]))
    yield Made(key, _stand_in(wide, heads * (no + size))), value, no, size, tuple(found)


def _of_two(
    module: nn.Module, down: Owner, up: Owner, heads: int, sizes: list[int]
) -> Iterator[tuple[Made, Made, int, int, tuple[Owner, ...]]]:
    """One map to the latent and the turned key, one from the latent to the keys and values of each head."""
    first, second = (down, up) if down.weight.shape[1] >= up.weight.shape[0] else (up, down)
    few, size = second.weight.shape[0], first.weight.shape[1] - second.weight.shape[0]
    norm, a, b = _norm_for(module, few, "k"), _affine(first), _affine(second)
    both, rest = divmod(second.weight.shape[1], heads)
    if size < 0 or rest or few >= first.weight.shape[0]:
        return
    shares = [
        *(n - size for n in sizes if 0 < n - size < both),
        *_parts_of(module, both),
    ]  # as the queries have it, first
    for no, blocks in product(dict.fromkeys(shares), (False, True)):

        def parts(x: Tensor, no: int = no, blocks: bool = blocks) -> tuple[Tensor, Tensor, Tensor]:
            latent, turning = a(x).split([few, size], dim=-1)
            latent = latent if norm is None else norm(latent)
            return *_by_head(b(latent), heads, (no, both - no), blocks), turning

        def key(x: Tensor, parts: Any = parts) -> Tensor:
            made, _, turning = parts(x)
            return _together(made, *([turning] if size else []))

        def value(x: Tensor, parts: Any = parts) -> Tensor:
            return parts(x)[1].flatten(-2)

        wide = first.weight.shape[0]
        made = Made(key, _stand_in(wide, heads * (no + size))), Made(value, _stand_in(wide, heads * (both - no)))
        yield *made, no, size, (first, second)


def _parts_of(module: nn.Module, both: int) -> list[int]:
    """How the numbers of a head may be shared between its key and its value: a half, or a number among the module's attributes."""
    named = [v for v in numbers_in(module).values() if isinstance(v, int) and 0 < v < both]
    half = [both // 2] if both % 2 == 0 else []
    return list(dict.fromkeys(half + named))[:6]


def _queries(
    module: nn.Module, found: list[Owner], heads: int, no: int, turned: int
) -> Iterator[tuple[Made, tuple[Owner, ...]]]:
    """Queries of each head, by way of a latent or not; the turned part by a map of its own or not."""
    width = heads * (no + turned)
    ups = [o for o in found if o.weight.shape[1] in (width, heads * no, heads * turned)]
    down = [o for o in found if not any(o is up for up in ups)]
    if len(down) > 1 or any(o.weight.shape[0] != down[0].weight.shape[1] for o in ups if down):
        return
    first = _affine(down[0]) if down else None
    norm = _norm_for(module, first.weight.shape[1], "q") if first else None
    wide = (down or ups or found)[0].weight.shape[0]

    def latent(x: Tensor) -> Tensor:
        x = x if first is None else first(x)
        return x if norm is None else norm(x)

    if len(ups) == 1 and ups[0].weight.shape[1] == width:
        up = _affine(ups[0])
        for blocks in (False, True) if turned else (False,):

            def whole(x: Tensor, blocks: bool = blocks) -> Tensor:
                made, turning = _by_head(up(latent(x)), heads, (no, turned), blocks)
                return _together(made, *([turning] if turned else []))

            yield Made(whole, _stand_in(wide, width)), tuple(found)
    elif len(ups) == 2 and turned:
        ups.sort(key=lambda o: (o.weight.shape[1] != heads * no, bool(_TURNED.search("_".join(o.path)))))
        plain, turning = map(_affine, ups)

        def both(x: Tensor) -> Tensor:
            x = latent(x)
            return _together(plain(x).unflatten(-1, (heads, -1)), turning(x).unflatten(-1, (heads, -1)))

        yield Made(both, _stand_in(wide, width)), tuple(found)
