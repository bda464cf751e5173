"""What a page needs to show B − A: the merged tokens, where each stands in A and in B, and a picture of every head."""

import json
from typing import Any

import safetensors.torch

from attnscope.comparing.comparison import Comparison
from attnscope.comparing.head_changes import ZERO, HeadChange, pixels
from attnscope.payload import codec
from attnscope.statistics.thumbnails import BROKEN, MASKED

STATISTICS = {
    "change": ("change", "part", "How far a head's weights have moved from A to B: ½ Σ |B − A| over the keys of either text, averaged over the queries that both have (total-variation distance); 0 % is no change, 100 % is all weight elsewhere."),
    "largest": ("largest difference", "part", "The largest difference of one weight between two tokens that are not special, without its sign."),
    "turned": ("turn of the output", "", "1 − cos between the head's output in A and in B, averaged over the queries that both have: 0 is the same direction, 1 a right angle."),
}  # fmt: skip


def encode(comparison: Comparison, more: tuple[str, ...] = ()) -> bytes:
    """The comparison as payload bytes (docs/payload.md): sites hold no tensors but their pictures, and "pair" tells which
    sites and tokens of the two traces they stand for. `more` notes are added to those of the traces."""
    a, b = comparison.a, comparison.b
    alignments = [one for one in (comparison.alignment, comparison.target_alignment) if one is not None]
    full = max(float(change.picture.abs().nan_to_num(0.0).max()) for change in comparison.changes)
    tensors, sites = {}, []
    receipts = a.verify().sites, b.verify().sites
    index_of = [{id(site): i for i, site in enumerate(trace.sites)} for trace in (a, b)]
    places = []
    for index, (beside, change) in enumerate(zip(comparison.besides, comparison.changes, strict=True)):
        at = index_of[0][id(beside.a)], index_of[1][id(beside.b)]
        places.append(list(at))
        tensors[f"t{index}"] = pixels(change.picture, full)
        description = codec._describe(at[0], beside.a, receipts[0][at[0]])
        queries, keys = (next(n for n, one in enumerate(alignments) if one is axis) for axis in (beside.queries, beside.keys))  # fmt: skip
        sites.append(description | _site(index, beside, change, full, queries, keys))
    notes = [*_said(a, "A"), *_said(b, "B"), *comparison.notes, *(str(one) for one in alignments), *more]
    if any(change.sampled for change in comparison.changes):
        notes.append("The changes and the small pictures are of queries spread evenly over the text, which is long; what is opened is computed whole.")  # fmt: skip
    meta = {
        "format": codec.FORMAT,
        "version": codec.VERSION,
        "trace": f"{codec.trace_id(a)}-{codec.trace_id(b)}",
        "model": {
            "name": " → ".join(dict.fromkeys(t.model.name or t.model.class_name for t in (a, b))),
            "class": a.model.class_name, "type": a.model.type, "dtype": a.model.dtype,
            "implementation": a.model.implementation, "revision": a.model.revision,
        },
        "versions": codec.versions(),
        "tokens": [codec._tokens_to_json(one.merged) for one in alignments],
        "sites": sites,
        "receipt": None,
        "notes": notes,
        "unrecorded": [],
        "source": None,
        "stat_titles": {name: title for name, (title, _, _) in STATISTICS.items()},
        "stat_units": {name: unit for name, (_, unit, _) in STATISTICS.items()},
        "stat_words": {name: words for name, (_, _, words) in STATISTICS.items()},
        "pair": {
            "sites": places,
            "places": [{"a": [i for i, _ in one.places], "b": [j for _, j in one.places]} for one in alignments],
        },
    }  # fmt: skip
    text = json.dumps(codec._plain(meta), ensure_ascii=False, separators=(",", ":"))
    return safetensors.torch.save(tensors, {codec.FORMAT: text})


def _site(index: int, beside: Any, change: Any, full: float, queries: int, keys: int) -> dict[str, Any]:
    """What of a description is another for the difference: the axes are the merged rows."""
    _, rows, columns = change.picture.shape
    return {
        "index": index, "heads": beside.heads, "kv_heads": beside.heads, "queries": len(beside.queries.places),
        "keys": len(beside.keys.places), "query_offset": 0, "softcap": None, "weights_only": True,
        "query_tokens": queries, "key_tokens": keys, "norms": "value", "note": "", "scaling": 1.0, "scaled_by_model": False,
        "mask": {"lower": None, "upper": None, "keys": None, "rows": None, "packed": None, "empty_rows": "zero", "words": ""},
        "thumb": {
            "tensor": f"t{index}", "rows": rows, "columns": columns, "method": "max", "range": [-full, full],
            "steps": (ZERO - 1) / (full or 1.0), "zero": ZERO, "masked": MASKED, "broken": BROKEN,
            "queries_sampled": change.sampled,
        },
        "stats": {name: [_number(head, name) for head in change.heads] for name in STATISTICS},
        "links": [_link(head) for head in change.heads],
    }  # fmt: skip


def _number(head: HeadChange, name: str) -> float | None:
    value = getattr(head, name)
    return None if value is None else float(f"{abs(value):.6g}")


def _link(head: HeadChange) -> list | None:
    return None if head.largest is None else [head.query, head.key, float(f"{head.largest:.6g}")]


def _said(trace: Any, side: str) -> list[str]:
    return [f"{side}: {note}" for note in trace.notes]
