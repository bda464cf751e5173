"""What a figure carries about itself: one JSON object, the same in a PNG, an SVG and a PDF."""

import json
import platform
from typing import Any

import torch

from attnscope.state import State
from attnscope.tracing import Trace


def describe(trace: Trace, state: State, code: str = "") -> dict[str, Any]:
    """Model and revision, text, place, versions, dtype and receipt, and the lines that draw it again.

    The receipt is that of the site; at the model level it is that of the whole trace.
    """
    import matplotlib
    import transformers

    import attnscope

    site = trace.site(state.layer, state.stack)
    proof = trace.verify() if state.level == "model" or state.average in ("layers", "all") else site.verify()
    model, source = trace.model, trace.source or {}
    return {
        "model": {
            "name": model.name, "class": model.class_name, "revision": model.revision, "dtype": model.dtype,
            "attention": model.implementation,
        },
        "text": source.get("text") or trace.tokens.text or " ".join(trace.tokens.strings),
        **{name: source[name] for name in ("text_pair", "text_target", "messages", "generate") if name in source},
        "tokens": len(trace.tokens),
        "level": state.level,
        "stack": state.stack,
        "layer": state.layer,
        "head": state.head,
        "query": state.query,
        "key": state.key,
        "address": f"#{state.fragment}",
        "receipt": {"passed": _passed(proof), "max_error": proof.max_error, "tolerance": proof.tolerance, "rows": proof.rows,
                    "of": proof.of, "words": str(proof)},
        "notes": list(trace.notes),
        "versions": {"attnscope": attnscope.__version__, "torch": torch.__version__, "transformers": transformers.__version__,
                     "matplotlib": matplotlib.__version__, "python": platform.python_version()},
        "code": code,
    }  # fmt: skip


def _passed(proof: Any) -> bool | None:
    """None where nothing could be checked."""
    if hasattr(proof, "status"):
        return {"exact": True, "failed": False}.get(proof.status)
    return proof.passed if any(site.status in ("exact", "failed") for site in proof.sites) else None


def for_file(kind: str, told: dict[str, Any]) -> dict[str, Any]:
    """The same as the fields that the format has; no date, so that equal figures are equal files."""
    words = json.dumps(told)  # ASCII: every format keeps it as it is
    name = told["model"]["name"] or told["model"]["class"] or "attention"
    place = f"{told['stack'] + ' ' if told['stack'] else ''}layer {told['layer']}, head {told['head']}"
    title = f"{name}: {place} ({told['level']} level)".encode("ascii", "replace").decode()
    software = f"attnscope {told['versions']['attnscope']} (matplotlib {told['versions']['matplotlib']})"
    if kind == "svg":
        return {"Title": title, "Description": words, "Creator": software, "Keywords": ["attention"], "Date": None}
    if kind == "pdf":
        return {"Title": title, "Subject": words, "Creator": software, "Keywords": "attention", "CreationDate": None}
    return {"Title": title, "Description": words, "Software": software}
