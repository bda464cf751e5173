"""Names that code of earlier versions imports: pages wrote them into "copy as Python", and notebooks keep them."""

from typing import Any


def with_state(view: Any, **changes: Any) -> Any:
    """The same as `view.at(**changes)`."""
    return view.at(**changes)
