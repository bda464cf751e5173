"""The metadata of a figure: one JSON object with the same field names as in a page's own pictures."""

import json
import math
import platform
from typing import Any

import torch

from attnscope.tracing.receipts import Receipt, SiteReceipt
from attnscope.tracing.trace import Trace
from attnscope.views.state import State


def describe(trace: Trace, state: State, code: str = "") -> dict[str, Any]:
    """Model and revision, text, place, versions, dtype and receipt, and the lines that draw it again (`code`).

    The receipt is of the site; for a picture of several layers it is of the whole trace.
    """
    import matplotlib
    import transformers

    from attnscope._version import __version__

    site, model = trace.site(state.layer, state.stack), trace.model
    several = state.level == "model" or (state.level in ("head", "matrix") and state.average in ("layers", "all"))
    return {
        "attnscope": __version__,
        "versions": {
            "attnscope": __version__,
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "matplotlib": matplotlib.__version__,
            "python": platform.python_version(),
        },
        "model": model.name,
        "revision": model.revision,
        "class": model.class_name,
        "dtype": model.dtype,
        "implementation": model.implementation,
        "source": None if trace.source is None else dict(trace.source),
        "text": (trace.source or {}).get("text") or trace.tokens.text or " ".join(trace.tokens),
        "tokens": [list(tokens) for tokens in trace.tables],
        "level": state.level,
        "stack": site.stack,
        "layer": site.layer,
        "head": state.head,
        "query": state.query,
        "key": state.key,
        "state": state.fragment,
        "receipt": _receipt(trace.verify() if several else site.verify()),
        "notes": list(trace.notes),
        "code": code,
    }


def _receipt(proof: Receipt | SiteReceipt) -> dict[str, Any]:
    if isinstance(proof, SiteReceipt):
        status = proof.status
    else:
        found = {site.status for site in proof.sites}
        status = next((s for s in ("failed", "unverified", "weights_only") if s in found), "exact")
    error = proof.max_error if math.isfinite(proof.max_error) else None
    found = {"status": status, "max_error": error, "tolerance": proof.tolerance, "rows": proof.rows, "of": proof.of}
    sites = (proof,) if isinstance(proof, SiteReceipt) else proof.sites
    writes = [site.write_error for site in sites if site.write_error is not None and math.isfinite(site.write_error)]
    return {**found, "write_error": max(writes)} if writes else found


def _title(told: dict[str, Any]) -> str:
    place = f"{told['stack'] + ' ' if told['stack'] else ''}layer {told['layer']}, head {told['head']}"
    return f"{told['model'] or told['class'] or 'attention'}: {place} ({told['level']})"


def for_file(kind: str, told: dict[str, Any]) -> dict[str, Any]:
    """The same in the fields of the format; without a date, so that equal figures are equal files."""
    words = json.dumps(told)  # ASCII: no format changes it
    title = told.get("title") or _title(told)
    title = title.encode("ascii", "replace").decode()
    software = f"attnscope {told['attnscope']} (matplotlib {told['versions']['matplotlib']})"
    if kind == "svg":
        return {"Title": title, "Description": words, "Creator": software, "Date": None}
    if kind == "pdf":
        return {"Title": title, "Subject": words, "Creator": software, "Keywords": "attention", "CreationDate": None}
    return {"Title": title, "attnscope": words, "Software": software}
