"""write(): the pages of an atlas."""

from collections import defaultdict
from pathlib import Path

from attnscope.head_roles.badges import badges_of
from attnscope.head_roles.table import RoleTable
from attnscope.payload.atomic_write import write_atomically
from attnscope.surveys.atlas.head_page import head_page
from attnscope.surveys.atlas.index_page import index_page
from attnscope.surveys.atlas.numbers import name_of
from attnscope.surveys.atlas.read import Head, read_tables
from attnscope.tracing.badges import Badge


def write(out: Path, roles: RoleTable | None = None) -> Path:
    """`out`/index.html and a page for each head in `out`/heads, from the tables of the survey in `out`. Returns the index.

    `roles`: a table whose claims become badges. Raises UnreadableFile where a table cannot be read, InputError where the
    survey holds no heads, OutputError where a page cannot be written, MissingDependency without pyarrow.
    """
    out = Path(out)
    tables = read_tables(out)
    badges: dict[Head, list[Badge]] = defaultdict(list)
    for badge in badges_of(roles, None) if roles is not None else ():
        badges[badge.layer, badge.head].append(badge)
    folder = out / "heads"
    folder.mkdir(exist_ok=True)
    there = {path.name for path in (out / "examples").glob("*.html")}
    for place, head in enumerate(tables.heads):
        page = head_page(tables, place, badges[head], there)
        write_atomically(folder / f"{name_of(*head)}.html", page.encode())
    return write_atomically(out / "index.html", index_page(tables, badges).encode())
