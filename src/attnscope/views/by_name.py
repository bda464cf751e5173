"""What a view is asked to look at by name: targets of the stream, a group of tokens."""

from collections.abc import Mapping
from typing import Any

from attnscope.tracing.trace import Trace
from attnscope.views.stream_column import with_targets


def numbered(trace: Trace, look: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of a state, with the numbers of what is given by name. Raises InputError for a name that is not there."""
    found = with_targets(trace, look)
    groups = trace.tokens.groups
    if isinstance(found.get("group"), str):
        found["group"] = groups.every.index(groups[found["group"]])
    return found
