"""The tables of docs/statistics.md, written from the registries in src/attnscope/statistics.

python tools/statistics_page.py            writes them
python tools/statistics_page.py --check    says whether they are what the registries would give; exit code 1 if not
"""

import re
import sys
from collections.abc import Iterable
from pathlib import Path

from attnscope.statistics.definitions import STATISTICS, Statistic
from attnscope.statistics.from_weights.scores import SCORES
from attnscope.statistics.further.entries import ENTRIES
from attnscope.statistics.kinds.definitions import KINDS

PAGE = Path(__file__).parent.parent / "docs/statistics.md"
TABLES = {
    "model level": STATISTICS,
    "on request": tuple(entry.statistic for entry in ENTRIES),
    "weights": SCORES,
    "kinds": KINDS,
}


def page(text: str) -> str:
    """The page with its tables written anew, each between its two marks."""
    for name, statistics in TABLES.items():
        begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
        inner = "\n".join([begin, "", *table(statistics), "", end])
        pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
        text, count = pattern.subn(lambda _, inner=inner: inner, text)
        if count != 1:
            sys.exit(f"docs/statistics.md has {count} places for the table {name!r}; it needs one.")
    return text


def table(statistics: Iterable[Statistic]) -> list[str]:
    """A row a statistic."""
    lines = ["| name | what it is | formula | source |", "|-|-|-|-|"]
    for one in statistics:
        unit = f", in {one.unit}" if one.unit not in ("", "part") else ""
        about = f"**{one.title}**{unit}. {one.about}"
        lines.append(
            f"| `{one.name}` | {_cell(about)} | `{one.formula.replace('|', chr(92) + '|')}` | {_cell(one.source)} |"
        )
    return lines


def _cell(text: str) -> str:
    for sign in "_|<[":
        text = text.replace(sign, "\\" + sign)
    return text


def main() -> None:
    before = PAGE.read_text(encoding="utf-8")
    after = page(before)
    if "--check" in sys.argv:
        if before != after:
            sys.exit("docs/statistics.md is not what the registries give; run: python tools/statistics_page.py")
    else:
        PAGE.write_text(after, encoding="utf-8")


if __name__ == "__main__":
    main()
