"""Receipts: is what was kept enough to compute again what the model returned?"""

from dataclasses import dataclass


@dataclass(frozen=True)
class SiteReceipt:
    """One site's proof. max_error: largest |recomputed z - returned z|, as a part of the largest |returned z|.

    status: "exact" (within the tolerance), "failed", "weights_only" (no q and k to recompute from) or "unverified"
    (nothing to compare with). `no_key_rows` counts checked rows in which no key is allowed.
    """

    status: str
    max_error: float
    tolerance: float
    rows: int
    of: int
    no_key_rows: int = 0
    note: str = ""

    def __str__(self) -> str:
        figures = f"largest difference {self.max_error:.1e} of the output (tolerance {self.tolerance:.0e})"
        note = f"; {self.note}" if self.note else ""
        match self.status:
            case "exact":
                return f"checked against the model: {figures}, {self.rows} of {self.of} queries{note}"
            case "failed":
                return f"DOES NOT MATCH the model: {figures}, {self.rows} of {self.of} queries{note}"
            case "weights_only":
                return f"weights only, not checked: {self.note or 'they cannot be computed again'}"
        return f"not checked: {self.note or 'there is no output to compare with'}"


@dataclass(frozen=True)
class Receipt:
    """The receipts of all sites, and their sum: passed only if every site could be checked and is exact."""

    sites: tuple[SiteReceipt, ...]

    @property
    def passed(self) -> bool:
        return bool(self.sites) and all(site.status == "exact" for site in self.sites)

    @property
    def max_error(self) -> float:
        return max((site.max_error for site in self.sites), default=0.0)

    @property
    def tolerance(self) -> float:
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
        failed = sum(site.status == "failed" for site in self.sites)
        exact = len(self.sites) - len(bad)
        if not exact and not failed:
            head = f"– none of {len(self.sites)} sites could be checked against a model's output"
            if len(reasons := {str(site) for site in self.sites}) == 1:
                return f"{head}: {reasons.pop()}"
        else:
            head = (
                f"{'✕' if failed else '✓' if self.passed else '–'} {exact} of {len(self.sites)} sites match the model's own "
                f"output: largest difference {self.max_error:.1e}, {self.rows} of {self.of} query rows checked"
            )
        return "\n".join([head, *bad[:8]])
