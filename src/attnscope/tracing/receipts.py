"""Receipts: is what was kept enough to compute again what the model returned?"""

from collections.abc import Callable
from dataclasses import dataclass
from html import escape
from typing import Any

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from attnscope.text.characters import printable
from attnscope.tracing.output_projection import Projection
from attnscope.tracing.query_blocks import query_blocks

# Largest |recomputed - returned| / largest |returned| that rounding explains, by the dtype the model computed in.
# fp16 and bf16 models round scores, weights and outputs on the way; the recomputation is in fp32. What rounding does
# grows with the scores: over the 17 architectures of the tests it is 3e-7 (fp32), 1.6e-3 (fp16) and 1.1e-2 (bf16) at
# scores up to 20, and twice to three times that at scores of 66, which trained models reach.
TOLERANCE = {torch.float64: 1e-6, torch.float32: 1e-4, torch.float16: 1e-2, torch.bfloat16: 4e-2}


NOT_THE_SUM = "what the heads write does not add up to what the output projection returned; has it been changed since?"


def tolerance_of(*dtypes: torch.dtype | None) -> float:
    """The tolerance of the coarsest of these."""
    return max(TOLERANCE.get(dtype, 1e-4) for dtype in dtypes if dtype is not None)


_HEADS = ("status", "largest error", "of the writes", "tolerance", "queries checked", "note")
_SIGNS = {"exact": "✓", "failed": "✕", "weights_only": "–", "unverified": "–"}


@dataclass(frozen=True, repr=False)
class SiteReceipt:
    """One site's proof.

    `status`: "exact" (within the tolerance), "failed", "weights_only" (no q and k to recompute from) or "unverified"
        (nothing to compare with).
    `max_error`: largest |recomputed z - returned z|, as a part of the largest |returned z|.
    `tolerance`: the largest error that rounding explains, by the model's dtype.
    `rows`, `of`: query rows checked, and query rows there are.
    `no_key_rows`: rows among the checked in which no key is allowed.
    `note`: what a reader must know.
    `write_error`: largest |Σ over heads of what they write + b_O - what the output projection returned|, as a part of the
        largest that it returned; None where W_O or that is not known. Of a file saved without W_O: as it was when that was
        written.
    `write_tolerance`: the largest such error that rounding explains. Beyond it the status is "failed".
    """

    status: str
    max_error: float
    tolerance: float
    rows: int
    of: int
    no_key_rows: int = 0
    note: str = ""
    write_error: float | None = None
    write_tolerance: float | None = None

    def __str__(self) -> str:
        figures = f"largest difference {self.max_error:.1e} of the output (tolerance {self.tolerance:.0e})"
        if self.write_error is not None:
            figures += f", {self.write_error:.1e} of what the layer writes"
        own = printable(self.note)
        note = f"; {own}" if own else ""
        match self.status:
            case "exact":
                return f"checked against the model: {figures}, {self.rows} of {self.of} queries{note}"
            case "failed":
                return f"DOES NOT MATCH the model: {figures}, {self.rows} of {self.of} queries{note}"
            case "weights_only":
                return f"weights only, not checked: {own or 'they cannot be computed again'}"
        return f"not checked: {own or 'there is no output to compare with'}"

    def __repr__(self) -> str:
        return f"SiteReceipt({_SIGNS.get(self.status, '–')} {self.status}: {self._figures})"

    @property
    def _figures(self) -> str:
        if self.status not in ("exact", "failed"):
            return printable(self.note) or "nothing to compare with"
        write = "" if self.write_error is None else f", of the writes {self.write_error:.1e}"
        return f"error {self.max_error:.1e}{write}, tolerance {self.tolerance:.0e}, {self.rows} of {self.of} queries"

    def _cells(self) -> tuple[str, ...]:
        checked = self.status in ("exact", "failed")
        error = f"{self.max_error:.1e}" if checked else ""
        return (
            f"{_SIGNS.get(self.status, '–')} {self.status}",
            error,
            "" if self.write_error is None else f"{self.write_error:.1e}",
            f"{self.tolerance:.0e}",
            f"{self.rows} of {self.of}",
            self.note,
        )

    def _repr_html_(self) -> str:
        """A small table, for notebooks."""
        return _table(_HEADS, [self._cells()])


@dataclass(frozen=True, repr=False)
class Receipt:
    """The receipts of all sites, and their sum: passed only if every site could be checked and is exact.

    `sites`: one SiteReceipt per site, in the order of the trace.
    """

    sites: tuple[SiteReceipt, ...]

    @property
    def passed(self) -> bool:
        """True where every site is exact."""
        return bool(self.sites) and all(site.status == "exact" for site in self.sites)

    @property
    def max_error(self) -> float:
        """The largest error of any site, as a part of its largest |z|."""
        return max((site.max_error for site in self.sites), default=0.0)

    @property
    def tolerance(self) -> float:
        """The largest tolerance of any site."""
        return max((site.tolerance for site in self.sites), default=0.0)

    @property
    def rows(self) -> int:
        """Query rows checked, over all sites."""
        return sum(site.rows for site in self.sites)

    @property
    def of(self) -> int:
        """Query rows there are, over all sites."""
        return sum(site.of for site in self.sites)

    def __bool__(self) -> bool:
        return self.passed

    def __str__(self) -> str:
        bad = [f"site {i}: {site}" for i, site in enumerate(self.sites) if site.status != "exact"]
        if len({str(site) for site in self.sites}) == 1 and not any(site.rows for site in self.sites):
            bad = []  # the summary holds their one reason
        return "\n".join([self._summary(), *bad[:8]])

    def __repr__(self) -> str:
        return f"Receipt({self._summary()})"

    def _summary(self) -> str:
        """One line."""
        failed = sum(site.status == "failed" for site in self.sites)
        exact = sum(site.status == "exact" for site in self.sites)
        if not exact and not failed:
            head = f"– none of {len(self.sites)} sites could be checked against a model's output"
            reasons = {str(site) for site in self.sites}
            return f"{head}: {reasons.pop()}" if len(reasons) == 1 else head
        return (
            f"{'✕' if failed else '✓' if self.passed else '–'} {exact} of {len(self.sites)} sites match the model's own "
            f"output: largest difference {self.max_error:.1e}, {self.rows} of {self.of} query rows checked"
        )

    def _repr_html_(self) -> str:
        """The summary and a table of the sites, for notebooks; of many sites those that are not exact first, 24 in
        all.
        """
        order = sorted(range(len(self.sites)), key=lambda index: self.sites[index].status == "exact")
        shown = sorted(order[:24])
        more = f"<p>and {len(self.sites) - len(shown)} more, all exact</p>" if len(shown) < len(self.sites) else ""
        if more and any(self.sites[index].status != "exact" for index in order[24:]):
            more = f"<p>and {len(self.sites) - len(shown)} more</p>"
        rows = [(str(index), *self.sites[index]._cells()) for index in shown]
        table = _table(("site", *_HEADS), rows)
        return f"<p>{escape(self._summary())}</p>{table}{more}"


def _table(heads: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    head = "".join(f"<th>{escape(cell)}</th>" for cell in heads)
    body = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def receipt_of(site: Any, recompute: Callable[[Tensor], Tensor]) -> SiteReceipt:
    """Compare a site's kept output z with what `recompute` makes of these query rows, [q] -> [H, q, Dv]."""
    tolerance = tolerance_of(site.dtype or site.kept_dtype)
    if site.z is None or site.z_rows is None:
        return SiteReceipt("unverified", 0.0, tolerance, 0, site.queries, note=site.note)
    worst, largest, broken, whole, no_key = 0.0, 0.0, False, True, 0
    recomputed = rows = torch.empty(0)
    for block in query_blocks(len(site.z_rows), site.keys, site.heads):
        rows = site.z_rows[block].cpu()
        returned, recomputed = site.z[:, block].float(), recompute(rows)
        if not site.mask.is_empty:
            no_key += int((~site.mask.allowed(rows, site.keys).any(dim=-1)).reshape(-1, len(rows)).all(0).sum())
        known, made = torch.isfinite(returned), torch.isfinite(recomputed)
        finite, whole = known & made, whole and bool(known.all())
        broken |= not torch.equal(known, made)
        worst = max(worst, _max(finite, returned - recomputed))
        largest = max(largest, _max(finite, returned))
    error = worst / largest if largest else worst
    notes = [site.note] if site.note else []
    status = "failed" if broken or not error <= tolerance else "exact"
    if broken:
        notes.append("NaN or infinite values differ between the model's output and the recomputed one")
    elif not whole:
        notes.append("the model's own output has NaN or infinite values")
        if not bool(torch.isfinite(site.z).any()):
            error, status = 0.0, "unverified"
    if torch.equal(rows, torch.arange(site.queries)):  # all of them are at hand
        written, allowed = _write_error(site, lambda asked: recomputed[:, asked], tolerance)
    else:
        written, allowed = _write_error(site, recompute, tolerance)
    if written is not None and allowed is not None and not written <= allowed:
        status = "failed"
        notes.append(NOT_THE_SUM)
    if site.stored is not None and site.projection is None:
        rough = site.stored.products is not None and site.stored.products.dtype == torch.float16
        if not site.stored.norms_error(site.v) <= max(tolerance, TOLERANCE[torch.float16] if rough else 0):
            status = "failed"
            notes.append("the lengths ‖v · W_O‖ do not fit v and W_O; save the trace again")
    counts = len(site.z_rows), site.queries, no_key
    return SiteReceipt(status, error, tolerance, *counts, "; ".join(notes), written, allowed)


def _write_error(
    site: Any, recompute: Callable[[Tensor], Tensor], tolerance: float
) -> tuple[float | None, float | None]:
    """Σ over heads of z · W_O[h], and b_O, beside what the output projection returned for the same queries: the error, and
    what is allowed."""
    if site.projection is None and site.stored is not None:
        return site.stored.error, site.stored.tolerance
    if site.projection is None or site.written is None or not len(site.written):
        return None, None
    error = sum_error(site.projection, recompute(site.written_rows.cpu()), site.written)
    return error, max(tolerance, tolerance_of(site.written.dtype))


def sum_error(projection: Projection, z: Float[Tensor, "H R Dv"], written: Float[Tensor, "R M"]) -> float:
    """Largest |Σ over heads z · W_O[h] + b_O − what the output projection returned|, as a part of the largest that it returned.

    `z`: the heads' outputs at some queries. `written`: what the projection returned there."""
    returned = written.float()
    made = projection.total(z).to(returned.device)
    finite = torch.isfinite(returned) & torch.isfinite(made)
    error, largest = _max(finite, returned - made), _max(finite, returned)
    return error / largest if largest else error


def _max(where: Shaped[Tensor, "*s"], values: Float[Tensor, "*s"]) -> float:
    """Largest magnitude among the chosen values; 0 when none is."""
    chosen = values if bool(where.all()) else values[where]
    return float(chosen.abs().max()) if chosen.numel() else 0.0
