"""The effects of a table as badges of heads: those that do not leave their band rest."""

from attnscope.errors import InputError
from attnscope.head_effects.rows import EffectRow
from attnscope.head_effects.table import EffectTable
from attnscope.text.format import fixed
from attnscope.tracing.badges import Badge


def badges_of_effects(table: EffectTable) -> tuple[Badge, ...]:
    """One for each head that was measured, alone or with others. Raises InputError for effects of edges, which are of no head."""
    if any(row.edge for row in table):
        raise InputError(
            'these effects are of edges, which no thumbnail of a head can show: pass effects of each="head", "group" or "layer".'
        )
    return tuple(
        Badge(
            row.stack or None,
            row.layer,
            head,
            f"effect {_signed(row.effect)}",
            _sentence(row, table),
            row.effect,
            not row.outside_band,
            "effect",
        )
        for row in table
        for head in row.heads
    )


def _sentence(row: EffectRow, table: EffectTable) -> str:
    together = "" if len(row.heads) == 1 else f" (heads {row.heads[0]} to {row.heads[-1]} together)"
    texts = "1 text" if row.n == 1 else f"{row.n} texts"
    spread = "" if row.spread is None else f" ± {fixed(row.spread, 2)}"
    said = f"Clean − edited, {table.measure} of {table.asked}: {_signed(row.effect)}{spread} in {texts}{together}, with {table.reference} in its place. "
    if row.band is None:
        return f"{said}There is no other head to compare with."
    where = "Outside of" if row.outside_band else "Within"
    return f"{said}{where} the band: {row.band}."


def _signed(value: float) -> str:
    return ("+" if value > 0 else "") + fixed(value, 2)
