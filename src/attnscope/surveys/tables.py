"""The tables of a survey that are about heads."""

from typing import Any

import numpy as np

from attnscope.surveys.arrow import arrow
from attnscope.surveys.bins import EDGES, LINK, bounds
from attnscope.surveys.examples import BINS, GROUPS, Examples
from attnscope.surveys.parts import Part
from attnscope.tracing.tokens import Tokens

AROUND = 6  # tokens before and after the query and the key
WIDE = 48  # tokens of a window: where query and key are further apart, the middle is left out
GAP = "…"


def tables_of(
    total: Part, examples: Examples, documents: dict[int, str], pieces: dict[int, tuple[list[str], list[bool]]]
) -> dict[str, Any]:
    """By name. `documents`, `pieces`: of the examples, by number."""
    return {
        "heads": _heads(total),
        "distributions": _distributions(total),
        "examples": _examples(total, examples, documents, pieces),
    }


def _heads(total: Part) -> Any:
    pa = arrow()
    layer, head = np.array(total.heads, dtype=np.int32).T
    columns: dict[str, Any] = {"layer": layer, "head": head}
    for place, name in enumerate(total.names):
        values, counts = total.values[:, place], total.counts[:, place]
        if counts.any():
            columns[name] = _or_null(values, counts)
    largest, added, documents = total.link
    columns["link"] = pa.array(largest, mask=documents == 0)
    columns["link_mean"] = _or_null(added, documents)
    columns["queries"] = total.counts[:, total.names.index("confidence")].astype(np.int64)
    return pa.table(columns)


def _or_null(values: "np.ndarray", counts: "np.ndarray") -> Any:
    return arrow().array(values / np.maximum(counts, 1), mask=counts == 0)


def _distributions(total: Part) -> Any:
    pa = arrow()
    layer, head = np.array(total.heads, dtype=np.int32).T
    parts: list[dict[str, Any]] = []
    for place, name in enumerate((*total.names, LINK)):
        bins = len(EDGES[name]) - 1
        counts = total.bins[place, :, :bins]
        if not counts.any():
            continue
        low, high = np.array([bounds(name, n) for n in range(bins)]).T
        each, heads = counts.size, len(layer)
        parts.append(
            {
                "layer": layer.repeat(bins),
                "head": head.repeat(bins),
                "statistic": pa.array([name] * each, pa.string()),
                "low": np.tile(low, heads),
                "high": np.tile(high, heads),
                "count": counts.ravel(),
            }
        )
    return pa.concat_tables([pa.table(part) for part in parts])


def _examples(
    total: Part, examples: Examples, documents: dict[int, str], pieces: dict[int, tuple[list[str], list[bool]]]
) -> Any:
    pa = arrow()
    columns = examples.columns
    number, group = np.divmod(columns["group"], GROUPS)
    weight = columns["weight"]
    heads = np.array(total.heads, dtype=np.int32).reshape(-1, 2)
    tenth = np.clip((weight * BINS).astype(np.int64), 0, BINS - 1)
    shown: dict[int, tuple[str, ...]] = {}
    windows = []
    for document, query, key in zip(*(columns[n].tolist() for n in ("document", "query", "key")), strict=True):
        if document in pieces and document not in shown:
            shown[document] = _shown(*pieces[document])
        windows.append(_window(shown.get(document, ()), query, key))
    texts = [shown.get(document, ()) for document in columns["document"].tolist()]
    return pa.table(
        {
            "layer": heads[number, 0],
            "head": heads[number, 1],
            "kind": pa.array(["random" if one == BINS else "decile" for one in group.tolist()], pa.string()),
            "bin": tenth,
            "document": pa.array([documents[n] for n in columns["document"].tolist()], pa.string()),
            "query": columns["query"],
            "key": columns["key"],
            "weight": weight,
            "query_text": pa.array(
                [t[q] if t else "" for t, q in zip(texts, columns["query"], strict=True)], pa.string()
            ),
            "key_text": pa.array([t[k] if t else "" for t, k in zip(texts, columns["key"], strict=True)], pa.string()),
            "window": pa.array([window for window, *_ in windows], pa.list_(pa.string())),
            "window_query": pa.array([place for _, place, _ in windows], pa.int32()),
            "window_key": pa.array([place for *_, place in windows], pa.int32()),
        }
    )


def _shown(pieces: list[str], special: list[bool]) -> tuple[str, ...]:
    """Tokens as people read them."""
    return Tokens(tuple(pieces), special=tuple(special)).shown


def _window(shown: tuple[str, ...], query: int, key: int) -> tuple[list[str], int | None, int | None]:
    """The tokens around query and key, and where in them these are."""
    if not shown:
        return [], None, None
    left, right = sorted((query, key))
    first, stop = max(0, left - AROUND), min(len(shown), right + AROUND + 1)
    if stop - first <= WIDE:
        return [*shown[first:stop]], query - first, key - first
    before, behind = shown[first : left + AROUND + 1], shown[right - AROUND : stop]
    places = {left: left - first, right: len(before) + 1 + AROUND}
    return [*before, GAP, *behind], places[query], places[key]
