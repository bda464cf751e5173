"""A View shown somewhere: page/ (one HTML file), widget.py (notebooks), terminal/, figures/ (paper), server/.

HOSTS has the functions that a View calls; `api` gives them to each View, so that views/ imports nothing from here.
"""

import base64
import importlib.util
import os
import sys
import tempfile
import warnings
import webbrowser
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from attnscope.errors import AttnscopeError
from attnscope.render.page.html import frame, page
from attnscope.views.view import View


def has_display() -> bool:
    """Whether a browser window can open here."""
    if os.environ.get("CI") or os.environ.get("SSH_CONNECTION"):
        return False
    return sys.platform in ("darwin", "win32") or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def open_page(view: View, path: Any = None) -> Path:
    """Save the page and open it in a browser, if there is a display."""
    if path is None:
        path = Path(tempfile.mkdtemp(prefix="attnscope-")) / "scope.html"
    saved = view.save(path).resolve()
    if has_display():
        webbrowser.open(saved.as_uri())
    return saved


def _widget(view: View) -> Any:
    from attnscope.render.widget import widget

    return widget(view)


def _mimebundle(view: View, **kwargs: Any) -> Any:
    """The widget; or, for a static view, the page in a frame. Never both: notebooks prefer the widget and hide the page."""
    if not view.static:
        return view.widget._repr_mimebundle_(**kwargs)
    from attnscope.views.sentences.sentence import title

    bundle = {"text/html": frame(view), "text/plain": title(view)}
    if importlib.util.find_spec("matplotlib"):
        with suppress(AttnscopeError), warnings.catch_warnings():  # without a figure the page is enough
            warnings.simplefilter("ignore", UserWarning)  # about missing glyphs: the page has other fonts
            bundle["image/png"] = base64.b64encode(view.figure("png", dpi=160)).decode()
    return bundle


def _display(view: View) -> None:
    from IPython.display import display

    display(view)


def _figure(view: View, kind: str, *, text: str, dpi: float, **look: Any) -> bytes:
    from attnscope.render.figures import check_file, describe, figure, needed, to_bytes

    check_file(kind, text, dpi)
    needed()
    here = view.alone
    made = figure(here.trace, here.state, framed=here.chosen, **look)
    return to_bytes(made, kind, describe(here.trace, here.state, view.code), text, dpi)


def _plot(view: View, ax: Any, width: float, **look: Any) -> Any:
    from attnscope.render.figures import plot

    here = view.alone
    return plot(here.trace, here.state, ax, width, framed=here.chosen, **look)


HOSTS: Mapping[str, Callable[..., Any]] = {
    "html": page,
    "widget": _widget,
    "open": open_page,
    "mimebundle": _mimebundle,
    "display": _display,
    "figure": _figure,
    "plot": _plot,
}
