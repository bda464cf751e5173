"""A View: a trace, where to look, and the blocks of payload that fit its size. It knows no host; api hands it some."""

import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from attnscope.comparing.alignment import Alignment, partner
from attnscope.comparing.comparison import Comparison
from attnscope.errors import InputError
from attnscope.payload.atomic_write import write_atomically
from attnscope.payload.edit_requests import Editor
from attnscope.payload.held import as_held
from attnscope.payload.paths import as_path
from attnscope.text.characters import printable
from attnscope.tracing.badges import kinds_of
from attnscope.tracing.places import check_flag, parse_head, parse_layer
from attnscope.tracing.receipts import Receipt
from attnscope.tracing.silence import chosen_look
from attnscope.tracing.site import Site
from attnscope.tracing.trace import Trace
from attnscope.views.as_python import python, python_of_comparison
from attnscope.views.budget import Block, Plan, check_size, make_blocks, make_pictures, plan_blocks
from attnscope.views.by_name import numbered
from attnscope.views.earlier import with_state as with_state
from attnscope.views.state import State
from attnscope.views.validate import check_compared, check_fields, check_place

STEPS = ("head", "all", "none")  # the heads for which a view holds x and the projections
FIGURES = (".png", ".svg", ".pdf")


@dataclass(frozen=True)
class Pair:
    """What a comparison adds to the view of its first trace. difference: the payload of attnscope.payload.difference."""

    comparison: Comparison
    difference: bytes = b""

    @property
    def other(self) -> Trace:
        return self.comparison.b

    def axes(self, where: State | Site) -> tuple[Alignment, Alignment]:
        """The alignments of the queries and of the keys of the layer that a state or a site names."""
        return self.comparison.axes(where)


class View:
    """A look at a trace. A notebook cell draws it as its last value; `display()` draws it elsewhere; `save` writes it.

    A cell shows the live widget. With static=True it shows the page in a frame, which needs no kernel;
    ATTNSCOPE_STATIC=1 in the environment does the same for every view, for documents that are built.

    attnscope.show and Trace.show make views. `trace`: what is shown. `state`: the State that says where it looks. `hosts`:
    the functions that draw a view, by name (attnscope.render.HOSTS). `static`, `max_mb` (MB), `steps` and `exact` are those
    of attnscope.show. `chosen`: whether the caller named the head, which figures then frame. `pair`: what a comparison adds; None for a view of one trace. `editors`: who answers
    questions about edits, by side ("a", "b"); none: no model is at hand. Raises InputError for values that do not fit.
    """

    def __init__(
        self,
        trace: Trace,
        state: State,
        hosts: "Mapping[str, Callable[..., Any]]",
        *,
        static: bool = False,
        max_mb: float = 12,
        steps: str = "head",
        exact: bool = False,
        pair: Pair | None = None,
        chosen: bool = False,
        editors: "Mapping[str, Editor] | None" = None,
    ) -> None:
        if pair is None and state.side != "a":
            raise InputError(f"side is {state.side!r}, and this is a view of one trace: attnscope.compare shows two.")
        if steps not in STEPS:
            raise InputError(f"steps is {steps!r}; it is one of {', '.join(map(repr, STEPS))}: see attnscope.show.")
        check_flag("static", static)
        check_flag("exact", exact)
        check_size(max_mb)
        self.trace = trace
        self._state = state
        self.static = static or os.environ.get("ATTNSCOPE_STATIC") == "1"
        self.max_mb = max_mb
        self.steps = steps
        self.exact = exact
        self.pair = pair
        self.editors = editors or {}
        self._chosen = chosen  # the caller named the head
        self._hosts = hosts
        self._blocks: tuple[Block, ...] | None = None
        self._widget: Any = None

    def __repr__(self) -> str:
        s = self.state
        place = f"{printable(s.stack) + ' ' if s.stack else ''}layer {s.layer}, head {s.head}, query {s.query}"
        return f"View({s.level} of {self.trace!r}: {place})"

    @property
    def state(self) -> State:
        """Where the view looks; once there is a widget, where that looks now."""
        if self._widget is None:
            return self._state
        return State(**{row.name: getattr(self._widget, row.name) for row in State.table()})

    @property
    def chosen(self) -> bool:
        """Whether you chose the head, in Python or in the widget; else the view opened on it by itself."""
        now, first = ((one.stack, one.layer, one.head) for one in (self.state, self._state))
        return self._chosen or now != first

    @property
    def site_index(self) -> int:
        """The index of the site the view opens on."""
        site = self.trace.site(self.state.layer, self.state.stack)
        return next(i for i, other in enumerate(self.trace.sites) if other is site)

    @property
    def blocks(self) -> tuple[Block, ...]:
        """Payloads: the first with the site the view opens on, then the others, nearest first, as far as they fit."""
        if self._blocks is None:
            self._blocks = make_blocks(self.trace, self.site_index, self.own.query, self._plan, self.receipts)
        return self._blocks

    @property
    def pictures(self) -> Block | None:
        """Coarse pictures of the heads that the blocks leave out, for a page; None where all are held, or none fits."""
        return make_pictures(self.trace, self._plan, self.receipts)

    @cached_property
    def _plan(self) -> Plan:
        room = self.max_mb / 2 if self.pair else self.max_mb
        return plan_blocks(self.trace, self.site_index, self.state.head, room, self.steps, self.exact)

    @property
    def other(self) -> "View":
        """In a comparison the view of the second trace, at the same layer and head."""
        assert self.pair is not None
        trace = self.pair.other
        here = self.state.layer, self.state.stack
        site = next((one for one in trace.sites if (one.layer, one.stack) == here), trace.sites[0])
        place = {"stack": site.stack, "layer": site.layer, "head": min(self.state.head, site.heads - 1)}
        place |= self._place(1, site.query_offset)
        state = replace(self.state, side="a", heads=(), queries=(), **place)
        options = {"steps": self.steps, "exact": self.exact, "chosen": self.chosen}
        return View(trace, state, self._hosts, max_mb=self.max_mb / 2, **options)

    @property
    def own(self) -> State:
        """The state by the tokens of `trace`, where a comparison looks at another side."""
        if self.pair is None or self.state.side == "a":
            return self.state
        return replace(
            self.state, side="a", **self._place(0, self.trace.sites[self.site_index].query_offset), heads=(), queries=()
        )

    def _place(self, side: int, first: int) -> dict[str, int | None]:
        """The query and key of A (0) or B (1) that the state's stand for; the first query and no key where there is none."""
        assert self.pair is not None
        queries, keys = (axis.places for axis in self.pair.axes(self.state))
        query = partner(queries, self.state.side, self.state.query, side)
        key = None if self.state.key is None else partner(keys, self.state.side, self.state.key, side)
        return {"query": first if query is None else query, "key": key}

    @property
    def alone(self) -> "View":
        """The view of the one trace it shows. Raises InputError where it shows the difference of two."""
        if self.pair is None:
            return self
        if self.state.side == "difference":
            raise InputError(
                'a figure shows one trace: choose side="a" or side="b"; or save the page, whose own button saves the '
                "picture; or draw Comparison.difference(layer, head)."
            )
        here = self.other if self.state.side == "b" else self._alone()
        # a change is of both traces: one of them keeps the order of its layers
        return here.at(sort="layer") if here.state.sort == "change" else here

    def _alone(self) -> "View":
        return View(self.trace, self.own, self._hosts, exact=self.exact, chosen=self.chosen)

    @cached_property
    def receipts(self) -> Receipt:
        """The receipts of the numbers as this view holds them, rounded where it rounds."""
        held, exact = self._plan.held, self.trace.verify().sites
        return Receipt(
            tuple(
                as_held(site, held[i]).verify() if i in held and held[i].dtype else exact[i]
                for i, site in enumerate(self.trace.sites)
            )
        )

    @property
    def notes(self) -> tuple[str, ...]:
        """What the size limit did to this view, in words: rounding, layers left out."""
        return self._plan.notes

    @property
    def html(self) -> str:
        """The whole view as one page."""
        here = self if self.state == self._state else self.at()  # its blocks begin where it looks
        return self._hosts["html"](here)

    @property
    def widget(self) -> Any:
        """The live widget; traits layer, head, query, key, level, theme can be read, set and observed."""
        if self._widget is None:
            self._widget = self._hosts["widget"](self)
        return self._widget

    def at(self, **changes: Any) -> "View":
        """The same view, looking elsewhere: `view.at(layer=3, key=None)`; this view stays as it is.

        `changes` are fields of the state: level, stack, layer, head (or a name such as "L2H8"), query and key (positions,
        or tokens as written; key=None follows the strongest key), theme, filter, heads, average, queries, combine,
        threshold, quantity, log, words, special, sort, thumbs, dim, group (a number, or a name), pooled, target and against (ids, or texts), edits, lens and side. In a comparison positions count the tokens
        of its side, and a token is looked for in B on side "b", else in A. Raises InputError for a field or a place that is
        not there.
        """
        known = [row.name for row in State.table()]
        for name in changes:
            if name not in known:
                raise InputError(f"at() has no argument {name!r}; it takes {', '.join(known[:-1])}.")
        if isinstance(changes.get("layer"), str):
            changes["layer"] = parse_layer(changes["layer"])
        if isinstance(changes.get("head"), str):
            layer, number = parse_head(changes["head"], changes.get("layer"))
            changes |= {"head": number} if layer is None else {"head": number, "layer": layer}
        for name in ("query", "key"):
            if isinstance(changes.get(name), str):
                changes[name] = self._position(name, changes)
        changes = numbered(self._read(changes), changes)
        moved = {"stack", "layer", "head", "query", "key"} & changes.keys()
        state = replace(self.state, **({"why": ""} if moved else {}) | changes)
        if self.pair is None:
            check_place(self.trace, state)
        else:
            check_compared(self.pair.comparison, state)
        options = {"static": self.static, "max_mb": self.max_mb, "steps": self.steps, "exact": self.exact}
        options["chosen"] = self.chosen or bool({"stack", "layer", "head"} & changes.keys())
        return View(self.trace, state, self._hosts, pair=self.pair, editors=self.editors, **options)

    def _read(self, changes: Mapping[str, Any]) -> Trace:
        """The trace in which names are looked for: that of the side that the view will have, A for the difference."""
        side = changes.get("side", self.state.side)
        return self.pair.other if self.pair is not None and side == "b" else self.trace

    def _position(self, name: str, changes: Mapping[str, Any]) -> int:
        """The position of a token as written, on the side and at the layer that the view will have."""
        side, trace = changes.get("side", self.state.side), self._read(changes)
        site = trace.site(changes.get("layer", self.state.layer), changes.get("stack", self.state.stack))
        tokens = trace.query_tokens(site) if name == "query" else trace.key_tokens(site)
        found = tokens.find(changes[name], name)
        if self.pair is None or side != "difference":
            return found
        axis = self.pair.axes(site)[0 if name == "query" else 1]
        place = partner(axis.places, "a", found, 2)
        assert place is not None  # every token of A stands in the merged row
        return place

    def save(
        self,
        path: Any,
        *,
        width: float = 7.2,
        text: str = "text",
        dpi: float = 300,
        title: str | None = None,
        sums: bool = True,
    ) -> Path:
        """Write the view to `path`, a .html, .png, .svg or .pdf file, whole or not at all. Returns the path.

        The last three are figures for paper. `width`: in inches (a column is about 3.4, a page 7.2). `text`: in an svg,
        "text" keeps letters as letters, "outlines" draws them. `dpi`: pixels per inch of a png. `title`: yours in place of
        the line that names the place, "" for none. `sums`: whether a grid has bars of its sums at the edges. Raises
        InputError for what does not fit, NotCaptured where the level needs q and k that the trace does not have, OutputError where the file
        cannot be written.
        """
        suffix = as_path(path).suffix.lower()
        if suffix not in (".html", *FIGURES):
            raise InputError(
                f"cannot save a view as {suffix or 'a file without an ending'}: give a path that ends in .html, "
                f"{', '.join(FIGURES[:-1])} or {FIGURES[-1]}."
            )
        if suffix == ".html":
            if (width, text, dpi, title, sums) != (7.2, "text", 300, None, True):
                raise InputError(
                    f"width, text, dpi, title and sums are for figures ({', '.join(FIGURES)}); a page has none of them."
                )
            return write_atomically(path, self.html.encode())
        return write_atomically(path, self.figure(suffix[1:], width=width, text=text, dpi=dpi, title=title, sums=sums))

    def figure(
        self,
        kind: str = "png",
        *,
        width: float = 7.2,
        text: str = "text",
        dpi: float = 300,
        title: str | None = None,
        sums: bool = True,
    ) -> bytes:
        """The view as a figure for paper, in the bytes of a `kind` of file: "png", "svg" or "pdf".

        `width` (inches), `text` ("text" or "outlines"), `dpi`, `title` and `sums`, and the errors raised, are those of
        `save`.
        """
        return self._hosts["figure"](self, kind, width=width, text=text, dpi=dpi, title=title, sums=sums)

    def plot(self, ax: Any = None, *, width: float = 7.2, title: str | None = None, sums: bool = True) -> Any:
        """The view drawn within `ax`, matplotlib axes, or without them in a new pyplot figure `width` inches wide.

        `title` and `sums` are those of `save`. Returns the axes. Letters shrink until they fit. Raises InputError where the axes are too small for that.
        """
        return self._hosts["plot"](self, ax, width, title=title, sums=sums)

    @property
    def code(self) -> str:
        """The lines of Python that make this view again, as a page's "copy as Python" writes them."""
        if self.pair is not None:
            return python_of_comparison(self.trace, self.pair.other, self.state)
        trace = self.trace
        return python(trace.source, trace.model, self.state, chosen_look(trace.tables), kinds_of(trace.badges))

    @classmethod
    def from_url(cls, url: str, trace: Any) -> "View":
        """The view that a page shows at an address.

        `url`: the address, or the part after its #; a field that it leaves out is at its default. `trace`: what the page
        shows, a Trace or a Comparison. Raises InputError for a field or a place that is not there.
        """
        if not isinstance(trace, Trace | Comparison):
            raise InputError(
                "expected an address and what its page shows, a trace or a comparison: View.from_url(address, trace); "
                f"got a {type(trace).__name__} as the second."
            )
        state = State.from_url(url)
        check_fields(url)
        if isinstance(trace, Comparison):
            check_compared(trace, state)
            return trace.show(state.level).at(**asdict(state))
        check_place(trace, state)
        view = trace.show(state.level, layer=state.layer, head=state.head, query=state.query, stack=state.stack)
        return view.at(**asdict(state))

    def open(self, path: Any = None) -> Path:
        """Save the page to `path`, or to a temporary file without it, and open it in the browser. Returns the path."""
        return self._hosts["open"](self, path)

    def display(self) -> None:
        """Draw the view here, in the middle of a cell too."""
        self._hosts["display"](self)

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        return self._hosts["mimebundle"](self, **kwargs)

    def traits(self) -> dict[str, Any]:
        """The state as plain values."""
        return {name: list(x) if isinstance(x, tuple) else x for name, x in asdict(self.state).items()}
