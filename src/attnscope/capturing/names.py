"""Which tokens stand along the axes of a site: those given for the text, and what other towers read.

A model with several towers reads several things. The names given are those of the tower that received the ids; a tower
that reads an image has patches, and what nobody named has numbers. Equal lengths prove nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from attnscope.capturing.listen.reads import Reads
from attnscope.capturing.read.picture_parts import names_of_calls, names_of_parts
from attnscope.capturing.read.stacks import Place, shared_parts
from attnscope.errors import InputError
from attnscope.tracing.grids import grid_from, height_and_width, patch_places
from attnscope.tracing.site import Site
from attnscope.tracing.tokens import Tokens, padded_with

# Of several towers, the one that a text given without ids is for: the first of these.
_FIRST = ("language_model", "text", "encoder", "vision", "decoder", None)


@dataclass(frozen=True)
class Placed:
    """A site and where it stands. `parts`: of how many parts of the batch it is made; `shown`: which of them it has."""

    site: Site
    place: Place
    parts: int = 1
    shown: range = range(1)

    @property
    def is_whole(self) -> bool:
        """Whether its positions are those of one sequence, as the model was given it."""
        return self.parts == 1


@dataclass
class _Names:
    """The tables of tokens, one for each tower and length."""

    model: nn.Module
    reads: Reads
    placed: Sequence[Placed]
    made: dict[tuple[Any, ...], Tokens] = field(default_factory=dict)

    def of(self, placed: Placed, tower: str | None, length: int) -> Tokens:
        """Names of a tower whose positions nobody named: patches, else numbers."""
        own = (one for one in self.placed if one.place.tower == tower and one.site.kind == "self")
        if (
            placed.place.tower != tower or placed.site.kind == "cross"
        ):  # what cross attention reads has the names of its tower
            placed = next((one for one in own if one.site.keys == length), placed)
        made = self._made(placed, length)
        # windows lie elsewhere from layer to layer; layers that agree share one table
        return self.made.setdefault((tower, made.strings, made.grids), made)

    def _made(self, placed: Placed, length: int) -> Tokens:
        model, path, reads = self.model, placed.site.path, self.reads
        each = length // len(placed.shown)
        if placed.parts > 1:
            found = names_of_parts(model, path, reads, placed.parts, placed.shown, each)
            return found or Tokens(tuple(f"part {part} · {i}" for part in placed.shown for i in range(each)))
        before = [one.site.queries for one in self.placed if one.site.path == path and one.site.call < placed.site.call]
        found = names_of_calls(model, path, reads, sum(before), length) or patches(model, path, reads.image, length)
        return found or names_of_parts(model, path, reads, 1, range(1), length) or numbers(length)


def numbers(length: int) -> Tokens:
    """Names where there are none."""
    return Tokens(tuple(map(str, range(length))))


def name_sites(
    placed: Sequence[Placed], model: nn.Module, reads: Reads, named: Tokens | None, target: Tokens | None
) -> tuple[list[Site], Tokens, Tokens | None]:
    """The sites with names, the tokens of the text, and of a decoder beside it.

    Raises InputError where the names given fit no tower.
    """
    both = target is not None or bool(getattr(getattr(model, "config", None), "is_encoder_decoder", False))
    main, second = _readers(placed, reads, named, both)
    names = _Names(model, reads, placed)
    lengths = {tower: _length(placed, tower) for tower in (main, second)}
    beside = lengths[second] if second is not None else None
    length = lengths[main] if lengths[main] is not None else _crossed(placed)
    if target is not None:
        _check_length(target, beside)
    elif beside is not None:
        target = numbers(beside)
    if named is None:
        its = [one for one in placed if one.place.tower == main and one.site.kind == "self" and one.site.keys == length]
        named = names.of(its[0], main, length) if its and length else numbers(length or 0)
    elif any(one.site.query_offset for one in placed) and len(named) == (length or 0) + 1:
        named = named.select(range(len(named) - 1))  # generate() returns one token more than the model has read
    own = len(named)
    behind = (length or 0) - own
    named = padded_with(named, reads.padded(behind) or _vectors_behind(placed, model, reads, main, own, behind))
    _check_length(named, length)

    def axis(one: Placed, tower: str | None, length: int, reaches: int) -> Tokens:
        """The tokens of a tower along an axis, whose last position in the text is `reaches`."""
        if one.is_whole and tower == main and named is not None and length == len(named):
            return named
        if one.is_whole and second is not None and tower == second and target is not None and reaches <= len(target):
            return _longer(target, length) if one.site.offset == 0 and length > len(target) else target
        if one.is_whole and tower == main and named is not None and length == own:  # cut again before it is read
            return named.select(range(own))
        if one.is_whole and tower == main and named is not None and reaches <= len(named) < length:
            return _longer(named, length)
        return names.of(one, tower, length)

    sites = []
    for one in placed:
        site, tower = one.site, one.place.tower
        if site.kind == "self":
            end = site.query_offset + site.queries
            keys = axis(one, tower, site.keys, end)
            queries = keys
        else:
            reading = tower if _length(placed, tower) == site.queries else _other(placed, one, site.queries, tower)
            queries = axis(one, reading, site.queries, site.queries)
            other = _source(placed, one, main, second)
            keys = axis(one, other, site.keys, site.keys)
        sites.append(_with_names(site, queries, keys, named, target))
    return sites, named, target


def _vectors_behind(
    placed: Sequence[Placed], model: nn.Module, reads: Reads, main: str | None, own: int, count: int
) -> tuple[int, ...]:
    """The id of padding `count` times, where the model put as many vectors behind those of all ids that it was given, and no token
    looks at them (Pegasus-X fills its last block); () where it did not."""
    ids = reads.given.get("input_ids")
    if count < 1 or ids is None or ids.shape[1] != own:
        return ()
    for one in placed:
        site = one.site
        if one.place.tower != main or site.kind != "self" or not one.is_whole or site.queries != own + count:
            continue
        if bool(site.mask.allowed(torch.arange(own), site.keys)[..., own : own + count].any()):
            return ()
    pad = getattr(getattr(model, "config", None), "pad_token_id", None)
    return (pad if isinstance(pad, int) else 0,) * count


def _with_names(site: Site, queries: Tokens, keys: Tokens, named: Tokens, target: Tokens | None) -> Site:
    """The site, with its names where they are not those that a trace gives to its stack."""
    beside = target if target is not None else named
    own = (beside if site.stack in ("decoder", "cross") else named, beside if site.stack == "decoder" else named)
    return site if own[0] is queries and own[1] is keys else replace(site, named=(queries, keys))


def _longer(named: Tokens, length: int) -> Tokens:
    """The names, and numbers for keys that stand for no token (what a model adds behind them)."""
    return Tokens((*named.strings, *(f"key {i}" for i in range(len(named), length))))


def _check_length(named: Tokens, length: int | None) -> None:
    if length is not None and len(named) != length:
        raise InputError(
            f"{len(named)} tokens were given, but this pass attends over {length} positions. With a cache, give the ids "
            "of the whole text so far; for another pass, say which with forward=."
        )


def _length(placed: Sequence[Placed], tower: str | None) -> int | None:
    """The positions of a tower, in whole sequences if there are some: the longest, where caches have dropped some. What
    stands behind its own tokens does not count."""
    for kind in ("self", "cross"):
        for whole in (True, False):
            lengths = [
                one.site.query_offset + one.site.queries
                for one in placed
                if one.place.tower == tower and one.site.kind == kind and one.is_whole is whole
            ]
            if lengths:
                return max(lengths)
    return None


def _towers(placed: Sequence[Placed]) -> list[str | None]:
    return [*dict.fromkeys(one.place.tower for one in placed)]


def _readers(placed: Sequence[Placed], reads: Reads, named: Tokens | None, both: bool) -> tuple[str | None, str | None]:
    """The tower of the text, and the one of a decoder that reads a text of its own; None where there is none. `both`:
    there is one by the configuration, or by what was given."""
    towers = _towers(placed)
    if "decoder" in towers and (both or "encoder" in towers) and any(one.site.kind == "cross" for one in placed):
        others = [tower for tower in towers if tower != "decoder" and _length(placed, tower) == _crossed(placed)]
        return ("encoder" if "encoder" in towers or len(others) != 1 else others[0]), "decoder"
    if len(towers) == 1:
        return towers[0], None
    for path, ids in sorted(reads.tables, key=lambda read: not _is_given(reads, read[1])):
        fits = [tower for tower in towers if _length(placed, tower) in (ids.shape[1], _past(reads) + ids.shape[1])]
        near = {
            tower: max(shared_parts(path, one.site.path) for one in placed if one.place.tower == tower)
            for tower in fits
        }
        if near:
            return max(near, key=lambda tower: near[tower]), None
    ids = reads.given.get("input_ids")
    wanted = len(named) if named is not None else None if ids is None else _past(reads) + ids.shape[1]
    fitting = [tower for tower in towers if wanted in (None, _length(placed, tower))]
    return next((tower for tower in _FIRST if tower in fitting), (fitting or towers)[0]), None


def _crossed(placed: Sequence[Placed]) -> int | None:
    """The keys of the decoder's cross attention."""
    keys = [one.site.keys for one in placed if one.site.kind == "cross" and one.place.tower == "decoder"]
    return max(keys, default=None)


def _past(reads: Reads) -> int:
    return reads.past or 0


def _is_given(reads: Reads, ids: Tensor) -> bool:
    main = reads.given.get("input_ids")
    return main is not None and main.shape == ids.shape


def _source(placed: Sequence[Placed], one: Placed, main: str | None, second: str | None) -> str | None:
    """The tower that cross attention reads."""
    if second is not None and one.place.tower == second:
        return main
    return _other(placed, one, one.site.keys, one.place.tower)


def _other(placed: Sequence[Placed], one: Placed, length: int, *own: str | None) -> str | None:
    """The only tower of this length, besides these of its own; where there are several, or none, a name that no tower has."""
    fits = {other.place.tower for other in placed if other.site.kind == "self" and other.site.keys == length} - {*own}
    return next(iter(fits)) if len(fits) == 1 else f"what {one.site.path} reads"


def patches(model: nn.Module, path: str, image: tuple[int, int] | None, length: int) -> Tokens | None:
    """Names for the patches of an image, by row and column, where the tower's configuration tells how many there are."""
    parts = path.split(".")
    for count in range(len(parts), -1, -1):
        around: Any = model
        for part in parts[:count]:
            around = getattr(around, part, None)
        config = getattr(around, "config", None)
        size, whole = (height_and_width(getattr(config, name, None)) for name in ("patch_size", "image_size"))
        whole = image or whole
        if size is None or whole is None:
            continue
        rows, columns = whole[0] // size[0], whole[1] // size[1]
        before = length - rows * columns
        registers = int(getattr(config, "num_register_tokens", 0) or 0)
        if rows * columns == 0 or not 0 <= before <= 2 + registers:
            return None
        first = ["[CLS]", *(f"[REG {i}]" for i in range(before - 1))] if registers else ["[CLS]", "[DIST]"]
        special = (True,) * before + (False,) * (rows * columns)
        return Tokens(
            (*first[:before], *patch_places(rows, columns)),
            special=special,
            grids=(grid_from(before, rows, columns),),
        )
    return None
