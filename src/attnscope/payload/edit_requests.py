"""What a live view asks about edits, and who answers. Pure: no host, no model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from attnscope.errors import InputError


@runtime_checkable
class Editor(Protocol):
    """Answers for one text and the model that read it (attnscope.live_edits). `nbytes`: what it keeps of the text."""

    @property
    def nbytes(self) -> int: ...
    def answer(
        self,
        edits: Sequence[object],
        target: int | None = None,
        against: int | None = None,
        first: int | None = None,
    ) -> dict[str, Any]: ...


@dataclass(frozen=True)
class EditRequest:
    """`edits`: as an address holds them. `target`, `against`: ids of what is asked about; None: the most probable prediction, and the next one. `first`: the first
    draw of other heads, of the band; None: predictions before and after."""

    edits: tuple[str, ...]
    target: int | None = None
    against: int | None = None
    first: int | None = None

    @classmethod
    def from_message(cls, message: Mapping[str, Any]) -> "EditRequest":
        """Read what a page asks. Raises InputError for anything that is no such question."""
        edits = message.get("edits")
        if not isinstance(edits, list) or not all(isinstance(one, str) for one in edits):
            raise InputError(f"expected edits as a list of texts, such as ['off_L2H8'], got {edits!r:.60}.")
        numbers = {name: message.get(name) for name in ("target", "against", "first")}
        for name, value in numbers.items():
            if value is not None and (
                isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << 31
            ):
                raise InputError(f"expected {name} as a whole number from 0, or null; got {value!r:.40}.")
        return cls(tuple(edits), **numbers)

    def ask(self, editor: Editor) -> dict[str, Any]:
        """The answer. Raises InputError and CaptureError as attnscope.edit does."""
        return editor.answer(self.edits, self.target, self.against, self.first)
