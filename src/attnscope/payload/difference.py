"""What a page needs to show B − A: the merged tokens, where each stands in A and in B, and a picture of every head."""

import json
from typing import Any

import safetensors.torch

from attnscope.comparing.alignment import Alignment
from attnscope.comparing.comparison import Comparison
from attnscope.comparing.head_changes import ZERO, HeadChange, pixels
from attnscope.payload import codec
from attnscope.payload.plain_json import plain, tokens_to_json
from attnscope.payload.site_codec import describe_site
from attnscope.statistics.definitions import CHANGES, in_payload
from attnscope.statistics.thumbnails import BROKEN, MASKED
from attnscope.tracing.step_names import in_payload as step_names


def encode(comparison: Comparison, more: tuple[str, ...] = ()) -> bytes:
    """The comparison as payload bytes (docs/payload.md).

    Its sites hold no tensors but pictures; "pair" tells which sites and tokens of the two traces they stand for. `more`
    notes are added to those of the traces.
    """
    a, b = comparison.a, comparison.b
    alignments = comparison.alignments
    full = max(float(change.picture.abs().nan_to_num(0.0).max()) for change in comparison.changes)
    tensors, sites = {}, []
    receipts = a.verify().sites, b.verify().sites
    index_of = [{id(site): i for i, site in enumerate(trace.sites)} for trace in (a, b)]
    places = []
    for index, (pair, change) in enumerate(zip(comparison.site_pairs, comparison.changes, strict=True)):
        at = index_of[0][id(pair.a)], index_of[1][id(pair.b)]
        places.append(list(at))
        tensors[f"t{index}"] = pixels(change.picture, full)
        description = describe_site(at[0], pair.a, receipts[0][at[0]], a)
        queries, keys = (_index(alignments, axis) for axis in (pair.queries, pair.keys))
        sites.append(description | _site(index, pair, change, full, queries, keys))
    notes = [*_notes(a, "A"), *_notes(b, "B"), *comparison.notes, *(str(one) for one in alignments), *more]
    meta = {
        "format": codec.FORMAT,
        "version": codec.VERSION,
        "trace": f"{codec.trace_id(a)}-{codec.trace_id(b)}",
        "model": {
            "name": " → ".join(dict.fromkeys(t.model.name or t.model.class_name for t in (a, b))),
            "class": a.model.class_name,
            "type": a.model.type,
            "dtype": a.model.dtype,
            "implementation": a.model.implementation,
            "revision": a.model.revision,
        },
        "versions": dict(codec.versions()),
        "tokens": [tokens_to_json(one.merged) for one in alignments],
        "sites": sites,
        "receipt": None,
        "notes": notes,
        "unrecorded": [],
        "source": None,
        **in_payload(CHANGES),
        "step_names": step_names(),
        "pair": {
            "sites": places,
            "places": [{"a": [i for i, _ in one.places], "b": [j for _, j in one.places]} for one in alignments],
        },
    }
    text = json.dumps(plain(meta), ensure_ascii=False, separators=(",", ":"))
    return safetensors.torch.save(tensors, {codec.FORMAT: text})


def _site(index: int, pair: Any, change: Any, full: float, queries: int, keys: int) -> dict[str, Any]:
    """The entries of a description that the difference changes: its axes are the merged rows."""
    _, rows, columns = change.picture.shape
    return {
        "index": index,
        "heads": pair.heads,
        "kv_heads": pair.heads,
        "queries": len(pair.queries.places),
        "keys": len(pair.keys.places),
        "query_offset": 0,
        "softcap": None,
        "weights_only": True,
        "query_tokens": queries,
        "key_tokens": keys,
        "norms": "value",
        "note": "",
        "scaling": 1.0,
        "scaled_by_model": False,
        "mask": {
            "lower": None,
            "upper": None,
            "keys": None,
            "rows": None,
            "packed": None,
            "empty_rows": "zero",
            "words": "",
        },
        "thumb": {
            "tensor": f"t{index}",
            "rows": rows,
            "columns": columns,
            "method": "max",
            "range": [-full, full],
            "steps": (ZERO - 1) / (full or 1.0),
            "zero": ZERO,
            "masked": MASKED,
            "broken": BROKEN,
            "queries_sampled": None,
        },
        "stats": {s.name: [_number(head, s.name) for head in change.heads] for s in CHANGES},
        "links": [_link(head) for head in change.heads],
    }


def _index(alignments: tuple[Alignment, ...], axis: Alignment) -> int:
    return next(n for n, one in enumerate(alignments) if one is axis)


def _number(head: HeadChange, name: str) -> float | None:
    value = getattr(head, name)
    return None if value is None else float(f"{abs(value):.6g}")


def _link(head: HeadChange) -> list | None:
    return None if head.largest is None else [head.query, head.key, float(f"{head.largest:.6g}")]


def _notes(trace: Any, side: str) -> list[str]:
    return [f"{side}: {note}" for note in trace.notes]
