"""A trace with the roles and the effects of its heads."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from attnscope.errors import InputError
from attnscope.head_effects.badges import badges_of_effects
from attnscope.head_effects.table import EffectTable
from attnscope.head_roles.badges import badges_of
from attnscope.head_roles.table import RoleTable
from attnscope.statistics.thumbnails import share
from attnscope.tracing.badges import Badge
from attnscope.tracing.trace import Trace


def with_roles(traced: Trace, table: Any) -> Trace:
    """The trace with the claims of `table` as badges. Raises InputError for what is no table, or a table of heads that the
    trace does not have."""
    check_table(table)
    readers = [site for site in traced.sites if site.kind == "self"]
    stack = readers[0].stack if readers else None
    return _with(traced, badges_of(table, stack), "role", table.model)


def with_effects(traced: Trace, table: Any) -> Trace:
    """The trace with the effects of `table`: of the heads that leave their band as badges, of all as a statistic. Raises InputError for what is no
    table, or a table of heads that the trace does not have."""
    if not isinstance(table, EffectTable):
        raise InputError(
            f"expected effects as an EffectTable, such as attnscope.effects(model, tokenizer, texts, target=…), got {type(table).__name__}."
        )
    return _with(traced, badges_of_effects(table), "effect", table.model)


def _with(traced: Trace, badges: Sequence[Badge], kind: str, model: str) -> Trace:
    """The trace with badges of one kind, beside those of the other."""
    heads = {(site.stack, site.layer): site.heads for site in traced.sites}
    for badge in badges:
        if badge.head >= heads.get((badge.stack, badge.layer), 0):
            layers = ", ".join(str(layer) for stack, layer in heads if stack == badge.stack) or "no such stack"
            most = max((count for (stack, _), count in heads.items() if stack == badge.stack), default=0)
            raise InputError(
                f"these {kind}s are of another model: they name {badge.stack or ''}{' ' if badge.stack else ''}layer {badge.layer} head {badge.head}, and "
                f"this trace has layers {layers} of {most} heads. Give the {kind}s of this model."
            )
    notes = traced.notes
    if model and traced.model.name and model.rstrip("/").split("/")[-1] != traced.model.name.rstrip("/").split("/")[-1]:
        notes = (*notes, f"The {kind}s are those of {model}; this is {traced.model.name}.")
    others = tuple(badge for badge in traced.badges if badge.kind != kind)
    both = (*others, *badges) if kind == "effect" else (*badges, *others)
    shown = replace(traced, badges=both, notes=notes)
    share(traced, shown)
    return shown


def check_table(table: Any) -> None:
    """Raises InputError for what is no RoleTable."""
    if not isinstance(table, RoleTable):
        raise InputError(
            f"expected roles as a RoleTable, such as attnscope.roles(model, tokenizer, treebank=…), got {type(table).__name__}."
        )
