"""The built front end, a part of the package."""

import functools
from importlib.resources import files

from attnscope.errors import AttnscopeError


@functools.cache
def asset(name: str) -> str:
    """The text of a built file: "page.js", "widget.js", "serve.js" or "edits.js". Raises AttnscopeError in a clone without a build."""
    try:
        return files("attnscope").joinpath("static", name).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise AttnscopeError(
            f"the front end is not built: static/{name} is missing. In a clone, run `make demo` (or npm --prefix frontend ci "
            "&& npm --prefix frontend run build); with pip, install attnscope again."
        ) from None
