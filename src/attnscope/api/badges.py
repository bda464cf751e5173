"""A trace with the roles of its heads."""

from dataclasses import replace
from typing import Any

from attnscope.errors import InputError
from attnscope.head_roles.badges import badges_of
from attnscope.head_roles.table import RoleTable
from attnscope.statistics.thumbnails import share
from attnscope.tracing.trace import Trace


def with_roles(traced: Trace, table: Any) -> Trace:
    """The trace with the claims of `table` as badges. Raises InputError for what is no table, or a table of heads that the
    trace does not have."""
    check_table(table)
    readers = [site for site in traced.sites if site.kind == "self"]
    stack = readers[0].stack if readers else None
    badges = badges_of(table, stack)
    heads = {site.layer: site.heads for site in readers if site.stack == stack}
    for badge in badges:
        if badge.head >= heads.get(badge.layer, 0):
            raise InputError(
                f"these roles are of another model: they name layer {badge.layer} head {badge.head}, and this trace has "
                f"layers {', '.join(map(str, heads))} of {max(heads.values(), default=0)} heads. Give the roles of this model."
            )
    notes = traced.notes
    if table.model and traced.model.name and table.model != traced.model.name:
        notes = (*notes, f"The roles are those of {table.model}; this is {traced.model.name}.")
    shown = replace(traced, badges=badges, notes=notes)
    share(traced, shown)
    return shown


def check_table(table: Any) -> None:
    """Raises InputError for what is no RoleTable."""
    if not isinstance(table, RoleTable):
        raise InputError(
            f"expected roles as a RoleTable, such as attnscope.roles(model, tokenizer, treebank=…), got {type(table).__name__}."
        )
