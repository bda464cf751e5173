"""benchmarks/RESULTS.md: each script owns the section between its two marks."""

import re
import sys
from collections.abc import Sequence
from pathlib import Path

RESULTS = Path(__file__).with_name("RESULTS.md")

# Installed packages come before this folder: numba looks for one called coverage, and would find the script of that name.
if (here := str(RESULTS.parent)) in sys.path:
    sys.path.remove(here)
    sys.path.append(here)


def write_section(name: str, lines: Sequence[str]) -> None:
    """Put `lines` in place of the section that this script wrote before, or at the end."""
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    text = RESULTS.read_text() if RESULTS.exists() else "# Benchmarks\n\nEach section is written by its script.\n"
    section = "\n".join([begin, *lines, end])
    old = re.compile(re.escape(begin) + ".*?" + re.escape(end), re.DOTALL)
    text = old.sub(lambda _: section, text) if old.search(text) else f"{text.rstrip()}\n\n{section}\n"
    RESULTS.write_text(text)
