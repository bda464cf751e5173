"""Docstrings are written to be read in a terminal: indented code without marks, `names` in single backquotes, plain
asterisks and bars. This makes reStructuredText of them for the docs site."""

import re


def to_rst(lines: list[str]) -> list[str]:
    """Indented blocks become literal blocks, and what would be markup outside of backquotes is escaped."""
    out: list[str] = []
    literal = False
    for number, line in enumerate(lines):
        before = lines[number - 1] if number else ""
        if line.startswith("    ") and not literal and not before.strip() and not line.lstrip().startswith(">>>"):
            literal = True
            out += ["::", ""]
        elif line.strip() and not line.startswith("    "):
            literal = False
        doctest = line.lstrip().startswith((">>>", "..."))
        out.append(line if literal or doctest or not line.strip() else _escaped(line))
    return out


def _escaped(line: str) -> str:
    """Asterisks and bars as they are; a trailing underscore is no link. Backquoted parts stay."""
    parts = re.split(r"(``[^`]*``|`[^`]*`)", line)
    return "".join(part if index % 2 else re.sub(r"([*|\\]|_(?!\w))", r"\\\1", part) for index, part in enumerate(parts))
