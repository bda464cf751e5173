"""Docstrings are written to be read in a terminal: indented code without marks, `names` in single backquotes, a line
`name`: … for a parameter, plain asterisks and bars. This makes reStructuredText of them for the docs site."""

import re

ITEM = re.compile(r"(- )?(`[^`]+`)(, `[^`]+`)*( \([^)]*\))?:")  # a parameter, or several, and what they are


def to_rst(lines: list[str]) -> list[str]:
    """Indented blocks become literal blocks, and what would be markup outside of backquotes is escaped."""
    out: list[str] = []
    inside, before = "", ""  # inside a "literal" block, a "doctest", a "list", or neither
    for line in lines:
        if not line.strip():
            inside = "" if inside in ("doctest", "list") else inside
        elif inside == "literal" and not line.startswith("    "):
            inside = ""
        if line.lstrip().startswith(">>>"):
            inside = "doctest"
        elif line.startswith("    ") and not inside and not before.strip():
            inside = "literal"
            out += ["::", ""]
        elif inside in ("", "list") and (ITEM.match(line) or line.startswith("- ")):
            out += [""] if before.strip() and not inside else []  # a list begins after an empty line
            inside = "list"
            line = f"- {line.removeprefix('- ')}"
        elif inside == "list":
            line = f"  {line.strip()}"
        out.append(line if inside in ("literal", "doctest") else _escaped(line))
        before = line
    return out


def _escaped(line: str) -> str:
    """Asterisks and bars as they are; a trailing underscore is no link. Backquoted parts stay."""
    parts = re.split(r"(``[^`]*``|`[^`]*`)", line)
    return "".join(
        part if index % 2 else re.sub(r"([*|\\]|_(?!\w))", r"\\\1", part) for index, part in enumerate(parts)
    )
