"""The sentence of a query: where its weight goes. The page writes the same one (scene/sentence.ts).

tests/cases/sentences.json holds the cases that both languages must pass.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from attnscope.text.format import count, percent_in_words
from attnscope.text.spelling import Label, named
from attnscope.views.sentences.labels import Part, Token
from attnscope.views.sentences.notes import note

MENTIONED = 0.05  # smaller weights are not named

NO_KEY = {
    "zero": " may look at no key at all: no key allowed, and the head's output is zero.",
    "uniform": " may look at no key at all; this implementation then spreads its weight evenly.",
}


@dataclass(frozen=True)
class QueryRow:
    """One query of one head, as plain numbers; sequences have an entry for each key.

    own: the position of the query among the keys, None in cross-attention. share and norms: each key's share of the output
    and the length of its value, empty where there are no values. dot: q · k, None where only weights are known. sink: the
    weight of a learned sink, None without one. empty: "zero" or "uniform" where no key is allowed. outside: the weight of
    keys that the filter of a pair leaves out, None without a filter. sink_tokens: the positions of sink tokens; these and
    special tokens are set aside. without: whether the view leaves out what is set aside.
    """

    who: Label
    keys: Sequence[Label]
    weights: Sequence[float]
    own: int | None = None
    share: Sequence[float] = ()
    norms: Sequence[float] = ()
    dot: Sequence[float] | None = None
    sink: float | None = None
    empty: str | None = None
    outside: float | None = None
    sink_tokens: Sequence[int] = ()
    without: bool = False

    @property
    def aside(self) -> set[int]:
        """The keys that are set aside."""
        return {*self.sink_tokens, *(j for j in range(len(self.weights)) if self.keys[j].special)}


class _Said(NamedTuple):
    """How it is said where weight goes: spread widely, to one key, and how much this has."""

    widely: str
    most: str
    part: str


FIRST = _Said(" spreads its weight widely: ", " attends most to ", " with {} of its weight")
# behind a token that is set aside
BEHIND = _Said("among the others ", "among the others most to ", " ({})")


def sentence_of_query(row: QueryRow) -> list[Part]:
    """Its parts, in order."""
    who = Token(named(row.who))
    if row.empty is not None:
        return [who, NO_KEY[row.empty]]
    weights = row.weights
    if any(map(math.isnan, weights)):
        return [who, f" has weights that are not numbers: {_why_broken(row.dot)}."]
    key = _naming(row)
    order = sorted(range(len(weights)), key=lambda j: (-weights[j], j))
    sink, aside = row.sink or 0.0, row.aside
    others = [j for j in order if j not in aside]
    taken = sum(weights[j] for j in aside)
    left = 1 - sink - taken
    parts: list[Part]
    if not others or not weights[others[0]] or (order[0] not in aside and not (row.without and taken)):
        parts = [who, *_most(row, key, order, 1 - sink, MENTIONED, FIRST)]
    elif row.without:
        tokens, verb = _set_aside(row, key)
        parts = ["Without ", *tokens, f", which {verb} {percent_in_words(taken)} of its weight, ", who]
        parts += _most(row, key, others, left, MENTIONED * left, FIRST)
    else:
        kind = "special" if row.keys[order[0]].special else "sink"
        parts = [who, " attends most to ", key(order[0])]
        parts.append(f", a {kind} token, with {percent_in_words(weights[order[0]])} of its weight; ")
        parts += _most(row, key, others, left, MENTIONED * left, BEHIND)
    if sink >= MENTIONED:
        parts.append(" " + note("sink", part=percent_in_words(sink)))
    parts += _parting(row, key)
    if row.outside is not None:
        parts.append(" " + note("outside", part=percent_in_words(row.outside), whose="its weight"))
    return parts


def _most(
    row: QueryRow, key: Callable[[int], Part], order: Sequence[int], left: float, least: float, said: _Said
) -> list[Part]:
    """Where most of the weight `left` goes, of the keys in `order`. Weights below `least` are not named."""
    weights, first = row.weights, order[0]
    part = percent_in_words(weights[first])
    if weights[first] < least:
        needed, mass = _half(weights, order, left)
        shared = f"{said.widely}{count(needed, 'key')} share {percent_in_words(mass)}, and the strongest, "
        return [shared, key(first), f", has {part}."]
    return [said.most, key(first), said.part.format(part), *_then(row, key, order, least)]


def _then(row: QueryRow, key: Callable[[int], Part], order: Sequence[int], least: float) -> list[Part]:
    parts: list[Part] = []
    for joint, j in zip((", then to ", " and "), order[1:3], strict=False):
        if row.weights[j] >= least:
            parts += [joint, key(j), f" ({percent_in_words(row.weights[j])})"]
    return [*parts, "."]


def _half(weights: Sequence[float], order: Sequence[int], left: float) -> tuple[int, float]:
    """How many keys share half of the weight `left`, and how much they have."""
    mass, needed = 0.0, 0
    while mass < left / 2 and needed < len(order):
        mass += weights[order[needed]]
        needed += 1
    return needed, mass


def _set_aside(row: QueryRow, key: Callable[[int], Part]) -> tuple[list[Part], str]:
    """What the view leaves out, and the verb for it: "special tokens and “The”", "have"."""
    special = any(row.keys[j].special for j in row.aside)
    sinks = [j for j in sorted(row.sink_tokens) if not row.keys[j].special]
    names: list[list[Part]] = [["special tokens"]] if special else []
    names += [[key(j)] for j in sinks[:2]]
    if len(sinks) > 2:
        names.append([count(len(sinks) - 2, "more sink token")])
    parts: list[Part] = []
    for at, name in enumerate(names):
        parts += [" and " if at == len(names) - 1 else ", "] if at else []
        parts += name
    return parts, "has" if len(names) == 1 and not special else "have"


def _naming(row: QueryRow) -> Callable[[int], Part]:
    """A function that names a key; a name that the sentence has already used gets its position."""
    used: dict[str, int] = {}

    def key(j: int) -> Part:
        if j == row.own:
            return "itself"
        name = named(row.keys[j])
        again = used.setdefault(name, j) != j or name == named(row.who)
        return Token(name, j if again else None)

    return key


def _why_broken(dot: Sequence[float] | None) -> str:
    """Where NaN comes from, as far as the numbers tell."""
    if dot is None:
        return "they were captured as NaN, and nothing before them is known"
    if not all(map(math.isfinite, dot)):
        return "the model's own query or key vectors hold NaN"
    return "its scores hold NaN, though its query and key vectors do not"


def _parting(row: QueryRow, key: Callable[[int], Part]) -> list[Part]:
    """Where weight and share of the output differ most: weight is not effect."""
    weights, share = row.weights, row.share
    gaps = [(weights[j] - share[j], j) for j in range(len(share))]
    under = [(-gap, j) for gap, j in gaps if gap >= 0.08 and share[j] < weights[j] / 2]
    over = [(gap, j) for gap, j in gaps if -gap >= 0.1 and share[j] > 1.5 * weights[j]]
    if under:
        j = min(under)[1]
        middle = sorted(row.norms)[len(row.norms) // 2]
        short = row.norms[j] < 0.2 * middle
        why = "its value is near zero" if short else "its value is shorter than the others'"
        return [
            f" {percent_in_words(weights[j])} of its weight goes to ",
            key(j),
            f", which carries {percent_in_words(share[j])} of the output: {why}.",
        ]
    if over:
        j = min(over)[1]
        most = "most" if share[j] == max(share) and list(share).index(share[j]) == j else "more"
        how_much = f"{percent_in_words(share[j])}, with {percent_in_words(weights[j])} of the weight"
        who: list[Part] = [" The query itself"] if j == row.own else [" ", key(j)]
        return [*who, f" carries {most} of the output, {how_much}: its value is long."]
    return []
