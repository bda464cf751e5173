"""write(): the pages of an atlas."""

from collections import defaultdict
from pathlib import Path

from attnscope.errors import InputError
from attnscope.head_roles.badges import badges_of
from attnscope.head_roles.table import RoleTable
from attnscope.payload.atomic_write import write_atomically
from attnscope.surveys.atlas.head_page import head_page
from attnscope.surveys.atlas.index_page import index_page
from attnscope.surveys.atlas.numbers import name_of
from attnscope.surveys.atlas.read import Head, read_tables
from attnscope.surveys.files import folder_at
from attnscope.text.format import count
from attnscope.tracing.badges import Badge


def write(out: Path, roles: RoleTable | None = None) -> Path:
    """`out`/index.html and a page for each head in `out`/heads, from the tables of the survey in `out`. Returns the index.

    `roles`: a table whose claims become badges. Raises UnreadableFile where a table cannot be read, InputError where the
    survey holds no heads or the roles are of others, OutputError where a page cannot be written, MissingDependency without
    pyarrow.
    """
    out = Path(out)
    tables = read_tables(out)
    badges: dict[Head, list[Badge]] = defaultdict(list)
    for badge in badges_of(roles, None) if roles is not None else ():
        badges[badge.layer, badge.head].append(badge)
    if strangers := sorted({*badges} - {*tables.heads}):
        raise InputError(
            f"these roles are of another model: they name {name_of(*strangers[0])}, and the survey in {out} has "
            f"{count(len(tables.heads), 'head')}, up to {name_of(*max(tables.heads))}. Give the roles of the model that was surveyed."
        )
    folder = folder_at(out / "heads")
    there = {path.name for path in (out / "examples").glob("*.html")}
    for place, head in enumerate(tables.heads):
        page = head_page(tables, place, badges[head], there)
        write_atomically(folder / f"{name_of(*head)}.html", page.encode())
    return write_atomically(out / "index.html", index_page(tables, badges).encode())
