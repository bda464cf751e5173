"""Edits that are data (attnscope.views.head_edits), made in a model."""

from collections.abc import Mapping, Sequence
from typing import Any

from attnscope.editing.edit import Edit
from attnscope.errors import InputError
from attnscope.tracing.trace import Trace
from attnscope.views.head_edits import HeadEdit


def make_edits(
    edit: Edit, edits: Sequence[HeadEdit], other: Trace | None = None, align: Mapping[int, int] | None = None
) -> Edit:
    """Let all of them hold in an open `edit`, in their order; returns it.

    `other`: the text that a patch takes from. `align`: as for the verb `patch`. Raises InputError as the verbs do, and for a patch without another text.
    """
    for one in edits:
        chosen: Any = edit.heads(*one.names, stack=one.stack) if one.heads else edit.layers(one.layer, stack=one.stack)
        match one.verb:
            case "off":
                chosen.off()
            case "times":
                chosen.times(one.number)
            case "cut":
                chosen.cut(query=one.query, key=one.key)
            case "weights":
                chosen.weights(one.number, query=one.query, key=one.key)
            case _:
                if other is None:
                    raise InputError(
                        f"the edit {one} takes what a head does in the other text, and there is one text here: compare two, attnscope.compare(trace_a, trace_b)."
                    )
                chosen.patch(other, align=align)
    return edit
