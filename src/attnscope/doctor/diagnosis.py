"""What `check` returns: findings with evidence and cure, what was found out on the way, and what was not examined."""

import io
import json
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from attnscope.doctor import report_html
from attnscope.doctor.findings import SEVERITIES, Finding
from attnscope.doctor.format import number
from attnscope.errors import NotCaptured
from attnscope.text.characters import printable

if TYPE_CHECKING:  # the command line reports from a process that imports no torch
    from attnscope.doctor.matrices import Matrices
    from attnscope.tracing.trace import Trace


@dataclass(frozen=True, repr=False)
class Diagnosis:
    """False where a finding is an error; `raise_for_errors` then raises an AssertionError with the report.

    It is also false where nothing could be compared (`compared`), but for `allow_uncompared`, and with `strict` where a
    finding is a warning.
    With `hint` 1 the report names one invariant that fails and nothing else, with 2 all that fail and their places, with 3
    (or None) everything. Asking whether it is true has no side effect: it prints and raises nothing.

    attnscope.check makes it. `name`: what was checked. `findings`: what was found. `conventions`: how the code
    reads its inputs, such as the axes and the meaning of its mask. `not_examined`: what could not be checked, and why.
    `notes`: what else a reader must know. `matrices`: the weights of the code and of the reference on one probe, or None.
    `seconds`: how long the check took. `source`: the number of the code's first line, and its lines.
    `uncompared`: why nothing could be compared. `allow_uncompared`: whether such a Diagnosis passes.
    """

    name: str
    findings: tuple[Finding, ...] = ()
    conventions: dict[str, str] = field(default_factory=dict)
    not_examined: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    matrices: "Matrices | None" = None
    hint: int | None = None
    seconds: float = 0.0
    source: tuple[int, tuple[str, ...]] | None = None  # the number of the first line, and the lines
    compared: bool = True  # whether the code (or the model) could be compared with anything
    strict: bool = False  # whether warnings count as errors do
    uncompared: str = ""  # why nothing could be compared
    allow_uncompared: bool = False

    def __bool__(self) -> bool:
        return self.exit_code == 0

    @property
    def exit_code(self) -> int:
        """0: passed, 1: an error (with `strict` a warning too), 3: nothing could be compared. (2 is wrong usage.)"""
        fatal = ("error", "warning") if self.strict else ("error",)
        if any(found.severity in fatal for found in self.findings):
            return 1
        return 0 if self.compared or self.allow_uncompared else 3

    def raise_for_errors(self) -> "Diagnosis":
        """This diagnosis, where it is true. Raises AssertionError with the report where it is false: an error was found (with
        `strict` a warning too), or nothing could be compared."""
        if not self:
            raise AssertionError(repr(self))
        return self

    @property
    def rows(self) -> tuple[int, ...]:
        """Rows of the table of attention bugs that were named."""
        return tuple(f.row for f in self.findings if f.row is not None)

    @property
    def level(self) -> int:
        return 3 if self.hint is None else self.hint

    @property
    def shown(self) -> tuple[Finding, ...]:
        """The findings that the report names: all, or the gravest alone with `hint` 1."""
        if self.level > 1 or not self.findings:
            return self.findings
        return (min(self.findings, key=lambda found: SEVERITIES.index(found.severity)),)

    @property
    def headline(self) -> str:
        """The name, how many findings of which severity, and why nothing was compared where nothing was."""
        counts = Counter(found.severity for found in self.findings)
        parts = [f"{counts[kind]} {kind}{'s' * (counts[kind] > 1)}" for kind in SEVERITIES if counts[kind]]
        found = ", ".join(parts)
        if not self.compared and not counts["error"]:
            parts.append(f"not compared: {self.uncompared}" if self.uncompared else "nothing could be compared")
            return f"{self.name}: {', '.join(parts)}"
        return f"{self.name}: {found or 'nothing found'}"

    def describe(self, found: Finding) -> tuple[str, list[tuple[str, str]]]:
        """The finding `found` as far as `hint` allows: its title, and labelled sentences."""
        if self.level < 3:
            return f"this does not hold: {found.invariant}", [("look at", found.place)] * (self.level == 2)
        line = f" (line {found.line})" if found.line else ""
        parts = [("evidence", found.evidence), ("why", found.why), ("cure", found.cure)]
        return f"{found.severity}: {found.title}{line} [{found.name}]", [part for part in parts if part[1]]

    def context(self) -> list[tuple[str, str]]:
        """Labelled sentences beside the findings: conventions as they were found, notes, what was not examined."""
        parts = []
        if self.level == 1 and self.findings:
            return parts
        if self.conventions and self.level == 3:
            parts.append(("as found", "; ".join(f"{key}: {value}" for key, value in self.conventions.items())))
        parts += [("note", note) for note in self.notes if self.level == 3]
        return parts + [("not examined", what) for what in self.not_examined]

    def lines(self) -> list[str]:
        """The report as plain text, without the matrices."""
        lines = [self.headline]
        for place, found in enumerate(self.shown, 1):
            title, parts = self.describe(found)
            lines += [f"{place}. {title}", *(f"   {label}: {text}" for label, text in parts)]
        lines += [f"{label}: {text}" for label, text in self.context()]
        return [printable(line) for line in lines]

    def __repr__(self) -> str:
        grids = self.text_grids()
        return "\n".join([*self.lines(), *([grids] if grids else [])])

    def text_grids(self) -> str:
        """Both matrices side by side, as the terminal shows them."""
        from rich.console import Console

        out = io.StringIO()
        table = self._table()
        if table is None:
            return ""
        Console(file=out, width=120, color_system=None, force_jupyter=False).print(table)
        return "\n".join(line.rstrip() for line in out.getvalue().splitlines())

    def _table(self, limit: int = 7) -> Any:
        m = self.matrices
        if m is None or self.level < 3 or not self.findings:
            return None
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, pad_edge=False, title=m.note, title_justify="left", title_style="")
        queries, keys = min(m.theirs.shape[0], limit), min(m.theirs.shape[1], limit)
        table.add_column("")
        table.add_column("theirs", justify="left", no_wrap=True)
        table.add_column("reference", justify="left", no_wrap=True)
        for q in range(queries):
            cells = []
            for grid in (m.theirs, m.reference):
                row = Text()
                for k in range(keys):
                    here = m.cell == (q, k)
                    shown = number(float(grid[q, k]))
                    row.append(f"[{shown}]" if here else f" {shown} ", style="bold red" if here else "")
                row.append(f"  Σ {number(float(grid[q].sum()))}", style="dim")
                cells.append(row)
            table.add_row(f"query {q}", *cells)
        return table

    def report(self, console: Any = None) -> None:
        """Print the diagnosis to `console`, a rich Console (None: the terminal), in colour where it has colours."""
        from rich.console import Console
        from rich.text import Text

        console = console or Console()
        for line in self.lines():
            bold = not line.startswith(("   ", "as found", "not examined", "note"))
            console.print(Text(line, style="bold" if bold else "dim" if not line.startswith("   ") else ""))
        table = self._table()
        if table is not None:
            console.print(table)

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain values; what `hint` withholds is left out."""
        findings = []
        for found in self.shown:
            entry = asdict(found)
            shown = {1: ("invariant",), 2: ("invariant", "place")}.get(self.level, tuple(entry))
            findings.append({key: entry[key] for key in shown})
        data: dict[str, Any] = {
            "version": 1,
            "name": self.name,
            "passed": bool(self),
            "compared": self.compared,
            "uncompared": self.uncompared,
            "findings": findings,
            "conventions": self.conventions if self.level == 3 else {},
            "not_examined": [] if self.level == 1 and self.findings else list(self.not_examined),
            "notes": list(self.notes) if self.level == 3 else [],
            "seconds": round(self.seconds, 3),
        }
        if self.matrices is not None and self.level == 3 and self.findings:
            data["matrices"] = self.matrices.to_dict()
        return data

    def to_json(self) -> str:
        """The fields of `to_dict` as JSON text."""
        return json.dumps(self.to_dict(), indent=1, allow_nan=False)

    def theirs(self) -> "Trace":
        """The weights that the code gave on the probe, every head of them, as a Trace for the instrument.

        These are weights alone, as the code returned them (or as the recipe that reproduces its output recomputes them).
        Raises NotCaptured where nothing was found, or the code did not run, or `hint` withholds the answer.
        """
        return self._shown().theirs_trace()

    def reference(self) -> "Trace":
        """The same probe through the reference, as a Trace for the instrument: with q and k where the chain of a plain
        trace says the same as the reference (no rotary embedding, cap, bias or sinks), else its weights alone.

        Raises NotCaptured as `theirs` does.
        """
        return self._shown().reference_trace()

    def _shown(self) -> "Matrices":
        m = self.matrices
        if m is None or self.level < 3 or not self.findings or m.all_theirs is None or m.all_reference is None:
            raise NotCaptured(
                "expected a diagnosis with matrices; in this one nothing was found, the code did not run, or hint withholds "
                "them. Call check again without hint."
            )
        return m

    def _repr_html_(self) -> str:
        parts = [report_html.heading(self.headline)]
        marked: set[int] = set()
        for found in self.shown:
            title, sentences = self.describe(found)
            source = ""
            if self.level == 3 and self.source is not None and found.line is not None and found.line not in marked:
                marked.add(found.line)
                source = report_html.source_lines(self.source, found.line)
            parts.append(report_html.finding(title, source, sentences))
        m = self.matrices
        if m is not None and self.findings and self.level == 3:
            parts.append(report_html.grids(m.note, {"theirs": m.theirs, "reference": m.reference}, m.cell))
        return report_html.page([*parts, report_html.context(self.context())])
