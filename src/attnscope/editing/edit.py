"""edit(): a with block in which a model's attention is other than it was."""

from collections.abc import Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

from torch import nn

from attnscope.capturing.refusals import check_model, no_attention
from attnscope.editing.addresses import Addresses
from attnscope.editing.band import Sizes
from attnscope.editing.chosen import ChosenHeads
from attnscope.editing.desk import here, paused
from attnscope.editing.effect import Effect, effect_of
from attnscope.editing.positions import parse_positions
from attnscope.editing.receipt import EditReceipt, Receipts
from attnscope.editing.rules import Rule
from attnscope.editing.selection import heads_named, layers_named
from attnscope.editing.session import ModelSession
from attnscope.editing.state import differences, state_of
from attnscope.errors import CaptureError, InputError
from attnscope.tracing.held import open_held


class Edit:
    """Edits of one model's attention, which hold inside a with block; made by `attnscope.edit`.

    `model`: the module whose attention is edited. `tokenizer`: finds tokens that are named as written.

    They hold in the thread, and in the asyncio task, that opened the block, for whatever runs there: the model, its generate(), a pipeline.
    Edits of blocks within each other add up. Without a verb nothing is installed.
    """

    def __init__(self, model: Any, tokenizer: Any = None) -> None:
        held = open_held(model, tokenizer)
        self._facts = check_model(held.model)
        self.model: nn.Module = held.model
        self.tokenizer = held.reader
        if not self._facts.may_attend:
            raise CaptureError(f"{type(self.model).__name__} cannot be edited: {no_attention(self.model)}")
        self._addresses = Addresses(self.model)
        self._rules: list[Rule] = []
        self._receipts = Receipts()
        self._session: ModelSession | None = None
        self._place: Any = None
        self._before: dict[str, Any] = {}
        self._changed: tuple[str, ...] | None = None

    def __repr__(self) -> str:
        return f"Edit({type(self.model).__name__}: {'; '.join(rule.name for rule in self._rules) or 'nothing yet'})"

    def __enter__(self) -> "Edit":
        if self._place is not None:
            raise InputError("this edit was opened before. Make another one: attnscope.edit(model, tokenizer).")
        self._place = here()
        return self

    def __exit__(self, kind: Any, *_: Any) -> None:
        ran = self._session is not None
        self._close()
        if kind is None and ran:
            self._vouch()

    # --- which heads --------------------------------------------------------------------------------------------------

    def head(self, name: str, *, stack: str | None = None, positions: Any = None) -> ChosenHeads:
        """One head, by name.

        `name`: such as "L18H6": layer 18, head 6. `stack`: "encoder", "decoder", "cross" or a tower's name, where the model has several.
        `positions`: where the edit is made, a position, a token as written, a slice, or several of these (None: everywhere): of queries, and of
            keys where k or v is patched. They count in the text, with a cache too; negative ones from the end of the text as it was first read (the prompt).

        Raises InputError for a head or stack that is not there.
        """
        return self._choose("head", (name,), stack, positions)

    def heads(self, *names: str, stack: str | None = None, positions: Any = None) -> ChosenHeads:
        """Several heads. `names`: such as "L17H3", "L17H4". `stack`, `positions`: as for `head`. Raises InputError as `head` does."""
        return self._choose("heads", names, stack, positions)

    def layers(self, layers: Any, *, stack: str | None = None, positions: Any = None) -> ChosenHeads:
        """All heads of some layers.

        `layers`: numbers or names, range(10, 21) or "L5"; negative ones count from the end. `stack`, `positions`: as for `head`. Raises
        InputError as `head` does.
        """
        chosen = layers_named(layers, self._addresses.layers, stack)
        name = f"edit.layers({layers!r:.40}{self._options(stack, positions)})"
        return ChosenHeads(self, chosen, parse_positions(positions, "positions"), name)

    def _choose(self, verb: str, names: Sequence[Any], stack: str | None, positions: Any) -> ChosenHeads:
        chosen = heads_named(names, self._addresses.layers, stack)
        shown = ", ".join(f'"{name}"' for name in names)
        name = f"edit.{verb}({shown}{self._options(stack, positions)})"
        return ChosenHeads(self, chosen, parse_positions(positions, "positions"), name)

    @staticmethod
    def _options(stack: str | None, positions: Any) -> str:
        given = (("stack", stack), ("positions", positions))
        return "".join(f", {name}={value!r:.40}" for name, value in given if value is not None)

    # --- the rules ----------------------------------------------------------------------------------------------------

    def add(self, rule: Rule) -> "Edit":
        """Let a rule hold from now on. Raises InputError outside of the with block, and in another thread or task than the one that opened it.

        `rule`: made by a verb, or by `Rule.moved`.
        """
        if self._place is None or self._changed is not None:
            raise InputError("an edit holds inside a with block: with attnscope.edit(model) as edit: …")
        if self._place != here():
            raise InputError(
                "this edit was opened in another thread or asyncio task, and holds there. Open one here: with attnscope.edit(model) as edit: …"
            )
        if self._session is None:
            self._before = state_of(self.model)
            session = ModelSession(
                self.model, self._facts, self._addresses, self._rules, self.tokenizer, self._receipts
            )
            session.open()
            self._session = session
        self._rules.append(rule)
        return self

    @property
    def rules(self) -> tuple[Rule, ...]:
        """The edits so far, in the order in which they were written."""
        return tuple(self._rules)

    @property
    def sizes(self) -> Sizes:
        """Heads and key/value heads of every layer that ran, by stack and layer."""
        return self._receipts.sizes

    @property
    def layer_counts(self) -> Mapping[str | None, int]:
        """How many layers each stack of the model has."""
        return self._addresses.layers

    def beside(self) -> "Edit":
        """Another edit of the same model, with the same tokenizer, to be opened."""
        return Edit(self.model, self.tokenizer)

    @contextmanager
    def paused(self) -> Any:
        """A with block inside this one in which its edits do not hold; those of blocks around it do."""
        with nullcontext() if self._session is None else paused(self._session):
            yield

    @contextmanager
    def writing_at(self, position: int) -> Any:
        """A with block that yields, by place, the edited heads and their z at `position`, as they run."""
        receipts = self._receipts
        receipts.at, receipts.written = position, {}
        try:
            yield receipts.written
        finally:
            receipts.at = None

    # --- what came of it ----------------------------------------------------------------------------------------------

    @property
    def receipt(self) -> EditReceipt:
        """What was checked so far: that every edit fired, that nothing else changed, that what the heads write adds up; after the block, that the model is as it
        was."""
        return self._receipts.receipt(self._rules, self._changed)

    def effect(
        self,
        text: Any = None,
        target: Any = None,
        against: Any = None,
        *,
        control: int = 0,
        seed: int = 0,
        text_pair: str | None = None,
        inputs: Any = None,
    ) -> Effect:
        """What the edits of this block do to a prediction: the same text without and with them.

        `text`: what the model reads; it is asked for what comes next, at [MASK] where the model fills in, or for a label. `text_pair`: a second sentence. `inputs`:
            tensors by name, of one row, in their place.
        `target`: the prediction that is asked about, as a text (" Mary"), an id or a label. Several tokens count by the summed log-probability of the
            continuation. None: the most probable prediction, against the next one. `against`: the alternative; None beside a target: the log-probability of the
            target alone. A model that predicts nothing, such as a bare encoder, has no targets: what it is asked about is its last hidden state.
        `control`: how many times the same edit is made in other heads, drawn at random from the same layers: the band. `seed`: of the draw.

        Raises InputError where the model has no head to predict with and a target is given, or a target is no token; CaptureError where an edit changes nothing here.
        """
        return effect_of(self, text, text_pair, inputs, target, against, control, seed)

    def _close(self) -> None:
        if self._session is not None:
            self._session.close()
            self._session = None
        self._changed = differences(self._before, state_of(self.model)) if self._before else ()

    def check_fired(self, before: Sequence[int] | None = None) -> None:
        """Raises CaptureError for an edit that changed nothing, and says why. `before`: how often each had fired."""
        for number, rule in enumerate(self._rules):
            if rule.fired <= (0 if before is None else before[number]):
                raise CaptureError(f"{rule.name} changed nothing: {self._why_not(rule)}")

    def _why_not(self, rule: Rule) -> str:
        if rule.missed:
            return rule.missed
        ran = self._seen
        if not ran:
            return "no attention of this model ran inside the with block, in the thread that opened it, in a way that can be edited. Run the model there."
        return (
            f"none of the heads that it names ran. Attention that was seen: {', '.join(ran[:6])}{' …' if len(ran) > 6 else ''}. What a trace lists as "
            "unrecorded, shows by its weights alone, or got by asking a module for them, cannot be edited."
        )

    @property
    def _seen(self) -> list[str]:
        return self._receipts.seen

    def _vouch(self) -> None:
        self.check_fired()
        if wrong := next((site for site in self.receipt.sites if not site.passed), None):
            raise CaptureError(
                f"this edit does not pass its receipt, so do not use what came of it: {wrong}. Please report it, with the model's name."
            )


def edit(model: Any, tokenizer: Any = None) -> Edit:
    """Edit a model's attention inside a with block: switch heads off, scale, average, patch, reweigh or cut them.

        with attnscope.edit(model, tokenizer) as edit:
            edit.head("L18H6").off()
            effect = edit.effect(text, target=" Mary", against=" John", control=20)
            model.generate(…)

    The edits hold for whatever runs inside, in the thread or asyncio task that opened the block; blocks within each other add up. On the way out,
    also by an exception, the model is bit for bit what it was.

    `model`: as in attnscope.trace, not compiled. `tokenizer`: where tokens are named as written, and for `effect`; None otherwise.

    Raises CaptureError for a compiled model or one without attention; on the way out, for an edit that changed nothing or does not pass its
    receipt. Every verb raises InputError for what does not fit.
    """
    return Edit(model, tokenizer)
