"""The statistics that are computed on request: what each is, its formula, its source, and the sums it is made of."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from attnscope.statistics.definitions import Statistic
from attnscope.statistics.further import patterns, weights
from attnscope.statistics.further.block import Setting
from attnscope.statistics.further.sums import OfBlock, PerKey, Ratio, Sum, Variance

KOBAYASHI = "after Kobayashi et al. 2020"
LENS = "detect_head in TransformerLens"
_OVER = "averaged over the queries that may see one."
_SHARE = "a[i,j] = w[i,j] · ‖v_j W_O‖ / Σ_k w[i,k] · ‖v_k W_O‖"


@dataclass(frozen=True)
class Entry:
    """One statistic. `start`: its sums of no query yet, None where a site has no such number. `needs`: what must be known of a
    site, in words."""

    statistic: Statistic
    start: Callable[[Setting], Sum | None]
    needs: str = ""


def _mean(of_block: OfBlock) -> Callable[[Setting], Sum | None]:
    return lambda setting: Ratio(setting.site.heads, of_block)


def _beside(of_block: OfBlock) -> Callable[[Setting], Sum | None]:
    """Of queries and keys that are one text."""
    return lambda setting: Ratio(setting.site.heads, of_block) if setting.square else None


def _share(of_block: OfBlock, itself: bool = False) -> Callable[[Setting], Sum | None]:
    """Of sites whose W_O is known."""

    def start(setting: Setting) -> Sum | None:
        known = setting.writes and not (itself and setting.site.kind == "cross")
        return Ratio(setting.site.heads, of_block) if known else None

    return start


def _far(setting: Setting) -> Sum | None:
    apart = setting.site.kind == "cross" or not setting.pairs.in_a_row
    return None if apart else Variance(setting.site.heads)


def _received(by_share: bool) -> Callable[[Setting], Sum | None]:
    def start(setting: Setting) -> Sum | None:
        return PerKey(setting.site.heads, setting.site.keys, by_share) if setting.writes or not by_share else None

    return start


def _lens(name: str, of_what: str, formula: str) -> tuple[Entry, ...]:
    return (
        Entry(
            Statistic(
                f"{name}_mul",
                f"{of_what}, mul",
                "part",
                f"Which part of all weight lies {of_what}, special tokens included.",
                f'{LENS}, "mul"',
                f"Σ_ij w[i,j] · P[i,j] / Σ_ij w[i,j], P[i,j] = 1 where {formula}",
            ),
            _beside(partial(patterns.mul, name)),
        ),
        Entry(
            Statistic(
                f"{name}_abs",
                f"{of_what}, abs",
                "",
                f"How near the weights are to a head that puts 1 on each key {of_what} and 0 elsewhere; 1 is equal.",
                f'{LENS}, "abs"',
                f"1 − ⟨Σ_j |w[i,j] − P[i,j]|⟩, P[i,j] = 1 where {formula}",
            ),
            _beside(partial(patterns.absolute, name)),
        ),
    )


ENTRIES = (
    Entry(
        Statistic(
            "entropy_normalised",
            "entropy, normalised",
            "part",
            "The entropy of a query over the largest that it can have, averaged over the queries that may see more than one "
            "key; 1 is equal weight on all, 0 one key alone. A learned sink counts as one more key.",
            "after Clark et al. 2019",
            "⟨−Σ_j w[i,j] · ln w[i,j] / ln n_i⟩, n_i the number of keys that query i may see",
        ),
        _mean(weights.entropy_normalised),
    ),
    Entry(
        Statistic(
            "distance_variance",
            "variance of the distance",
            "tokens²",
            "How much the distance to what a query looks at varies over all queries and keys: near 0 for a head that always "
            "looks equally far.",
            "after Vig and Belinkov 2019",
            "Σ_ij w[i,j] · (|i − j| − d)² / Σ_ij w[i,j], d the mean distance",
        ),
        _far,
    ),
    Entry(
        Statistic(
            "punctuation",
            "on punctuation",
            "part",
            f"The weight of a query on punctuation marks together, {_OVER}",
            "delimiters in Clark et al. 2019",
            "⟨Σ_j w[i,j]⟩, over j that are punctuation marks",
        ),
        _mean(weights.on_punctuation),
    ),
    Entry(
        Statistic(
            "newline",
            "on line breaks",
            "part",
            f"The weight of a query on line breaks together, {_OVER}",
            "delimiters in Clark et al. 2019",
            "⟨Σ_j w[i,j]⟩, over j that are line breaks",
        ),
        _mean(weights.on_newlines),
    ),
    Entry(
        Statistic(
            "first_often",
            "rests on the first token",
            "part",
            f"The share of queries that put more than {100 * weights.MUCH:g} % of their weight on the first key, among those "
            "that may see it. The mean of that weight is the statistic “on the first token”.",
            "threshold of Gu et al. 2024",
            f"⟨1 where w[i,0] > {weights.MUCH:g}, else 0⟩",
        ),
        _mean(weights.first_often),
    ),
    *_lens("previous", "on the previous token", "j = i − 1"),
    *_lens("same", "on earlier copies", "j < i and x[j] = x[i]"),
    *_lens("induction", "after earlier copies", "1 ≤ j ≤ i and x[j−1] = x[i], j − 1 < i"),
    Entry(
        Statistic(
            "received_most",
            "most received by a key",
            "part",
            "What the key with the most weight receives, on average over the queries that may see it.",
            "",
            "max_j ⟨w[i,j]⟩",
        ),
        _received(False),
    ),
    Entry(
        Statistic(
            "share_first",
            "share of the first token",
            "part",
            "The first key's share of what the head writes, by the length of what each key adds, averaged over the queries "
            "that may see it. Sinks have weight, and often next to no share.",
            KOBAYASHI,
            f"⟨a[i,0]⟩, {_SHARE}",
        ),
        _share(weights.share_first),
        "W_O",
    ),
    Entry(
        Statistic(
            "share_special",
            "share of special tokens",
            "part",
            f"The share that special tokens together have of what the head writes, {_OVER}",
            KOBAYASHI,
            f"⟨Σ_j a[i,j]⟩, over special tokens j, {_SHARE}",
        ),
        _share(weights.share_special),
        "W_O",
    ),
    Entry(
        Statistic(
            "share_itself",
            "share of its own token",
            "part",
            "The share that a query's own token has of what the head writes, averaged over the queries that may see it.",
            KOBAYASHI,
            f"⟨a[i,i]⟩, {_SHARE}",
        ),
        _share(weights.share_itself, itself=True),
        "W_O",
    ),
    Entry(
        Statistic(
            "share_most",
            "largest share of a key",
            "part",
            "The share of what the head writes that the key with the most has, on average over the queries that may see it.",
            KOBAYASHI,
            f"max_j ⟨a[i,j]⟩, {_SHARE}",
        ),
        _received(True),
        "W_O",
    ),
)  # fmt: skip

FURTHER = {entry.statistic.name: entry for entry in ENTRIES}
