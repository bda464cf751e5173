"""The claims of a table as badges of heads."""

from attnscope.head_roles.names import short_name
from attnscope.head_roles.sentence import sentence
from attnscope.head_roles.table import RoleTable
from attnscope.tracing.badges import Badge


def badges_of(table: RoleTable, stack: str | None) -> tuple[Badge, ...]:
    """One for each role that the evidence carries, of each head the best first, sinks last. `stack`: of the model's reader."""
    found: dict[tuple[int, int, str], Badge] = {}
    for row in (*table.rows, *table.by_head):
        if row.claimed and row.layer is not None and row.head is not None:
            rests = row.task.by_weight
            value = (row.weight if rests else row.accuracy) or 0.0
            name = short_name(row)
            badge = Badge(stack, row.layer, row.head, name, sentence(row), value, rests)
            found.setdefault((row.layer, row.head, name), badge)
    return tuple(sorted(found.values(), key=lambda badge: (badge.layer, badge.head, badge.rests, -badge.value)))
