"""A rule in one call: of which heads, queries and keys it is there, and what it says of them."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from attnscope.capturing.read.stacks import Place
from attnscope.editing.positions import Here, Position
from attnscope.editing.rules import OF_KEYS, Cut, Rule, Share, Weights
from attnscope.errors import InputError


@dataclass(frozen=True)
class Bound:
    """A rule that holds for a call. `heads`: those of the call that it is of; `here`, `place`: where the call stands."""

    rule: Rule
    heads: tuple[int, ...]
    here: Here
    place: Place


def where_of(bound: Bound, batch: int, covered: Bool[Tensor, " T"]) -> Bool[Tensor, "B T"]:
    """Where a rule of vectors holds, in every row of the batch: its positions, of those for which it has something."""
    rule, of_keys = bound.rule, bound.rule.change.link in OF_KEYS
    chosen = _at(bound, rule.positions, of_keys)
    where = (covered[None] if chosen is None else covered & _for_rows(chosen, batch, rule)).expand(batch, -1).clone()
    if rule.row is not None:
        where[[row for row in range(batch) if row != rule.row]] = False
    return where


def _at(
    bound: Bound, positions: tuple[Position, ...] | None, keys: bool = False, what: str = "positions"
) -> Bool[Tensor, "b T"] | None:
    """Which queries (or keys) of the call these are; of those that are not in the text the rule remembers why."""
    found = bound.here.at(positions, keys, what)
    if bound.here.missing:
        bound.rule.missed = "; ".join(dict.fromkeys(bound.here.missing))
        bound.here.missing.clear()
    return found


def pairs_of(
    bound: Bound, batch: int, queries: int, keys: int
) -> tuple[Tensor | None, Callable[[int, int], Tensor | None]]:
    """Of a rule of scores or weights: its queries by row, [B, Q], and what it says of a row and head of the call, [Q, K]."""
    rule = bound.rule
    if isinstance(rule.change, Cut | Share):
        query, key = _at(bound, rule.change.query, what="query"), _at(bound, rule.change.key, True, "key")
        q = torch.ones(1, queries, dtype=torch.bool) if query is None else query
        k = torch.ones(1, keys, dtype=torch.bool) if key is None else key
        q, k = _for_rows(q, batch, rule).expand(batch, -1), _for_rows(k, batch, rule).expand(batch, -1)
        return None, lambda row, head: q[row][:, None] & k[row]
    assert isinstance(rule.change, Weights)
    change, rows = rule.change, _at(bound, rule.positions)
    rows = None if rows is None else _for_rows(rows, batch, rule).expand(batch, -1)
    if change.source is None:
        return rows, lambda row, head: None
    made: dict[int, Tensor] = {}

    def of(row: int, head: int) -> Tensor:
        if head not in made:
            made[head] = _matrix(bound, change, head, keys)
        return made[head]

    return rows, of


def _matrix(bound: Bound, change: Weights, head: int, keys: int) -> Float[Tensor, "Q K"]:
    """The weights of a head for the queries and keys of this call; rows of NaN where there are none."""
    assert change.source is not None
    given, here = change.source(bound.place, head), bound.here
    if given is None:
        raise InputError(f"{bound.rule.name} has no weights for head {head} of {named(bound.place)}. Trace all layers.")
    check_length(bound, given.shape[0], here.began, True)
    if given.shape[1] != here.began_keys:
        raise InputError(
            f"{bound.rule.name}: expected weights for {here.began_keys} keys, got {given.shape[1]}. Give a matrix of this text."
        )
    made = torch.full((len(here.queries), keys), torch.nan, dtype=given.dtype)
    inside = here.queries < given.shape[0]
    columns = (here.keys >= 0) & (here.keys < given.shape[1])
    rows = torch.zeros(int(inside.sum()), keys, dtype=given.dtype)
    rows[:, columns] = given.cpu()[here.queries[inside]][:, here.keys[columns]]
    made[inside] = rows
    return made


def check_length(bound: Bound, length: int, began: int, exact: bool) -> None:
    """Raises InputError where vectors or weights of one text are put into a text of another length."""
    if began > length or (exact and began != length):
        what = f"{length} positions, and this text has {began}"
        raise InputError(
            f"{bound.rule.name} has {what}, so nothing tells which belongs to which. Give align={{position here: position there, …}}, or a "
            "text with as many tokens."
            if exact
            else f"{bound.rule.name} has {what}. Give longer texts, or by='all'."
        )


def groups_of(bound: Bound, heads: int, groups: int) -> list[int]:
    """The key/value heads of the chosen heads. Raises InputError where a group is chosen in part."""
    each = heads // groups
    found = sorted({head // each for head in bound.heads})
    for group in found:
        members = range(group * each, (group + 1) * each)
        if not set(members) <= set(bound.heads):
            layer, link = bound.place.layer, bound.rule.change.link
            names = ", ".join(f'"L{layer}H{head}"' for head in members)
            raise InputError(
                f"{bound.rule.name}: the heads {names} share one {link} (key/value head {group} of layer {layer}), so it cannot be changed in some "
                f"of them alone. Name the whole group: edit.heads({names})."
            )
    return found


def _for_rows(where: Bool[Tensor, "b T"], batch: int, rule: Rule) -> Bool[Tensor, "b T"]:
    if len(where) in (1, batch):
        return where
    raise InputError(
        f"{rule.name} names tokens of {len(where)} rows, and attention ran on {batch}: nothing tells which is which. Give positions."
    )


def named(place: Place) -> str:
    return f"{place.stack} layer {place.layer}" if place.stack else f"layer {place.layer}"
