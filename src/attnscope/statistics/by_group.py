"""Trace.groups without a model: the weights of some queries, added up by group."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from attnscope.errors import InputError
from attnscope.statistics.group_sums import KeySums, key_sums
from attnscope.statistics.group_table import ASIDE, SINK, GroupRow, GroupTable
from attnscope.statistics.sink_tokens import set_aside
from attnscope.text.format import count
from attnscope.text.spelling import spelled
from attnscope.tracing.groups import KINDS, Group
from attnscope.tracing.places import is_number
from attnscope.tracing.site import Site, parse_head
from attnscope.tracing.tokens import Tokens
from attnscope.tracing.trace import Trace

BEGINS = 40  # characters of a group that its row shows
ANSWER = "answer"


def groups_of(trace: Trace, query: Any, heads: Any, kind: Any, special: Any, stack: Any) -> GroupTable:
    """See Trace.groups."""
    sites = _sites(trace, stack)
    tokens = trace.key_tokens(sites[0])
    groups = chosen_groups(tokens, kind)
    if special not in ("show", "hide"):
        raise InputError(f'special {special!r} is not one of "show", "hide".')
    positions, words = asked(trace, sites[0], query)
    wanted = _heads(heads, sites)
    rows: list[GroupRow] = []
    parts: list[list[GroupRow]] = []
    for site in sites:
        numbers = range(site.heads) if wanted is None else wanted.get(site.layer, ())
        if not numbers:
            continue
        aside = set_aside(trace, site) if special == "hide" else torch.zeros(site.keys, dtype=torch.bool)
        first = site.query_offset
        inside = [position - first for position in positions if first <= position < first + site.queries]
        if not inside:
            raise InputError(
                f"{words}: these queries are not in this pass, which has {first} to {first + site.queries - 1}. Ask for others."
            )
        sums = key_sums(site, inside, ~aside)
        of_heads = [_of_head(site, head, sums, tokens, groups, aside) for head in numbers]
        parts += of_heads
        rows += [row for one in of_heads for row in one]
    of = f"mean over {count(len(parts), 'head')}" if heads is None else count(len(parts), "head")
    return GroupTable(tuple(_means(parts) if heads is None else rows), words, tuple(positions), of)


def chosen_groups(tokens: Tokens, kind: Any) -> tuple[Group, ...]:
    """The groups of some tokens, of one kind or several (None: of all). Raises InputError where there are none."""
    kinds = (kind,) if isinstance(kind, str) else None if kind is None else tuple(kind)
    if unknown := [one for one in kinds or () if one not in KINDS]:
        raise InputError(f"expected kinds of groups ({', '.join(KINDS)}), got {unknown[0]!r}.")
    found = tuple(group for group in tokens.groups if kinds is None or group.kind in kinds)
    if not found:
        there = ", ".join(dict.fromkeys(group.kind for group in tokens.groups))
        raise InputError(
            f"this text has no groups of kind {', '.join(kinds)}; it has {there}."
            if kinds and there
            else 'this text has no groups: it is one passage. Name some: trace(…, groups={"first half": (0, 12)}).'
        )
    return found


def asked(trace: Trace, site: Site, query: Any) -> tuple[list[int], str]:
    """Positions among the query tokens, in order, and what they are in words."""
    tokens = trace.query_tokens(site)
    named = tokens.groups[query] if isinstance(query, str) and query in tokens.groups else None
    if query == ANSWER and (named is None or named.kind == ANSWER):
        return _answer(tokens, site)
    several = query if isinstance(query, Iterable) and not isinstance(query, str) else [query]
    found: set[int] = set()
    titles = []
    for one in several:
        if isinstance(one, Group) or (isinstance(one, str) and one in tokens.groups):
            group = one if isinstance(one, Group) else tokens.groups[one]
            found.update(range(group.start, min(group.stop, len(tokens))))
            titles.append(f"the {count(len(group), 'token')} of “{group.name}”")
        elif isinstance(one, slice):
            found.update(range(*one.indices(len(tokens))))
            titles.append(f"tokens {one.start or 0} to {(len(tokens) if one.stop is None else one.stop) - 1}")
        elif isinstance(one, str) or is_number(one):
            at = tokens.find(one, "query")
            found.add(at)
            titles.append(f"token {at}, “{spelled(tokens)[at]}”")
        else:
            raise InputError(
                f"expected query as a position, a token as written, the name of a group, a slice, or several of these; got {one!r:.60}."
            )
    if not found:
        raise InputError(f"query {query!r:.60} names no token: give at least one.")
    return sorted(found), "from " + ", ".join(titles[:4]) + (" and others" if len(titles) > 4 else "")


def _answer(tokens: Tokens, site: Site) -> tuple[list[int], str]:
    """The tokens from which an answer was, or will be, written: a causal model writes each from the one before it."""
    if site.kind == "self" and site.mask.upper != 0 and tokens.border is None:
        raise InputError(
            'query="answer" is of causal models, which write a text on; this one reads it as a whole. Give a token, such as query="[MASK]".'
        )
    last = len(tokens) - 1
    if tokens.border is None or tokens.border > last:
        return [last], f"from the last token, “{spelled(tokens)[last]}”, which an answer is written from"
    first = max(0, tokens.border - 1)
    return list(range(first, last)) or [
        first
    ], f"from the {count(max(1, last - first), 'token')} that the answer was written from"


def _sites(trace: Trace, stack: Any) -> tuple[Site, ...]:
    """The sites of one stack: the one that there is, else the cross attention."""
    if stack is None:
        stack = "cross" if "cross" in trace.stacks else None if len(trace.stacks) > 1 else next(iter(trace.stacks))
    if stack is None or stack not in trace.stacks:
        trace.site(0, stack)  # raises, naming the stacks there are
    return tuple(site for site in trace.sites if site.stack == stack)


def _heads(heads: Any, sites: Sequence[Site]) -> dict[int, list[int]] | None:
    """Heads by layer; None: all."""
    if heads is None or (isinstance(heads, str) and heads == "all"):
        return None
    several = list(heads) if isinstance(heads, Iterable) and not isinstance(heads, str) else [heads]
    by_layer = {site.layer: site for site in sites}
    found: dict[int, list[int]] = {}
    for one in several:
        layer, head = parse_head(one)
        if layer not in by_layer or head is None or head >= by_layer[layer].heads:
            last = sites[-1]
            raise InputError(
                f'expected heads as names from "L{sites[0].layer}H0" to "L{last.layer}H{last.heads - 1}", or "all"; got {one!r:.40}.'
            )
        found.setdefault(layer, []).append(head)
    if not found:
        raise InputError('heads is empty: give names such as "L2H8", or "all".')
    return found


def _of_head(
    site: Site, head: int, sums: KeySums, tokens: Tokens, groups: Sequence[Group], aside: Bool[Tensor, " K"]
) -> list[GroupRow]:
    place = {"stack": site.stack, "layer": site.layer, "head": head}
    counts = (~aside).double()
    weight, even = _running(sums.weight[head] * counts), _running(sums.even[head])
    share = None if sums.share is None else _running(sums.share[head] * counts)
    number = _running(counts)
    rows = []
    for group in groups:
        start, stop = group.start, min(group.stop, site.keys)
        tokens_here = round(float(number[stop] - number[start])) if start < stop else 0
        if not tokens_here:
            continue
        rows.append(
            GroupRow(
                group.name,
                group.kind,
                group.start,
                group.stop,
                tokens.groups.depth(group),
                _begins(tokens, group),
                tokens_here,
                float(weight[stop] - weight[start]),
                float(even[stop] - even[start]),
                None if share is None else float(share[stop] - share[start]),
                **place,
            )
        )
    if bool(aside.any()):
        away = float(sums.weight[head][aside].sum())
        written = None if sums.share is None else float(sums.share[head][aside].sum())
        rows.append(GroupRow(ASIDE, "aside", None, None, 0, "", int(aside.sum()), away, None, written, **place))
    if site.sinks is not None:
        rows.append(GroupRow(SINK, "sink", None, None, 0, "", 0, float(sums.sink[head]), None, None, **place))
    return rows


def _running(values: Float[Tensor, " K"]) -> Float[Tensor, " K1"]:
    """Sums of the first n values, n from 0 to K: a group's sum is a difference of two."""
    return torch.cat([values.new_zeros(1), values.cumsum(0)])


def _begins(tokens: Tokens, group: Group) -> str:
    """How a group begins, on one line, without the special tokens before it."""
    first = next((at for at in range(group.start, group.stop) if not tokens.special[at]), group.start)
    running = tokens.running
    text = " ".join(running.text[running.starts[first] : running.ends[group.stop - 1]].split())
    return text if len(text) <= BEGINS else f"{text[:BEGINS]}…"


def _means(parts: Sequence[Sequence[GroupRow]]) -> list[GroupRow]:
    """Each row, averaged over the heads that have it."""
    by_name: dict[str, list[GroupRow]] = {}
    for rows in parts:
        for row in rows:
            by_name.setdefault(row.name, []).append(row)

    def mean(values: Iterable[float | None]) -> float | None:
        known = [value for value in values if value is not None]
        return sum(known) / len(parts) if known else None

    return [
        replace(
            rows[0],
            stack=None,
            layer=None,
            head=None,
            weight=mean(one.weight for one in rows) or 0.0,
            even=mean(one.even for one in rows),
            share=mean(one.share for one in rows),
        )
        for rows in by_name.values()
    ]
