"""The receipt of an edit: did it do what was asked, and nothing else?"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

import torch
from torch import Tensor

from attnscope.capturing.listen.attention_interface import AttentionCall
from attnscope.capturing.read.effective_projection import projection_of
from attnscope.capturing.read.output_projection import Took, written_rows
from attnscope.capturing.read.stacks import Place
from attnscope.editing.apply import Done
from attnscope.editing.bound import Bound
from attnscope.editing.rules import Rule
from attnscope.text.format import count
from attnscope.tracing.receipts import NOT_THE_SUM, sum_error, tolerance_of


@dataclass(frozen=True)
class EditedSite:
    """What was checked in one layer.

    `name`: "layer 18". `heads`: those edited. `calls`: how many calls were edited. `others_equal`: whether z is bit for bit what it was wherever no
    edit was made. `write_error`: largest |Σ over heads of what they write + b_O − what the output projection returned|, as a part of
    the largest that it returned, with z as edited; None where W_O is not known, and `note` says why. `write_tolerance`: the largest that
    rounding explains. `reached`: False where a layer took z as it was before the edit.
    """

    name: str
    heads: tuple[int, ...]
    calls: int
    others_equal: bool
    write_error: float | None
    write_tolerance: float
    note: str = ""
    reached: bool = True

    @property
    def passed(self) -> bool:
        """True where nothing that could be checked is wrong."""
        return (
            self.reached
            and self.others_equal
            and (self.write_error is None or self.write_error <= self.write_tolerance)
        )

    def __str__(self) -> str:
        heads = ", ".join(map(str, self.heads[:8])) + (" …" if len(self.heads) > 8 else "")
        others = "all else bit-equal" if self.others_equal else "OTHER HEADS OR QUERIES CHANGED"
        if not self.reached:
            written = "THE MODEL WENT ON WITHOUT THE EDIT: a layer took the heads' output as it was before"
        elif self.write_error is None:
            written = f"writes not checked: {self.note}"
        elif self.write_error <= self.write_tolerance:
            written = f"writes add up to {self.write_error:.1e}"
        else:
            written = f"WRITES DO NOT ADD UP ({self.write_error:.1e}): {NOT_THE_SUM}"
        return f"{self.name}, head {heads}: {count(self.calls, 'call')}, {others}, {written}"


@dataclass(frozen=True)
class EditReceipt:
    """What was checked of an edit.

    `fired`: of each edit, as written, in how many calls it changed something. `sites`: what was checked in each layer. `model`: what of the model
    is other than before (empty: nothing); None while the edit is open.
    """

    fired: tuple[tuple[str, int], ...]
    sites: tuple[EditedSite, ...]
    model: tuple[str, ...] | None = None

    @property
    def passed(self) -> bool:
        """True where every edit fired, all else is bit-equal, writes add up, and the model is as it was."""
        fired = bool(self.fired) and all(count for _, count in self.fired)
        return fired and all(site.passed for site in self.sites) and not self.model

    def __bool__(self) -> bool:
        return self.passed

    def __str__(self) -> str:
        lines = [f"{'✓' if calls else '✕'} {name}: changed {count(calls, 'call')}" for name, calls in self.fired]
        lines += [f"{'✓' if site.passed else '✕'} {site}" for site in self.sites]
        if self.model is not None:
            lines.append(
                f"✕ changed in the model: {', '.join(self.model[:8])}" if self.model else "✓ the model is as it was"
            )
        return "\n".join(lines) or "no edit was made"

    def __repr__(self) -> str:
        return f"EditReceipt({'✓' if self.passed else '✕'} {len(self.fired)} edits, {len(self.sites)} layers)"

    def _repr_html_(self) -> str:
        """The lines, for notebooks."""
        return "".join(f"<div>{escape(line)}</div>" for line in str(self).splitlines())


@dataclass
class _Checked:
    """One edited call: z of a few queries of every row, [H, R, Dv], and what took it."""

    z: Tensor
    batch: int
    dtype: torch.dtype
    took: Took | None = None

    def error(self) -> tuple[float | None, float, str]:
        """The error of the sum, what rounding explains of it, and why there is none."""
        tolerance = tolerance_of(self.dtype)
        took = self.took
        if took is None or (took.module is None and took.projection is None):
            return None, tolerance, "no linear layer took the heads' output as it is"
        if took.written is None:
            return None, tolerance, "the layer that took the heads' output has other axes"
        written = took.written.flatten(0, 1)  # [B · R, M]
        rows = took.written.shape[1]
        projection, reason = projection_of(took, lambda: (self.z[:, :rows], written[:rows]))
        if projection is None:
            return None, tolerance, reason
        if projection.parameter.shape[1 if projection.transposed else 0] != self.z.shape[0] * self.z.shape[2]:
            return None, tolerance, "the layer that takes z next does not take the heads' outputs side by side"
        return sum_error(projection, self.z, written), max(tolerance, tolerance_of(written.dtype)), ""


@dataclass
class _Site:
    """`first`, `last`: calls whose writes are checked."""

    heads: set[int]
    equal: bool = True
    reached: bool = True
    calls: int = 0
    first: _Checked | None = None
    last: _Checked | None = None


class Receipts:
    """Collects what was done while an edit is open. `sizes`: heads and key/value heads by stack and layer. While `at` is a position, `written` gets
    the edited heads and z of the first row there, [H, Dv], by place."""

    def __init__(self) -> None:
        self._sites: dict[Place, _Site] = {}
        self._known: set[tuple[Place, tuple[int, ...]]] = set()
        self._seen: dict[str, None] = {}
        self.written: dict[Place, tuple[tuple[int, ...], Tensor]] = {}
        self.at: int | None = None
        self.sizes: dict[tuple[str | None, int], tuple[int, int]] = {}

    rows = staticmethod(written_rows)

    def saw(self, path: str, place: Place, call: AttentionCall) -> None:
        """An attention call that could be edited, edited or not. `path`: of its module."""
        self._seen[path] = None
        self.sizes[place.stack, place.layer] = call.query.shape[1], call.key.shape[1]

    @property
    def seen(self) -> list[str]:
        """The modules whose calls could be edited."""
        return [*self._seen]

    def is_new(self, bound: Sequence[Bound]) -> bool:
        """Whether these rules were not checked in this place yet."""
        return (bound[0].place, tuple(id(one.rule) for one in bound)) not in self._known

    def add(self, done: Done, bound: Sequence[Bound]) -> tuple[Callable[[Took], None], Callable[[], None] | None]:
        """A call was edited; returns whom to call with the layer that takes its output, and where one takes it as it was before (None where
        the edit left the numbers as they were)."""
        call, place = done.call, bound[0].place
        self._known.add((place, tuple(id(one.rule) for one in bound)))
        site = self._sites.setdefault(place, _Site(set()))
        site.heads |= {head for one in bound for head in one.heads}
        site.calls += 1
        z, reference = call.output.detach(), done.reference.detach()
        if self.at is not None and self.at < z.shape[1]:
            self.written[place] = tuple(sorted({head for one in bound for head in one.heads})), z[0, self.at]
        changed = False
        if z is not reference:
            same = ((z == reference) | (z.isnan() & reference.isnan())).all(-1).transpose(1, 2)  # [B, H, Q]
            site.equal &= bool((same | done.touched.to(same.device)).all())
            changed = not bool(same.all())
        rows = written_rows(z.shape[1]).to(z.device)
        some = z[:, rows].permute(2, 0, 1, 3).flatten(1, 2)  # [H, B · R, Dv]
        checked = _Checked(some, len(z), call.query.dtype)
        site.first, site.last = site.first or checked, checked

        def note(took: Took) -> None:
            checked.took = took

        def dropped() -> None:
            site.reached = False

        return note, dropped if changed else None

    def receipt(self, rules: Sequence[Rule], model: tuple[str, ...] | None) -> EditReceipt:
        """Everything that was checked. `model`: what of it is other than before."""
        sites = []
        for place, site in sorted(self._sites.items(), key=lambda item: (item[0].stack or "", item[0].layer)):
            found = [one.error() for one in (site.first, site.last) if one is not None]
            errors = [error for error, *_ in found if error is not None]
            name = f"{place.stack} layer {place.layer}" if place.stack else f"layer {place.layer}"
            worst, tolerance = max(errors, default=None), found[-1][1]
            sites.append(
                EditedSite(
                    name,
                    tuple(sorted(site.heads)),
                    site.calls,
                    site.equal,
                    worst,
                    tolerance,
                    found[-1][2],
                    site.reached,
                )
            )
        return EditReceipt(tuple((rule.name, rule.fired) for rule in rules), tuple(sites), model)
