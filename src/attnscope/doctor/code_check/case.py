"""The code under examination, what was declared with it, and what was found so far."""

import time
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from attnscope.doctor.code_check.match.search import Trials
from attnscope.doctor.code_check.not_examined import NOTHING, TEXTS
from attnscope.doctor.code_check.recipe import Recipe
from attnscope.doctor.diagnosis import Diagnosis
from attnscope.doctor.findings import SEVERITIES, Finding, finding
from attnscope.doctor.matrices import Matrices


@dataclass
class Case:
    """One examination. Checks take it, read what the ones before have learned, and add what they find.

    base: the recipe that is right for what was declared (scaling, softcap). sinks, causal, like, cached, model: as declared.
    text: the source, with comments and docstrings. source: the number of its first line, and its lines.
    """

    name: str
    fn: Any
    base: Recipe
    text: str
    source: tuple[int, tuple[str, ...]] | None = None
    sinks: Tensor | None = None
    causal: bool | None = None
    like: Any = None
    cached: Any = None
    model: Any = None
    still: bool = False  # whether every dropout is switched off in the runs from here on
    compared: bool = False  # whether anything stood beside the code: the reference, or the one that was given
    by_scores: bool = False  # whether its scores are surely more than q · k, and it is compared by those that it has
    observed: dict[int, Any] = field(default_factory=dict)  # of each way of calling, its scores and how they move
    uncompared: str = ""  # why the reference did not
    grouped: Trials = field(default_factory=list)  # ways of calling with fewer key heads than query heads
    matrices: Matrices | None = None
    findings: list[Finding] = field(default_factory=list)
    conventions: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    not_examined: list[str] = field(default_factory=list)
    started: float = field(default_factory=time.perf_counter)

    @property
    def options(self) -> dict[str, Any]:
        """What every run of the code gets."""
        return {"still": self.still, "sinks": self.sinks}

    def find(self, id: str, /, *, line: int | None = None, **fields: Any) -> None:
        """Adds a finding of the registry, with its fields filled in."""
        self.findings.append(finding(id, line=line, **fields))

    def found(self, *ids: str) -> bool:
        """Whether one of these was found."""
        return any(found.name in ids for found in self.findings)

    def found_row(self, row: int) -> bool:
        return any(found.row == row for found in self.findings)

    def skip(self, what: str, /, **fields: Any) -> None:
        """Lists something as not examined."""
        text = (NOTHING.get(what) or TEXTS[what]).format_map(fields)
        if what in NOTHING:
            self.uncompared = self.uncompared or text
            text = f"the comparison with the reference: {text}"
        self.not_examined.append(text)

    def diagnosis(self, hint: int | None, strict: bool, allow_uncompared: bool = False) -> Diagnosis:
        """What all checks together have found, errors first."""
        return Diagnosis(
            name=self.name,
            findings=tuple(sorted(self.findings, key=lambda found: SEVERITIES.index(found.severity))),
            conventions=self.conventions,
            not_examined=tuple(dict.fromkeys(self.not_examined)),
            notes=tuple(dict.fromkeys(self.notes)),
            matrices=self.matrices,
            hint=hint,
            seconds=time.perf_counter() - self.started,
            source=self.source,
            compared=self.compared,
            strict=strict,
            uncompared="" if self.compared else self.uncompared,
            allow_uncompared=allow_uncompared,
        )
