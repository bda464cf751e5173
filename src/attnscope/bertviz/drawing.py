"""What BertViz's calls do with a trace: draw it in the cell, or return its HTML."""

from typing import Any

from attnscope import api
from attnscope.bertviz.given import numbers
from attnscope.errors import InputError
from attnscope.render.page.html import frame
from attnscope.tracing.trace import Trace
from attnscope.views.validate import check_place
from attnscope.views.view import View

ACTIONS = ("view", "return")
MODES = ("dark", "light")


def check_choice(name: str, value: Any, choices: tuple[str, ...]) -> None:
    """Raises InputError, which names the choices."""
    if value not in choices:
        raise InputError(f"{name} {value!r} is not one of {', '.join(map(repr, choices))}.")


def view_of(trace: Trace, level: str, layer: int | None, heads: Any, theme: str) -> View:
    """A static view, which a saved notebook keeps. It opens on the first of `heads`."""
    chosen = [] if heads is None else numbers("heads", heads)
    present = sorted({site.layer for site in trace.sites})
    if layer is not None and layer not in present:
        raise InputError(f"layer {layer} is not among the layers here: {', '.join(map(str, present))}.")
    stack = None if layer is None else next(site.stack for site in trace.sites if site.layer == layer)
    first = chosen[0] if chosen else None
    view = api.show_trace(
        trace, level=level, layer=layer, head=first, heads=chosen[1:], stack=stack, theme=theme, static=True
    )
    check_place(trace, view.state)
    return view


def drawn(view: View, action: str) -> Any:
    """Draw the view here, or return an IPython HTML object, whose `data` is the page."""
    if action == "view":
        view.display()
        return None
    from IPython.display import HTML

    return HTML(frame(view))
