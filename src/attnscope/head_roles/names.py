"""Names of roles that fit on a thumbnail."""

from attnscope.head_roles.cases import TO_HEAD
from attnscope.head_roles.rows import RoleRow

SHORT = {
    "two tokens back": "2 back",
    "previous token": "previous",
    "next token": "next",
    "earlier copy": "copy",
    "after an earlier copy": "induction",
}


def short_name(row: RoleRow) -> str:
    """ "obj ↑" of a dependent that looks at what it depends on, "obj ↓" of the other direction; else the rule in a word."""
    if row.task.kind != "relation":
        return SHORT.get(row.relation, row.relation)
    return f"{row.relation} {'↑' if row.direction == TO_HEAD else '↓'}"
