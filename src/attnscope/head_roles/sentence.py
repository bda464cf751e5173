"""A row of the table as a sentence."""

from attnscope.head_roles.baselines import FIRST_WORD
from attnscope.head_roles.rows import FEWEST, WHOLE, RoleRow
from attnscope.text.format import digits_apart, fixed, percent

# How a measure is read out; its title in statistics/definitions is for tables.
MEASURES = {
    "in_order": "Order τ {:.2f}",
    "time_spread": "Its weight lies within {:.2f} s of the largest on average",
    "patch_distance": "A patch looks {:.1f} patches far on average",
}


def sentence(row: RoleRow) -> str:
    """Such as "Layer 2 head 8 links a subject to its verb (nsubj): 59 % (n = 353, 54–64) against 39 % for the next word."

    A row without enough cases says how many it has, and claims nothing.
    """
    if row.layer is None or row.accuracy is None:
        return f"No head was chosen for “{row.relation}” ({row.direction}): the choosing half has no case; n = {row.n} in the other."
    if row.n < FEWEST:
        return f"“{row.relation}” ({row.direction}): n = {row.n}, too few cases for a claim ({FEWEST} are needed)."
    who = f"Layer {row.layer} head {row.head}"
    if row.task.by_weight:
        return f"{who} {row.task.does}: {percent(row.weight or 0.0)} of its weight (n = {row.n}).{_effect(row)}"
    return f"{who} {row.task.does}: {shares(row)}{_against(row)}{_slice(row)}{_measures(row)}{_effect(row)}"


def shares(row: RoleRow) -> str:
    """ "53 % (n = 353, 49–57)": the share with its interval; n alone where there is none."""
    if row.accuracy is None or row.low is None or row.high is None:
        return f"n = {row.n}"
    return f"{percent(row.accuracy)} (n = {row.n}, {100 * row.low:.0f}–{100 * row.high:.0f})"


def offset_in_words(offset: int, unit: str = "word") -> str:
    """ "the next word", "3 words back"."""
    if abs(offset) == 1:
        return f"the {'next' if offset > 0 else 'previous'} {unit}"
    if offset == 0:
        return f"the {unit} itself"
    return f"{abs(offset)} {unit}s {'on' if offset > 0 else 'back'}"


def _effect(row: RoleRow) -> str:
    """What the model loses without it, beside what it loses without others."""
    if row.effect is None or row.band_low is None or row.band_high is None:
        return ""
    where = "within" if row.band_low <= row.effect <= row.band_high else "outside of"
    digits = digits_apart(row.effect, row.band_low, row.band_high)
    band = f"{fixed(row.band_low, digits)} to {fixed(row.band_high, digits)}"
    return f" Without it the loss changes by {fixed(row.effect, digits)} nats a token, {where} the band of other heads ({band})."


def baseline(row: RoleRow) -> str:
    """ "36.1 % the next word", "12.0 % the other way round": the best fixed offset, or what stands in its place; "" without one."""
    if row.baseline_accuracy is None or (row.baseline_offset is None and not row.task.against):
        return ""
    what = row.task.against or offset_in_words(row.baseline_offset or 0, _unit(row))
    return f"{percent(row.baseline_accuracy)} {what}"


def word_baseline(row: RoleRow) -> str:
    """ "12.0 % “.”": the best fixed word; "" without one."""
    if row.baseline_word_accuracy is None:
        return ""
    word = FIRST_WORD.removeprefix("the ") if row.baseline_word == FIRST_WORD else f"“{row.baseline_word}”"
    return f"{percent(row.baseline_word_accuracy)} {word}"


def _unit(row: RoleRow) -> str:
    return "word" if row.task.kind == "relation" else "token"


def _measures(row: RoleRow) -> str:
    return "".join(f" {MEASURES[name].format(value)}." for name, value in row.measures if name in MEASURES)


def _against(row: RoleRow) -> str:
    p = "" if row.p_adjusted is None else f"; p {'< 0.001' if row.p_adjusted < 0.001 else f'= {row.p_adjusted:.3f}'}"
    if row.baseline_accuracy is not None and row.task.against:
        return f" against {percent(row.baseline_accuracy)} {row.task.against}{p}."
    if row.baseline_accuracy is None or row.baseline_offset is None:
        return "."
    word = ""
    if row.baseline_word_accuracy is not None and row.baseline_word_accuracy > row.baseline_accuracy:
        which = FIRST_WORD if row.baseline_word == FIRST_WORD else f"the nearest “{row.baseline_word}”"
        word = f" and {percent(row.baseline_word_accuracy)} for {which}"
    return (
        f" against {percent(row.baseline_accuracy)} for “{offset_in_words(row.baseline_offset, _unit(row))}”{word}{p}."
    )


def _slice(row: RoleRow) -> str:
    """Whether it is what the head does everywhere, or on a part of what it looks at."""
    if row.fits_all is None or row.fits_strongest is None:
        return ""
    what = (
        "so this is what it does over the whole text" if row.fits_all >= WHOLE else "so this is a slice of what it does"
    )
    return f" Of all its links {percent(row.fits_all)} are of this kind, of the strongest tenth {percent(row.fits_strongest)}: {what}."
