"""A survey in the layout of HeadVis: data/config.json, data/scatter_data.json and data/heads/L2H8.json.

The names of the files are HeadVis's. No schema of what is in them is known here, so the keys are those of the survey's tables;
docs/scale.md lists them.
"""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from attnscope._version import __version__
from attnscope.payload.atomic_write import write_atomically
from attnscope.surveys.atlas.numbers import name_of
from attnscope.surveys.atlas.read import Link, Tables, read_tables
from attnscope.surveys.files import folder_at

COUNTS = ("documents", "tokens", "set_aside")


def write_headvis(out: Path, to: Path) -> Path:
    """The survey in `out` as JSON in `to`/data, which is made. Returns that folder. Raises UnreadableFile where a table cannot be
    read, InputError where the survey holds no heads, OutputError where a file cannot be written."""
    tables = read_tables(out)
    data = to.expanduser() / "data"
    heads = folder_at(data / "heads")
    for place, head in enumerate(tables.heads):
        _write(heads / f"{name_of(*head)}.json", _head(tables, place))
    _write(data / "scatter_data.json", [_point(tables, place) for place in range(len(tables.heads))])
    _write(data / "config.json", _config(tables))
    return data


def _config(tables: Tables) -> dict[str, Any]:
    layers, heads = zip(*tables.heads, strict=True)
    return {
        "model": tables.model,
        "n_layers": max(layers) + 1,
        "n_heads": max(heads) + 1,
        **{name: tables.manifest[name] for name in COUNTS if name in tables.manifest},
        "metrics": [
            {"name": one.name, "title": one.title, "unit": one.unit, "description": one.words, "formula": one.formula}
            for one in tables.statistics
        ],
        "written_by": f"attnscope {__version__}",
    }


def _point(tables: Tables, place: int) -> dict[str, Any]:
    layer, head = tables.heads[place]
    values = zip(tables.statistics, tables.values[place].tolist(), strict=True)
    numbers = {one.name: None if math.isnan(value) else value for one, value in values}
    return {"id": name_of(layer, head), "layer": layer, "head": head, **numbers}


def _head(tables: Tables, place: int) -> dict[str, Any]:
    groups = tables.examples.get(tables.heads[place], {})
    return {
        **_point(tables, place),
        "distributions": {
            name: [
                {"low": one.low, "high": one.high if math.isfinite(one.high) else None, "count": one.count}
                for one in tables.distribution(place, name)
            ]
            for name in tables.bins
        },
        "examples": {"random" if group < 0 else f"decile_{group}": _examples(links) for group, links in groups.items()},
    }


def _examples(links: Sequence[Link]) -> list[dict[str, Any]]:
    return [
        {
            "document": one.document,
            "query": one.query,
            "key": one.key,
            "weight": one.weight,
            "tokens": [*one.window],
            "query_in_tokens": one.window_query,
            "key_in_tokens": one.window_key,
        }
        for one in links
    ]


def _write(path: Path, value: Any) -> None:
    write_atomically(path, json.dumps(value, ensure_ascii=False, allow_nan=False).encode())
