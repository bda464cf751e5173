"""coverage_report.py FILE [LOWEST]: prints what share of the lines a test run has reached, and names the modules below
LOWEST per cent (80 where you name none).

FILE is coverage.py's report as JSON, or the summary that v8 and istanbul write (`coverage-summary.json`).
"""

import json
import sys
from pathlib import Path


def shares(report: dict) -> dict[str, tuple[int, int]]:
    """Module -> (lines reached, lines there are)."""
    if "files" in report:  # coverage.py
        found = {name: file["summary"] for name, file in report["files"].items()}
        return {name: (one["covered_lines"], one["num_statements"]) for name, one in found.items()}
    return {name: (one["lines"]["covered"], one["lines"]["total"]) for name, one in report.items() if name != "total"}


def short(name: str) -> str:
    """A module's path without the folders that all share."""
    for mark in ("attnscope/", "frontend/"):
        if mark in name:
            return name.rpartition(mark)[2]
    return name


def lines(report: dict, lowest: float = 80) -> list[str]:
    """The report as text, lowest module first."""
    modules = {short(name): counts for name, counts in shares(report).items() if counts[1]}
    if not modules:
        raise SystemExit("Error: expected a coverage report with at least one module, got none.")
    reached, there = (sum(counts[i] for counts in modules.values()) for i in (0, 1))
    low = sorted((done / all_, name) for name, (done, all_) in modules.items() if 100 * done < lowest * all_)
    head = f"{100 * reached / there:.1f} % of {there:,} lines in {len(modules)} modules"
    if not low:
        return [f"{head}; every module has at least {lowest:g} %."]
    return [f"{head}; below {lowest:g} %:", *(f"  {100 * share:5.1f} %  {name}" for share, name in low)]


def main() -> None:
    if len(sys.argv) not in (2, 3):
        sys.exit("Error: coverage_report.py takes a report and, if you like, the lowest share in per cent.")
    path, *lowest = sys.argv[1:]
    print("\n".join(lines(json.loads(Path(path).read_text(encoding="utf-8")), *map(float, lowest))))


if __name__ == "__main__":
    main()
