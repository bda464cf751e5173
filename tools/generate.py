"""Write frontend/src/generated/ from the tables in Python: `python tools/generate.py`; `--check` only looks for drift.

state.ts comes from attnscope.views.state, words.json from views.levels, views.sentences.columns, views.sentences.notes and
statistics.definitions, colours.json from render.figures.colours. Each of these facts has its one source there.
"""

import json
import sys
from pathlib import Path
from typing import Any

from attnscope.render.figures import colours
from attnscope.statistics.definitions import BADGES, CLEAR, EFFECTS, NAMING, PAIR, PLAIN_NAMES
from attnscope.views import levels
from attnscope.views.sentences.columns import COLUMNS, SHORT
from attnscope.views.sentences.notes import NOTES
from attnscope.views.state import EXPECTED, State

TARGET = Path(__file__).parents[1] / "frontend" / "src" / "generated"
TYPES = {
    "position": "number",
    "optional position": "number | null",
    "positions": "number[]",
    "weight": "number",
    "flag": "boolean",
    "edits": "string[]",
    "name": "string",
}


def state_ts() -> str:
    """The fields of a State as TypeScript: types, defaults, and what reads them from an address."""
    rows = [(row.name, row.default, row.metadata) for row in State.table()]
    lines = [
        "/** Written by tools/generate.py from src/attnscope/views/state.py: change the table there, and run it. */",
        "",
        f"export const LEVELS = {_array(levels.NAMES)} as const;",
        f"export const ALIASES: Record<string, string> = {_object(levels.ALIASES)};",
        "",
        "export const CHOICES = {",
        *(f"  {name}: {_array(more['choices'])}," for name, _, more in rows if more["choices"]),
        "} as const;",
        "",
        "export interface State {",
    ]
    for name, default, more in rows:
        kind = TYPES.get(more["kind"], "string | null" if default is None or name == "why" else "string")
        if more["kind"] == "choice":
            kind = f"(typeof CHOICES.{name})[number]"
        lines += [f"  /** {more['about'][0].upper()}{more['about'][1:]}. */", f"  {name}: {kind};"]
    lines += ["}", "", "export const INITIAL: State = {"]
    lines += [f"  {name}: {_value(None if name == 'why' else default)}," for name, default, _ in rows]
    lines += ["};", "", "export type Kind =", *(f"  | {json.dumps(kind)}" for kind in EXPECTED)]
    lines[-1] += ";"
    lines += ["", "export const KINDS: Record<keyof State, Kind> = {"]
    lines += [f"  {name}: {json.dumps(more['kind'])}," for name, _, more in rows]
    lines += ["};", "", "export const EXPECTED: Record<Kind, string> = {"]
    lines += [f"  {_key(kind)}: {json.dumps(text)}," for kind, text in EXPECTED.items()]
    always = [name for name, _, more in rows if more["always"]]
    place, look = ([name for name in State.in_group(group) if name != "why"] for group in ("place", "look"))
    lines += [
        "};",
        "",
        "/** Always in an address, whatever they are. */",
        f"export const ALWAYS = {_array(always)} as const;",
        "/** Which head is looked at. */",
        f"export const PLACE = {_array(place)} as const;",
        "/** How it is drawn: a server's page keeps these for the next text. */",
        f"export const LOOK = {_array(look)} as const;",
    ]
    return "\n".join(lines) + "\n"


def words_json() -> str:
    """What levels, columns, notes and the names of heads say."""
    shown = ("group", "title", "about", "help")
    entries = {
        level.name: {"order": n, **{name: getattr(level, name) for name in shown}}
        for n, level in enumerate(levels.REGISTRY)
    }
    pair = {one.name: {"title": one.title, "unit": one.unit, "words": one.words} for one in PAIR}
    plain = {"clear": CLEAR, "said": NAMING, "names": [list(one) for one in PLAIN_NAMES]}
    columns = {one.name: {"title": one.title, "short": SHORT[one.name]} for one in COLUMNS}
    return _json(
        {
            "levels": entries,
            "columns": columns,
            "notes": NOTES,
            "pair": pair,
            "plain": plain,
            "roles": {"said": BADGES, "effects": EFFECTS},
        }
    )


def colours_json() -> str:
    """Colours of both themes, of heads drawn over each other, and the ends of scales."""
    return _json(
        {
            "page": colours.PAGE,
            "heads": colours.HEADS_ON,
            "dashes": colours.DASHES,
            "nice": colours.NICE,
            "niceParts": colours.NICE_PARTS,
            "bend": colours.BEND,
        }
    )


FILES = {"state.ts": state_ts, "words.json": words_json, "colours.json": colours_json}


def drift(target: Path = TARGET) -> list[str]:
    """Names of the files that differ from what the tables say."""
    there = {name: (target / name).read_text("utf-8") if (target / name).exists() else None for name in FILES}
    return [name for name, make in FILES.items() if there[name] != make()]


def _value(value: Any) -> str:
    return _array(value) if isinstance(value, tuple) else json.dumps(value)


def _key(name: str) -> str:
    return name if name.isidentifier() else json.dumps(name)


def _object(entries: dict[str, str]) -> str:
    return "{ " + ", ".join(f"{_key(name)}: {json.dumps(value)}" for name, value in entries.items()) + " }"


def _array(values: Any) -> str:
    """On one line where it fits, as the formatter of the front end has it."""
    line = f"[{', '.join(map(json.dumps, values))}]"
    if len(line) <= 90:
        return line
    return "[\n" + "".join(f"  {json.dumps(value)},\n" for value in values) + "]"


def _json(value: Any, indent: str = "") -> str:
    """JSON as the formatter of the front end has it: short arrays of plain values on one line."""
    text = _laid_out(value, indent)
    return text if indent else text + "\n"


def _laid_out(value: Any, indent: str) -> str:
    inner = indent + "  "
    if isinstance(value, dict):
        entries = [f"{inner}{json.dumps(key)}: {_laid_out(one, inner)}" for key, one in value.items()]
        return "{\n" + ",\n".join(entries) + f"\n{indent}}}"
    if isinstance(value, list | tuple):
        line = f"[{', '.join(json.dumps(one, ensure_ascii=False) for one in value)}]"
        if len(inner) + len(line) <= 100:
            return line
        return "[\n" + ",\n".join(inner + _laid_out(one, inner) for one in value) + f"\n{indent}]"
    return json.dumps(value, ensure_ascii=False)


def main() -> None:
    if "--check" in sys.argv[1:]:
        if changed := drift():
            sys.exit(f"frontend/src/generated: {', '.join(changed)} differ from the tables; run tools/generate.py.")
        return
    TARGET.mkdir(exist_ok=True)
    for name, make in FILES.items():
        (TARGET / name).write_text(make(), "utf-8")


if __name__ == "__main__":
    main()
