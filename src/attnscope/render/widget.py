"""The live widget: the page's app and its payload bytes, in a notebook with a kernel."""

from dataclasses import Field
from typing import Any

import anywidget
import traitlets

from attnscope.errors import AttnscopeError, InputError
from attnscope.payload.edit_requests import EditRequest
from attnscope.payload.messages import CANCEL, EDITS, ERROR, REPLY
from attnscope.payload.site_requests import SiteRequest, answer
from attnscope.payload.tile_requests import is_tiles
from attnscope.render.page.assets import asset
from attnscope.render.tile_work import TileWork
from attnscope.views.head_edits import parse_edits
from attnscope.views.levels import level_named
from attnscope.views.sentences.sentence import title
from attnscope.views.state import CHOICES, State
from attnscope.views.validate import site_at
from attnscope.views.view import View


def _trait(row: Field) -> traitlets.TraitType:
    """The trait of a field of `State`, synchronized with the page."""
    kinds: dict[str, Any] = {
        "position": traitlets.Int,
        "optional position": traitlets.Int,
        "weight": traitlets.Float,
        "flag": traitlets.Bool,
    }
    if row.metadata["kind"] == "edits":
        return traitlets.List(traitlets.Unicode()).tag(sync=True)
    if row.metadata["kind"] == "positions":
        return traitlets.List(traitlets.Int()).tag(sync=True)
    kind = kinds.get(row.metadata["kind"], traitlets.Unicode)
    return kind(row.default, allow_none=row.default is None).tag(sync=True)


StateTraits: Any = type(traitlets.HasTraits)(
    "StateTraits", (traitlets.HasTraits,), {row.name: _trait(row) for row in State.table()}
)


class Scope(StateTraits, anywidget.AnyWidget):
    """The fields of `State` as traits: they follow the page, and the page follows them."""

    _esm = traitlets.Unicode().tag(sync=True)
    blocks = traitlets.List(traitlets.Bytes()).tag(sync=True)
    other_blocks = traitlets.List(traitlets.Bytes()).tag(sync=True)  # of a comparison: B
    difference = traitlets.Bytes(None, allow_none=True).tag(sync=True)
    editable = traitlets.Bool(False).tag(sync=True)  # there is a model to ask

    def __init__(self, view: View) -> None:
        self._trace, self._pair, self._editors = (
            view.trace,
            view.pair,
            view.editors,
        )  # before the traits, which are checked against them
        data: dict[str, Any] = {"blocks": [block.data for block in view.blocks]}
        if view.pair is not None:
            data |= {"other_blocks": [block.data for block in view.other.blocks], "difference": view.pair.difference}
        editing = f"\n{asset('edits.js')}" if view.editors else ""
        super().__init__(_esm=f"{asset('widget.js')}{editing}", editable=bool(view.editors), **data, **view.traits())
        self._title = title(view)
        self._tiles = TileWork(lambda message, buffers=None: self.send(message, buffers))
        self.on_msg(self._on_message)

    @traitlets.validate(*CHOICES)
    def _one_of(self, proposal: Any) -> Any:
        """One of the values that a view knows. Raises TraitError, which names them."""
        name, value = proposal["trait"].name, proposal["value"]
        if name == "level":
            try:
                return level_named(value)
            except AttnscopeError as error:
                raise traitlets.TraitError(str(error)) from None
        if value not in CHOICES[name]:
            raise traitlets.TraitError(f"{name} {value!r} is not one of {', '.join(map(repr, CHOICES[name]))}.")
        return value

    @traitlets.validate("threshold")
    def _part(self, proposal: Any) -> float:
        """A weight. Raises TraitError outside 0 to 1."""
        if not 0 <= proposal["value"] <= 1:
            raise traitlets.TraitError(f"threshold is {proposal['value']!r}; it is a weight, from 0 to 1.")
        return proposal["value"]

    @traitlets.validate("heads", "queries")
    def _several(self, proposal: Any) -> list[int]:
        """Heads or queries that the layer has, each once. Raises TraitError, which names the range."""
        name = proposal["trait"].name
        values = list(dict.fromkeys(proposal["value"]))
        try:
            site = self._trace.site(self.layer, self.stack)
        except AttnscopeError:
            return values  # the layer itself is wrong, and says so
        count = site.heads if name == "heads" else self._queries(site)
        for value in values:
            if not 0 <= value < count:
                raise traitlets.TraitError(
                    f"{name} holds {value}, which is out of range: {site.name} has {name} 0 to {count - 1}."
                )
        return values

    @traitlets.validate("edits")
    def _edits(self, proposal: Any) -> list[str]:
        """Edits as an address holds them, each once. Raises TraitError for what is none."""
        try:
            return [str(one) for one in parse_edits(proposal["value"])]
        except AttnscopeError as error:
            raise traitlets.TraitError(str(error)) from None

    @traitlets.validate("dim", "target", "against")
    def _number(self, proposal: Any) -> Any:
        """A dimension or the id of a target, or None. Raises TraitError below 0."""
        name, value = proposal["trait"].name, proposal["value"]
        what = "a dimension, counted from 0," if name == "dim" else "the id of a token or of a label,"
        if value is not None and value < 0:
            raise traitlets.TraitError(f"{name} is {value}; it is {what} or None.")
        return value

    @traitlets.validate("layer", "head", "query", "key")
    def _in_range(self, proposal: Any) -> Any:
        """A place that the trace has. Raises TraitError, which names the range."""
        name, value = proposal["trait"].name, proposal["value"]
        if value is None:
            return value
        try:
            site = site_at(self._trace, value if name == "layer" else self.layer, self.stack)
        except AttnscopeError as error:
            if name == "layer":
                raise traitlets.TraitError(str(error)) from None
            return value  # the layer itself is wrong, and says so
        count = {"head": site.heads, "query": self._queries(site), "key": self._keys(site)}.get(name)
        if count is not None and not 0 <= value < count:
            raise traitlets.TraitError(f"{name} {value} is out of range: {site.name} has {name} 0 to {count - 1}.")
        return value

    def _queries(self, site: Any) -> int:
        """One beyond the last query; in a comparison one beyond the merged row, its longest side."""
        return site.query_offset + site.queries if self._pair is None else len(self._pair.axes(site)[0].places)

    def _keys(self, site: Any) -> int:
        return site.keys if self._pair is None else len(self._pair.axes(site)[1].places)

    def __repr__(self) -> str:
        """The text in place of the widget where widgets are not drawn."""
        return f"{self._title} (A live view: run this cell to see it; show(static=True) needs no kernel.)"

    def _on_message(self, _: Any, message: Any, buffers: Any) -> None:
        """Answer a request of the page: a reply or an error, never silence."""
        identity = message.get("id") if isinstance(message, dict) else None
        if identity is None:
            return
        if message.get("kind") == CANCEL:
            self._tiles.cancel(identity)
            return
        other = self._pair is not None and message.get("side") == "b"
        trace = self._pair.other if other and self._pair is not None else self._trace
        if is_tiles(message):
            self._tiles.answer(trace, message)
            return
        try:
            if message.get("kind") == EDITS:
                self.send({"id": identity, "kind": REPLY, "answer": self._edited(message, "b" if other else "a")})
                return
            tile = answer(trace, SiteRequest.from_message(message))
        except AttnscopeError as error:
            self.send({"id": identity, "kind": ERROR, "message": str(error)})
            return
        except Exception as error:  # of the model's own code
            self.send({"id": identity, "kind": ERROR, "message": f"the model raised {type(error).__name__}: {error}"})
            raise
        self.send({"id": identity, "kind": REPLY}, [tile.data])

    def _edited(self, message: dict[str, Any], side: str) -> dict[str, Any]:
        editor = self._editors.get(side)
        if editor is None:
            raise InputError(
                "this view has no model to run: attnscope.show(model, tokenizer, text) has one, and so has trace.show(model=model, tokenizer=tokenizer)."
            )
        return EditRequest.from_message(message).ask(editor)


def widget(view: View) -> Scope:
    """The widget of a view."""
    return Scope(view)
