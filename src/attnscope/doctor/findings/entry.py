"""What the doctor knows of one finding (`Entry`), and one such finding in somebody's code (`Finding`)."""

import inspect
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from string import Formatter
from typing import Any, Literal

Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")


@dataclass(frozen=True)
class Finding:
    """One mistake that was found.

    `name` is the id of its entry in the registry: `attnscope check --explain NAME` prints that. `row` is its row in the
    table of attention bugs, where it has one. `severity` is "error" (the numbers are wrong), "warning" (right here, breaks
    elsewhere) or "note".
    """

    name: str
    row: int | None
    title: str
    why: str
    cure: str
    evidence: str
    invariant: str
    place: str
    line: int | None = None
    severity: Severity = "error"


@dataclass(frozen=True)
class Entry:
    """One kind of finding: its texts, its severity, and two pieces of code that show it.

    `title`, `why`, `cure`, `evidence`, `invariant` and `place` may hold named fields, {heads} or {far:.2g}, which the check
    fills in. `what` says in general what `title` says of one piece of code; leave it out where `title` has no fields.
    """

    id: str
    severity: Severity
    title: str
    why: str
    cure: str
    invariant: str  # what does not hold, without saying where: all that hint=1 shows
    place: str  # where to look: hint=2
    wrong: "str | Callable[[], Any]"  # code with this mistake; or a function that returns the Diagnosis of it
    right: "str | tuple[str, str] | Callable[[], Any]"  # code without; or (what to replace in `wrong`, by what)
    what: str = ""
    evidence: str = "{evidence}"
    row: int | None = None
    reference: str = ""
    call: str = (
        "attnscope.check(attention)"  # how the code is checked; or the command line, "attnscope check FILE.py:…"
    )

    def __post_init__(self) -> None:
        if not self.what:
            object.__setattr__(self, "what", self.title)

    @property
    def fields(self) -> set[str]:
        """Names of the fields that a check must fill in; `evidence` may be left out."""
        texts = (self.title, self.why, self.cure, self.evidence, self.invariant, self.place)
        named = {name for text in texts for _, name, _, _ in Formatter().parse(text) if name}
        return named - {"evidence"}

    def general(self, text: Literal["why", "cure", "invariant"]) -> str:
        """One of its texts with "…" for each field, as a reader sees it who has no code at hand."""
        return "".join(plain + ("…" if name else "") for plain, name, _, _ in Formatter().parse(getattr(self, text)))

    def codes(self) -> tuple[str, str]:
        """The wrong and the right example as source text."""
        wrong = _source(self.wrong)
        if isinstance(self.right, tuple):
            before, after = self.right
            if wrong.count(before) != 1:
                raise ValueError(f"{self.id}: expected {before!r} once in its wrong example, got {wrong.count(before)}")
            return wrong, wrong.replace(before, after)
        return wrong, _source(self.right)

    def fill(self, line: int | None, values: dict[str, Any]) -> Finding:
        """The finding, with its fields filled in. Raises KeyError where a field has no value."""
        values = {"evidence": "", **values}
        return Finding(
            name=self.id,
            row=self.row,
            title=self.title.format_map(values),
            why=self.why.format_map(values),
            cure=self.cure.format_map(values),
            evidence=self.evidence.format_map(values),
            invariant=self.invariant.format_map(values),
            place=self.place.format_map(values),
            line=line,
            severity=self.severity,
        )


def _source(example: str | Callable[[], Any]) -> str:
    text = example if isinstance(example, str) else inspect.getsource(example)
    return textwrap.dedent(text).strip()
