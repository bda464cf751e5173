"""The page of the doctor's findings, docs/reference/findings.md, written from the registry in src/attnscope/doctor/findings.

python tools/findings.py            writes the page
python tools/findings.py --check    says whether it is what the registry would give; exit code 1 if not
"""

import difflib
import sys
from pathlib import Path

from attnscope.doctor.findings import Entry
from attnscope.doctor.findings.registry import FAMILIES

PAGE = Path(__file__).parent.parent / "docs/reference/findings.md"
HEAD = """# Findings of the doctor

<!-- Written by tools/findings.py from src/attnscope/doctor/findings: change that, then run it again. -->

Everything that [`attnscope.check`](check.md) can find. An **error** means that the numbers are wrong; a **warning**, that they
are right here and wrong elsewhere (another mask, a larger score, float16, other weights); a **note** changes nothing.
`attnscope check --explain ID` prints one of them. Lines marked − are of the wrong example, lines marked + of the right one; the
tests run both, with `torch`, `F` (torch.nn.functional), `nn` and `math` imported. Rows are those of the project's table of attention bugs.
"""


def page() -> str:
    """All entries: a table of each family, then every entry with its examples."""
    parts = [HEAD]
    for family in FAMILIES:
        parts += [f"## {_title(family.__doc__)}\n", "| finding | severity | row | what it is |", "|-|-|-|-|"]
        parts += [f"| [`{e.id}`](#{e.id}) | {e.severity} | {e.row or ''} | {_cell(e.what)} |" for e in family.ENTRIES]
        parts.append("")
    for family in FAMILIES:
        parts += [_section(entry) for entry in family.ENTRIES]
    return "\n".join(parts)


def _title(docstring: str | None) -> str:
    return (docstring or "").strip().splitlines()[0].removesuffix(".")


def _cell(text: str) -> str:
    return _escaped(text).replace("|", "\\|")


def _escaped(text: str) -> str:
    """Text with a backslash before each sign that MyST would read as markup."""
    for sign in "\\*_<[":
        text = text.replace(sign, "\\" + sign)
    return text


def _section(entry: Entry) -> str:
    wrong, right = entry.codes()
    call = f"\n\n{entry.call}" if isinstance(entry.wrong, str) and not entry.call.startswith("attnscope check") else ""
    lines = [
        f"### `{entry.id}`\n",
        f"**{entry.severity.capitalize()}.** {_escaped(entry.what[0].upper() + entry.what[1:])}.\n",
        f"{_escaped(entry.general('why'))}\n" if entry.why else "",
        f"*Cure:* {_escaped(entry.general('cure'))}\n",
        f"*What does not hold:* {_escaped(entry.general('invariant'))}.\n",
        f"```diff\n{_difference(wrong + call, right + call)}\n```\n",
        f"*Reference:* {entry.reference}\n" if entry.reference else "",
    ]
    return "\n".join(line for line in lines if line)


def _difference(wrong: str, right: str) -> str:
    """Both codes at once: lines of the wrong one marked "-", of the right one "+"."""
    lines = difflib.ndiff(wrong.splitlines(), right.splitlines())
    return "\n".join(line.rstrip() for line in lines if not line.startswith("?"))


def main() -> None:
    text = page()
    if "--check" in sys.argv:
        if not PAGE.is_file() or PAGE.read_text(encoding="utf-8") != text:
            sys.exit("docs/reference/findings.md is not what the registry gives; run: python tools/findings.py")
    else:
        PAGE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
