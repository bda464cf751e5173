"""A View: a trace, where to look, and the blocks of payload that fit its size. It knows no host; api hands it some."""

import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from attnscope.comparing.comparison import Comparison
from attnscope.errors import InputError
from attnscope.payload import step_tensors
from attnscope.payload.atomic_write import write_atomically
from attnscope.payload.codec import Held, as_held, encode
from attnscope.tracing.receipts import Receipt
from attnscope.tracing.trace import Trace
from attnscope.views.as_python import python
from attnscope.views.state import State
from attnscope.views.validate import check_compared, check_fields, check_place

STEPS = ("head", "all", "none")  # for whom a view holds x and the projections
FIGURES = (".png", ".svg", ".pdf")
COMPRESSED = 0.92  # what deflate leaves of byte-shuffled activations, about
BASE64 = 4 / 3
Places = tuple[tuple[int | None, int | None], ...]  # (in A, in B) of every token of either text
EXACT_MB = 3.0  # up to here a view holds the numbers as they are; beyond, fp16, unless exact=True
Z_ROWS = 16  # queries of the model's own output in a view, for the page's own receipt


@dataclass(frozen=True)
class Block:
    """Payload bytes, the sites whose tensors they hold, and the bytes of one number (for the page's shuffle)."""

    data: bytes
    sites: tuple[int, ...]
    stride: int


@dataclass(frozen=True)
class Plan:
    """Which sites a view holds, and how: decided by `max_mb`."""

    held: Mapping[int, Held]
    notes: tuple[str, ...]
    steps: Mapping[int, tuple[int, ...]] = field(
        default_factory=dict
    )  # heads whose x and projections it holds, by site


@dataclass(frozen=True)
class Pair:
    """What a comparison adds to the view of its first trace."""

    other: Trace
    difference: bytes  # a payload without tensors but small pictures: attnscope.payload.difference
    code: Callable[[State], str]
    places: Callable[[Any], tuple[Places, Places]]  # queries and keys of the layer of a state or a site


class View:
    """A look at a trace. A notebook cell draws it as its last value; `display()` draws it elsewhere; `save` writes it.

    `static=True` makes a cell show the page in a frame, which lives without a kernel; otherwise it is the live widget.
    ATTNSCOPE_STATIC=1 in the environment does the same for every view, for documents that are built.
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
    ) -> None:
        if pair is None and state.side != "a":
            raise InputError(f"side is {state.side!r}, and this is a view of one trace: attnscope.compare shows two.")
        if steps not in STEPS:
            raise InputError(f"steps is {steps!r}; it is one of {', '.join(map(repr, STEPS))}: see attnscope.show.")
        if not max_mb > 0:
            raise InputError(
                f"max_mb is {max_mb:g}; it is the largest size of the numbers in a page, in MB, so it must be above 0."
            )
        self.trace = trace
        self._state = state
        self.static = static or os.environ.get("ATTNSCOPE_STATIC") == "1"
        self.max_mb = max_mb
        self.steps = steps
        self.exact = exact
        self.pair = pair
        self._hosts = hosts
        self._blocks: tuple[Block, ...] | None = None
        self._widget: Any = None

    def __repr__(self) -> str:
        s = self.state
        place = f"{s.stack + ' ' if s.stack else ''}layer {s.layer}, head {s.head}, query {s.query}"
        return f"View({s.level} of {self.trace!r}: {place})"

    @property
    def state(self) -> State:
        """Where the view looks; once there is a widget, where that looks now."""
        if self._widget is None:
            return self._state
        return State(**{f.name: getattr(self._widget, f.name) for f in fields(State)})

    @property
    def site_index(self) -> int:
        """The index of the site the view opens on."""
        site = self.trace.site(self.state.layer, self.state.stack)
        return next(i for i, other in enumerate(self.trace.sites) if other is site)

    @property
    def blocks(self) -> tuple[Block, ...]:
        """Payloads: the first with the site the view opens on, then its neighbours, nearest first, as many as fit."""
        if self._blocks is None:
            self._blocks = make_blocks(self.trace, self.site_index, self._plan, self.receipts)
        return self._blocks

    @cached_property
    def _plan(self) -> "Plan":
        room = self.max_mb / 2 if self.pair else self.max_mb
        return plan_blocks(self.trace, self.site_index, self.state.head, room, self.steps, self.exact)

    @property
    def other(self) -> "View":
        """In a comparison the view of the second trace, at the same layer and head."""
        assert self.pair is not None
        trace = self.pair.other
        here = self.state.layer, self.state.stack
        site = next((one for one in trace.sites if (one.layer, one.stack) == here), trace.sites[0])
        state = replace(
            self.state, side="a", stack=site.stack, layer=site.layer, head=min(self.state.head, site.heads - 1),
            **self._place(1, site.query_offset), heads=(), queries=(),
        )  # fmt: skip
        return View(trace, state, self._hosts, max_mb=self.max_mb / 2, steps=self.steps, exact=self.exact)

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
        queries, keys = self.pair.places(self.state)
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
        here = self.other if self.state.side == "b" else View(self.trace, self.own, self._hosts, exact=self.exact)
        # a change is of both traces: one of them keeps the order of its layers
        return with_state(here, sort="layer") if here.state.sort == "change" else here

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
        here = self if self.state == self._state else with_state(self)  # its blocks begin where it looks
        return self._hosts["html"](here)

    @property
    def widget(self) -> Any:
        """The live widget; traits layer, head, query, key, level, theme can be read, set and observed."""
        if self._widget is None:
            self._widget = self._hosts["widget"](self)
        return self._widget

    def save(self, path: Any, *, width: float = 7.2, text: str = "text", dpi: float = 300) -> Path:
        """Write the view to a .html, .png, .svg or .pdf file, whole or not at all.

        The last three are figures for paper, `width` inches wide (a column is about 3.4, a page 7.2): `text` is for an
        svg, "text" (letters stay letters) or "outlines"; `dpi` for the pixels. Raises InputError for what does not fit,
        NotCaptured where the level needs q and k that the trace does not have, OutputError where nothing can be written.
        """
        suffix = Path(path).suffix.lower()
        if suffix not in (".html", *FIGURES):
            raise InputError(
                f"cannot save a view as {suffix or 'a file without an ending'}: give a path that ends in .html, "
                f"{', '.join(FIGURES[:-1])} or {FIGURES[-1]}."
            )
        if suffix == ".html":
            if (width, text, dpi) != (7.2, "text", 300):
                raise InputError(
                    f"width, text and dpi are for figures ({', '.join(FIGURES)}); a page has none of them."
                )
            return write_atomically(path, self.html.encode())
        return write_atomically(path, self.figure(suffix[1:], width=width, text=text, dpi=dpi))

    def figure(self, kind: str = "png", *, width: float = 7.2, text: str = "text", dpi: float = 300) -> bytes:
        """The view as a figure for paper, "png", "svg" or "pdf"; options and errors as of `save`."""
        return self._hosts["figure"](self, kind, width=width, text=text, dpi=dpi)

    def plot(self, ax: Any = None, *, width: float = 7.2) -> Any:
        """The view within matplotlib axes (a new pyplot figure without `ax`), which are returned. What is written shrinks
        until it fits; InputError where the axes are too small for that."""
        return self._hosts["plot"](self, ax, width)

    @property
    def code(self) -> str:
        """The lines of Python that make this view again, as a page's "copy as Python" writes them."""
        if self.pair is not None:
            return self.pair.code(self.state)
        return python(self.trace.source, self.trace.model, self.state)

    @classmethod
    def from_url(cls, url: str, trace: Any) -> "View":
        """The view that a page of this trace, or of this comparison, shows at this address, or at the part after its #; what
        the address leaves out is at its default. Raises InputError for a field or a place that is not there."""
        if not isinstance(trace, Trace | Comparison):
            raise InputError(
                f"from_url takes an address and what its page shows, a trace or a comparison; a {type(trace).__name__} came: "
                "View.from_url(address, trace)."
            )
        state = State.from_url(url)
        check_fields(url)
        if isinstance(trace, Comparison):
            check_compared(trace, state)
            return with_state(trace.show(state.level), **asdict(state))
        check_place(trace, state)
        view = trace.show(state.level, layer=state.layer, head=state.head, query=state.query, stack=state.stack)
        return with_state(view, **asdict(state))

    def open(self, path: Any = None) -> Path:
        """Save the page (to a temporary file without `path`) and open it in the browser."""
        return self._hosts["open"](self, path)

    def display(self) -> None:
        """Draw the view here, in the middle of a cell too."""
        self._hosts["display"](self)

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        return self._hosts["mimebundle"](self, **kwargs)

    def traits(self) -> dict[str, Any]:
        """The state as plain values."""
        return {name: list(x) if isinstance(x, tuple) else x for name, x in asdict(self.state).items()}


def plan_blocks(trace: Trace, site: int, head: int, max_mb: float, steps: str = "head", exact: bool = False) -> Plan:
    """Choose dtype and sites: everything as it is if that is small (`exact`: if that fits), else in fp16, else fp16 of the nearest sites, else some
    heads of one site. Before that, room is set aside for what the steps level needs of the head it opens on, if that is
    a quarter or less; or of all heads, where they are asked for. Raises InputError where those do not fit."""
    budget = max_mb * 1e6 / (BASE64 * COMPRESSED)
    if steps == "all":
        wanted = {index: tuple(range(one.heads)) for index, one in enumerate(trace.sites) if not one.weights_only}
        room = sum(step_tensors.sizes(trace.sites[index])[1] for index in wanted)
        if room > budget:
            raise InputError(
                f"x and the projections of all heads take {room * BASE64 * COMPRESSED / 1e6:.2g} MB, and max_mb is {max_mb:g}: "
                'pass a larger max_mb, fewer layers (layers=[2] when tracing), or steps="head" for the head it opens on.'
            )
        return replace(_plan(trace, site, head, max_mb, budget - room, exact), steps=wanted)
    room = step_tensors.sizes(trace.sites[site])[0] if steps == "head" else 0
    fits = 0 < room <= budget / 4
    plan = _plan(trace, site, head, max_mb, budget - room if fits else budget, exact)
    return replace(plan, steps={site: (head,)}) if fits else plan


def _plan(trace: Trace, site: int, head: int, max_mb: float, budget: float, exact: bool) -> Plan:
    """What of q, k and v fits into `budget` bytes."""
    native = [_bytes(s, None) for s in trace.sites]
    small = budget if exact else min(budget, EXACT_MB * 1e6 / (BASE64 * COMPRESSED))
    if sum(native) <= small or (sum(native) <= budget and all(s.kept_dtype.itemsize <= 2 for s in trace.sites)):
        return Plan(dict.fromkeys(range(len(trace.sites)), Held()), ())
    half = torch.float16
    note = (
        "Values are rounded to 16 bits (fp16) to keep this view small; the receipt is computed from the rounded values. "
        "exact=True keeps them as they are, as far as max_mb goes."
    )
    held: dict[int, Held] = {}
    left = budget
    for index in sorted(range(len(trace.sites)), key=lambda i: (abs(i - site), i)):
        size = _bytes(trace.sites[index], half)
        if size > left:
            break
        held[index] = Held(dtype=_small(trace.sites[index], half))
        left -= size
    if held:
        return Plan(held, (note, *_held_note(trace, held)))
    chosen = trace.sites[site]
    per_head = _bytes(chosen, half) / chosen.heads
    fit = int(left / per_head)
    if fit < 1:
        raise InputError(
            f"one head of {chosen.name} takes {per_head * BASE64 * COMPRESSED / 1e6:.1f} MB, and max_mb is {max_mb:g}: pass a "
            "larger max_mb, or a shorter text."
        )
    nearest = sorted(sorted(range(chosen.heads), key=lambda h: (abs(h - head), h))[:fit])
    held = {site: Held(tuple(nearest), _small(chosen, half))}
    which = f"head {nearest[0]}" if len(nearest) == 1 else f"heads {nearest[0]} to {nearest[-1]}"
    words = f"This view holds {which} of {chosen.name}; a larger max_mb holds more."
    return Plan(held, (note, words))


def make_blocks(trace: Trace, site: int, plan: Plan, receipts: Receipt) -> tuple[Block, ...]:
    """The plan, carried out: one payload for the opening site, one for each other that is held."""
    order = [site, *(i for i in plan.held if i != site)]
    return tuple(
        Block(
            encode(
                trace,
                {index: plan.held[index]},
                receipts=receipts,
                notes=plan.notes,
                steps={index: plan.steps[index]} if index in plan.steps else {},
                thumbs=index == site,
                z_rows=Z_ROWS,
            ),
            (index,),
            2 if _width(trace.sites[index], plan.held[index]) == 2 else 4,
        )
        for index in order
    )


def _small(site: Any, half: torch.dtype) -> torch.dtype | None:
    """fp16 where that is smaller (bf16 where fp16 would overflow); 16-bit sites stay as they are."""
    if site.kept_dtype.itemsize <= 2:
        return None
    largest = max(float(x.abs().max()) for x in site.kept.values())
    return half if not largest > torch.finfo(torch.float16).max else torch.bfloat16


def _width(site: Any, held: Held) -> int:
    return (held.dtype or site.kept_dtype).itemsize


def _bytes(site: Any, dtype: torch.dtype | None) -> int:
    """What the site's q, k, v (or weights), samples of z and norms take in a payload."""
    width = min(site.kept_dtype.itemsize, (dtype or site.kept_dtype).itemsize)
    values = sum(tensor.numel() for tensor in site.kept.values())
    samples = site.z.numel() // max(site.z.shape[1], 1) * min(Z_ROWS, site.z.shape[1]) * 4 if site.z is not None else 0
    return values * width + samples + site.heads * site.keys * 4 + site.mask.nbytes


def _held_note(trace: Trace, held: Mapping[int, Held]) -> tuple[str, ...]:
    if len(held) == len(trace.sites):
        return ()
    names = ", ".join(trace.sites[i].name for i in sorted(held))
    return (
        f"This view holds {names}, of {len(trace.sites)}; open it on another layer, or with a larger max_mb, for the rest.",
    )


def with_state(view: View, **changes: Any) -> View:
    """The same view, looking elsewhere."""
    return View(
        view.trace,
        replace(view.state, **changes),
        view._hosts,
        static=view.static,
        max_mb=view.max_mb,
        steps=view.steps,
        exact=view.exact,
        pair=view.pair,
    )


def partner(places: Places, side: str, position: int, wanted: int) -> int | None:
    """Where a token of a side ("a", "b" or "difference") stands in A (0), B (1) or the merged row (2); None where it has no
    partner there."""
    if side != "difference":
        own = ("a", "b").index(side)
        position = next((n for n, place in enumerate(places) if place[own] == position), -1)
    if wanted == 2:
        return position if position >= 0 else None
    return places[position][wanted] if 0 <= position < len(places) else None
