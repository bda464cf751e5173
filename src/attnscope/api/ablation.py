"""Roles with what the model loses without their heads: does a head only look as if it did something?

A head is asked on the tokens on which its role was found: of a copy, the second half of random tokens repeated; of the others, the texts.
"""

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

import torch

from attnscope.head_effects.asked import OwnTokens
from attnscope.head_effects.band import CONTROL
from attnscope.head_effects.measure import effects
from attnscope.head_roles.find import Findings
from attnscope.head_roles.rows import RoleRow
from attnscope.head_roles.table import RoleTable
from attnscope.head_roles.texts import Text
from attnscope.text.format import count

ABLATIONS = ("mean", "off")
TEXTS = 4  # of each kind: a head takes a pass from its layer on in each
LONGEST = 128  # tokens


def with_ablation(table: RoleTable, found: Findings, how: str) -> RoleTable:
    """The table with the effects of the heads that its claims name, and their bands. `found`: with what the model read. `how`: one of ABLATIONS. Raises InputError for
    a model that is no causal language model."""
    other = {row.task.kind for row in (*table.rows, *table.by_head)} - {"probe"}
    groups = (("probe",), found.drawn, True), (other, found.texts or found.drawn, not found.texts)
    for kinds, texts, drawn in groups:
        table = _filled(table, kinds, texts, drawn, how)
    return table


def _filled(table: RoleTable, kinds: Collection[str], texts: Sequence[Text], drawn: bool, how: str) -> RoleTable:
    rows = [row for row in (*table.rows, *table.by_head) if row.task.kind in kinds and row.claimed]
    some = _chosen(texts)
    if not rows or not some:
        return table
    model, _ = table.source or (None, None)
    cases = [
        ({name: torch.tensor([value]) for name, value in text.inputs.items()}, _target(text, drawn)) for text in some
    ]
    measured = effects(model, None, cases, how=how, layers=_layers(rows, model))
    found = {
        (row.layer, row.heads[0]): (row.effect, row.band.low, row.band.high) for row in measured if row.band is not None
    }
    where = f"{count(len(some), 'sequence' if drawn else 'text')}{' of random tokens, on their second half' if drawn else ''}"
    what = ", ".join(dict.fromkeys(row.relation for row in rows)) if drawn else "the other roles"
    note = (
        f"Effects of {what}: how much the mean log-probability of {where} falls, in nats, with {measured.reference} in the place of what a head writes; "
        f"the band is of all other heads near it, at least {CONTROL} where there are so many."
    )
    return replace(table.with_effects(found, kinds), notes=(*table.notes, note, *measured.notes))


def _chosen(texts: Sequence[Text]) -> list[Text]:
    fitting = [text for text in texts if 8 <= len(text) <= LONGEST]
    return fitting[:: max(1, len(fitting) // TEXTS)][:TEXTS]


def _target(text: Text, drawn: bool) -> OwnTokens:
    """Of random tokens repeated, what follows the first token of the second half."""
    ordinary = sum(not special for special in text.special)
    return OwnTokens(len(text) - ordinary // 2 + 1) if drawn else OwnTokens()


def _layers(rows: Sequence[RoleRow], model: Any) -> list[int] | None:
    """The layers of these heads and as many beside each as its band takes; None: all, where nothing tells how many heads a layer has."""
    config = getattr(model, "config", None)
    heads, layers = (getattr(config, name, None) for name in ("num_attention_heads", "num_hidden_layers"))
    if not isinstance(heads, int) or not isinstance(layers, int):
        return None
    found: set[int] = set()
    for layer in {row.layer for row in rows if row.layer is not None}:
        reach = next(
            reach
            for reach in range(layers)
            if reach == layers - 1
            or heads * len({*range(max(0, layer - reach), min(layers, layer + reach + 1))}) - 1 >= CONTROL
        )
        found |= {*range(max(0, layer - reach), min(layers, layer + reach + 1))}
    return sorted(found)
