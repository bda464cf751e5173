"""Who answers for the edits of a live view: the models that read its texts."""

from typing import Any

from attnscope.comparing.comparison import Comparison
from attnscope.errors import InputError
from attnscope.payload.edit_requests import Editor
from attnscope.tracing.trace import Trace


def editors_of(model: Any, tokenizer: Any, trace: Trace) -> dict[str, Editor]:
    """Of one trace; empty without a model."""
    if model is None:
        return {}
    from attnscope.live_edits import LiveEdits

    return {"a": LiveEdits(model, tokenizer, trace)}


def editors_of_both(model: Any, tokenizer: Any, comparison: Comparison) -> dict[str, Editor]:
    """Of both texts of a comparison, each of which takes patches from the other; empty without a model.

    `model`, `tokenizer`: those of both traces, or a pair of them. Raises InputError for a pair of another length.
    """
    if model is None:
        return {}
    from attnscope.live_edits import LiveEdits

    models, readers = (_both(one, name) for one, name in ((model, "model"), (tokenizer, "tokenizer")))
    a, b, align = comparison.a, comparison.b, None
    if len(a.tokens) != len(b.tokens):
        align = dict(comparison.alignment.pairs)
    back = None if align is None else {there: here for here, there in align.items()}
    return {
        "a": LiveEdits(models[0], readers[0], a, other=b, align=align),
        "b": LiveEdits(models[1], readers[1], b, other=a, align=back),
    }


def _both(given: Any, name: str) -> tuple[Any, Any]:
    if not isinstance(given, tuple):
        return given, given
    if len(given) != 2:
        raise InputError(f"expected {name} as that of both traces, or a pair of them; got {len(given)}.")
    return given[0], given[1]
