"""What each number of a head is: its name, its title on screen, its unit, its definition and its source."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Statistic:
    """One number of a head. unit: "part" (of one), "nats", "tokens", "patches", "s" (seconds), or "" for a plain number.

    about: the definition, in one sentence. source: who measured it first, or what the literature calls it.
    formula: the definition, in signs: w[i,j] is the weight of query i on key j, x the tokens, ⟨…⟩ the mean over the
    queries i that count.
    """

    name: str
    title: str
    unit: str
    about: str
    source: str = ""
    formula: str = ""

    @property
    def words(self) -> str:
        """The definition with its source, as it is shown."""
        return f"{self.about[:-1]} ({self.source})." if self.source else self.about


CLARK = "Clark et al. 2019"
_OVER = "averaged over the queries that may see one."

STATISTICS = (
    Statistic(
        "entropy",
        "entropy",
        "nats",
        "How widely a query spreads its weight: −Σ w ln w, averaged over the queries; 0 is one key alone. "
        "A sink counts as one more key.",
        CLARK,
        formula="⟨−Σ_j w[i,j] · ln w[i,j]⟩",
    ),
    Statistic(
        "confidence",
        "largest weight",
        "part",
        "The largest weight of a query, averaged over the queries.",
        "confidence in Voita et al. 2019",
        formula="⟨max_j w[i,j]⟩",
    ),
    Statistic(
        "distance",
        "mean distance",
        "tokens",
        "How far a query looks: Σ w · |query − key| / Σ w, in tokens, special tokens included.",
        "Vig and Belinkov 2019",
        formula="Σ_ij w[i,j] · |i − j| / Σ_ij w[i,j]",
    ),
    Statistic(
        "patch_distance",
        "mean distance of patches",
        "patches",
        "How far a patch looks in its image: Σ w · distance / Σ w over pairs of patches, as the straight line between their "
        "middles, in sides of a patch.",
        "attention distance in Dosovitskiy et al. 2021",
        formula="Σ_ij w[i,j] · ‖place(i) − place(j)‖ / Σ_ij w[i,j], over patches i and j of one image",
    ),
    Statistic(
        "time_distance",
        "mean distance in time",
        "s",
        "How far a moment of sound looks: Σ w · |time − time| / Σ w over pairs of positions that are sound, in seconds; silence "
        "behind the sound is left out.",
        formula="Σ_ij w[i,j] · |time(i) − time(j)| / Σ_ij w[i,j], over i and j that are sound",
    ),
    Statistic(
        "in_order",
        "in the order of the sound",
        "",
        "Whether later tokens look at later moments: of all pairs of tokens, the part whose largest weights on the sound come "
        "in the same order, less the part in which they are the other way round (Kendall's τ); 1 is always, 0 is chance. "
        "Special tokens are left out.",
        "alignment heads in Radford et al. 2022",
        formula="⟨sign(m_b − m_a)⟩ over pairs of tokens a < b that are not special, m_i = argmax_j w[i,j]",
    ),
    Statistic(
        "time_spread",
        "spread in time",
        "s",
        "How widely a token's weight on the sound lies round its largest: Σ w · |time − time of the largest| / Σ w, in seconds, "
        "averaged over the tokens that are not special.",
        formula="⟨Σ_j w[i,j] · |time(j) − time(m_i)| / Σ_j w[i,j]⟩, m_i = argmax_j w[i,j]",
    ),
    Statistic(
        "itself",
        "on itself",
        "part",
        "The weight of a query on its own token, averaged over the queries that may see it.",
        CLARK,
        formula="⟨w[i,i]⟩",
    ),
    Statistic(
        "previous",
        "on the previous token",
        "part",
        f"The weight of a query on the token before it, {_OVER}",
        CLARK,
        formula="⟨w[i,i−1]⟩",
    ),
    Statistic(
        "next",
        "on the next token",
        "part",
        f"The weight of a query on the token after it, {_OVER}",
        CLARK,
        formula="⟨w[i,i+1]⟩",
    ),
    Statistic(
        "first",
        "on the first token",
        "part",
        "The weight of a query on the first key, averaged over the queries that may see it.",
        "Gu et al. 2024 call it a sink",
        formula="⟨w[i,0]⟩",
    ),
    Statistic(
        "special",
        "on special tokens",
        "part",
        f"The weight of a query on special tokens together, {_OVER}",
        f"delimiters in {CLARK}",
        formula="⟨Σ_j w[i,j]⟩, over special tokens j",
    ),
    Statistic(
        "same",
        "on earlier copies",
        "part",
        f"The weight of a query on earlier places of the same token, special tokens left out, {_OVER}",
        "duplicate-token heads",
        formula="⟨Σ_j w[i,j]⟩, over j < i with x[j] = x[i]",
    ),
    Statistic(
        "induction",
        "after earlier copies",
        "part",
        f"The weight of a query on what followed earlier places of the same token, special tokens left out, {_OVER}",
        "prefix matching in Olsson et al. 2022",
        formula="⟨Σ_j w[i,j]⟩, over 1 ≤ j ≤ i with x[j−1] = x[i]",
    ),
    Statistic(
        "sink",
        "on the sink",
        "part",
        "The weight that goes to the learned logit without a token, averaged over the queries.",
        formula="⟨1 − Σ_j w[i,j]⟩",
    ),
    Statistic(
        "link",
        "strongest link",
        "part",
        "The largest weight between two different tokens, neither of them special.",
        formula="max_ij w[i,j], over i ≠ j, neither of them special",
    ),
)

# Of the query and the key that a view shows, in every head: the model level sorts by them too.
PAIR = (
    Statistic(
        "pair", "weight of the pair", "part", "The weight of the chosen query on the chosen key.", formula="w[i,j]"
    ),
    Statistic(
        "pair_write",
        "write of the pair",
        "",
        "The key's share of what the head writes for the chosen query, times the length of that: share · ‖write‖.",
        "after Kobayashi et al. 2020",
        formula="w[i,j] · ‖v_j W_O‖ / Σ_k w[i,k] · ‖v_k W_O‖ · ‖z_i W_O‖",
    ),
    Statistic(
        "group",
        "weight of the group",
        "part",
        "The weight of the chosen query on the chosen group, special and sink tokens aside.",
        formula="Σ_j∈g w[i,j]",
    ),
)

# Of heads whose roles were found elsewhere (attnscope.roles): there only where a trace carries badges.
ROLE = Statistic(
    "role",
    "best role",
    "part",
    "How often the head does the best of the roles that the evidence carries, found by attnscope.roles in other texts; sinks "
    "do not count.",
)
BADGES = (
    "A badge is a role that the evidence carries, found in other texts: ↑ from a word to the word that it depends on, "
    "↓ to one that depends on it."
)
# Of heads whose effects were measured (attnscope.effects): there only where a trace carries them.
EFFECT = Statistic(
    "effect",
    "effect",
    "",
    "How much less the model expects the target when the head is edited: clean − edited, measured by attnscope.effects. Positive: the head pushes "
    "to the target.",
)
EFFECTS = "A badge “effect” says that an edit of the head does more, or less, than the same edit of every other head near it (its band)."

CLEAR = 0.5  # of the weight, on average: from here on a head has a plain name
# A plain name and the statistic behind it; the first that is clear counts.
PLAIN_NAMES = (
    ("previous token", "previous"),
    ("next token", "next"),
    ("itself", "itself"),
    ("after a copy", "induction"),
    ("earlier copies", "same"),
    ("first-token sink", "first"),
    ("special tokens", "special"),
)
NAMING = (
    f"A name on a head says where at least {100 * CLEAR:g} % of its weight goes on average: "
    "the statistics have the numbers."
)


def plain_name(values: Mapping[str, float | None]) -> str:
    """The plain name of a head with these statistics; empty where none is clear."""
    return next((name for name, statistic in PLAIN_NAMES if (values.get(statistic) or 0.0) >= CLEAR), "")


# Of a comparison, from trace A to trace B.
CHANGES = (
    Statistic(
        "change",
        "change",
        "part",
        "How far a head's weights have moved from A to B: ½ Σ |B − A| over the keys of either text, averaged over the "
        "queries that both have (total-variation distance); 0 % is no change, 100 % is all weight elsewhere.",
        formula="½ ⟨Σ_j |w_B[i,j] − w_A[i,j]|⟩",
    ),
    Statistic(
        "largest",
        "largest difference",
        "part",
        "The largest difference of one weight between two tokens that are not special, without its sign.",
        formula="max_ij |w_B[i,j] − w_A[i,j]|",
    ),
    Statistic(
        "turned",
        "turn of the output",
        "",
        "1 − cos between the head's output in A and in B, averaged over the queries that both have: 0 is the same "
        "direction, 1 a right angle.",
        formula="⟨1 − cos(z_A[i], z_B[i])⟩",
    ),
)


def in_payload(statistics: tuple[Statistic, ...]) -> dict[str, dict[str, str]]:
    """Sentences, titles and units by name, as a payload carries them."""
    return {
        "stat_words": {s.name: s.words for s in statistics},
        "stat_titles": {s.name: s.title for s in statistics},
        "stat_units": {s.name: s.unit for s in statistics},
    }
