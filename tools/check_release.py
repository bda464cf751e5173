"""check_release.py TAG: exits with an error unless the tag may be released, and prints the changelog's section for it.

The tag is "v" and the version of src/attnscope/_version.py; CITATION.cff names that version; CHANGELOG.md begins with a
section for it that has a date and says something.
"""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def version(root: Path) -> str:
    """The one version, read without importing the package."""
    text = (root / "src/attnscope/_version.py").read_text(encoding="utf-8")
    match = re.search(r'^__version__ = "([^"]+)"$', text, re.M)
    if match is None:
        raise SystemExit('Error: expected a line `__version__ = "…"` in src/attnscope/_version.py, found none.')
    return match[1]


def section(changelog: str) -> tuple[str, str]:
    """The heading and the text of the changelog's first section."""
    match = re.search(r"^## (.+?)$\n(.*?)(?=^## |\Z)", changelog, re.M | re.S)
    return (match[1].strip(), match[2].strip()) if match else ("", "")


def faults(tag: str, root: Path = ROOT) -> list[str]:
    """What keeps the tag from being released."""
    wanted = version(root)
    heading, text = section((root / "CHANGELOG.md").read_text(encoding="utf-8"))
    citation = re.search(r"^version: (.*)$", (root / "CITATION.cff").read_text(encoding="utf-8"), re.M)
    found = []
    if tag != f"v{wanted}":
        found.append(f"expected the tag v{wanted}, as src/attnscope/_version.py says, got {tag}")
    if not re.fullmatch(re.escape(wanted) + r" \(\d{4}-\d\d-\d\d\)", heading):
        found.append(f"expected CHANGELOG.md to begin with “## {wanted} (YYYY-MM-DD)”, got “## {heading}”")
    if not re.search(r"^- ", text, re.M):
        found.append(f"expected at least one entry under “## {heading}” in CHANGELOG.md, found none")
    if citation is None or citation[1] != wanted:
        found.append(f"expected “version: {wanted}” in CITATION.cff, got {citation[1] if citation else 'none'}")
    return found


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit("Error: check_release.py takes one argument, the tag: v0.2.0, say.")
    if found := faults(sys.argv[1]):
        sys.exit("\n".join(f"Error: {fault}." for fault in found))
    print(section((ROOT / "CHANGELOG.md").read_text(encoding="utf-8"))[1])


if __name__ == "__main__":
    main()
