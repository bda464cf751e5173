"""The tables of a survey that nobody ran: numbers by a seed, as the pages of an atlas read them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

WORDS = "the teacher wrote a long letter to her old friend near the quiet river and sent it on monday".split()
PARTS = ("confidence", "itself", "previous", "next", "first", "special", "same", "induction", "link", "link_mean")


def made_survey(
    out: Path, layers: int = 6, heads: int = 12, texts: bool = True, evil: str = "", seed: int = 5, detail: bool = True
) -> Path:
    """The tables of a survey of `layers` × `heads` heads in `out`. `texts`: whether they hold any. `evil`: a token among them.
    `detail`: distributions and examples of every head, and not of the first alone."""
    draw = np.random.default_rng(seed)
    count = layers * heads
    layer, head = np.divmod(np.arange(count), heads)
    columns: dict[str, Any] = {"layer": layer.astype(np.int32), "head": head.astype(np.int32)}
    columns["entropy"] = np.clip(3.2 - 2.2 * draw.beta(1.2, 2.5, count) - layer / layers, 0.05, None)
    columns["distance"] = np.exp(draw.normal(1.5, 0.6, count))
    for name in PARTS:
        columns[name] = draw.beta(0.6, 5, count)
    columns["link"] = np.maximum(columns["link"], columns["link_mean"]) ** 0.5
    special = pa.array(columns["special"], mask=draw.random(count) < 0.02)  # some heads have none
    tables = {"heads": pa.table({**columns, "special": special, "queries": np.full(count, 9000)})}
    shown = columns if detail else {name: values[:1] for name, values in columns.items()}
    tables["distributions"] = _distributions(draw, shown)
    tables["examples"] = _examples(draw, shown, texts, evil)
    (out / "tables").mkdir(parents=True, exist_ok=True)
    for name, table in tables.items():
        pq.write_table(table, out / "tables" / f"{name}.parquet")
    told = {
        "format": 1,
        "model": {"name": "made-model"},
        "documents": 10_000,
        "tokens": 123_456,
        "set_aside": 3,
        "notes": [],
    }
    (out / "manifest.json").write_text(json.dumps(told))
    return out


def _distributions(draw, columns) -> pa.Table:
    """200 texts a head, around its mean."""
    parts = []
    for name in ("entropy", "distance", "confidence", "previous", "first", "link"):
        edges = np.linspace(0, 1, 21) if name not in ("entropy", "distance") else np.linspace(0, 12, 25)
        ends = np.append(edges[1:-1], np.inf if name == "distance" else edges[-1])
        bins = len(edges) - 1
        mean = columns[name]
        around = np.clip(mean[:, None] * draw.lognormal(0, 0.4, (len(mean), 200)), 0, edges[-1])
        place = np.clip(np.searchsorted(edges, around, side="right") - 1, 0, bins - 1)
        counts = np.stack([(place == one).sum(1) for one in range(bins)], 1)
        table = {n: np.repeat(columns[n], bins) for n in ("layer", "head")} | {"statistic": [name] * counts.size}
        table |= {"low": np.tile(edges[:-1], len(mean)), "high": np.tile(ends, len(mean)), "count": counts.ravel()}
        parts.append(pa.table(table))
    return pa.concat_tables(parts)


def _examples(draw, columns, texts: bool, evil: str) -> pa.Table:
    """Of each head two of some tenths, and four at random."""
    rows = []
    words = [*WORDS, evil] if evil else WORDS
    for layer, head in zip(columns["layer"].tolist(), columns["head"].tolist(), strict=True):
        for kind, tenth in [*(("decile", n) for n in (9, 7, 4, 1, 0) for _ in range(2)), *[("random", None)] * 4]:
            weight = float(draw.random()) if tenth is None else (tenth + float(draw.random())) / 10
            window = [words[i] for i in draw.integers(0, len(words), 12)]
            query, key = (int(n) for n in draw.choice(12, 2, replace=False))
            if evil:
                window[query] = evil
            start = int(draw.integers(0, 20))
            rows.append(
                {
                    "layer": layer, "head": head, "kind": kind, "bin": int(weight * 10), "weight": weight,
                    "document": f"texts.txt:{int(draw.integers(0, 50))}", "query": start + query, "key": start + key,
                    "query_text": window[query] if texts else "", "key_text": window[key] if texts else "",
                    "window": window if texts else [], "window_query": query if texts else None, "window_key": key if texts else None,
                }
            )  # fmt: skip
    return pa.Table.from_pylist(rows)
