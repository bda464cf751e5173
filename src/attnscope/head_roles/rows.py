"""One row of a role table: a head, what it was asked for, how often it was right, and what that is compared with."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from attnscope.head_roles.cases import Task
from attnscope.head_roles.examples import Chosen, Example

FEWEST = 20  # cases of the reported half: with fewer nothing is claimed
SURE = 0.05  # adjusted p-values below it count
BEYOND = 0.1  # above the best offset: Voita et al. 2019 call a head syntactic from 10 points on
WHOLE = 0.5  # of all a head's links: from here on its role holds over the whole text

JSON_KEYS = (
    "layer", "head", "relation", "direction", "accuracy", "low", "high", "n", "baseline_offset", "baseline_accuracy", "p_adjusted",
    "effect", "band_low", "band_high", "weight", "fits_strongest", "fits_all", "baseline_word", "baseline_word_accuracy", "chosen_accuracy", "chosen_n", "claimed", "measures",
)  # fmt: skip


@dataclass(frozen=True)
class RoleRow:
    """What one head was found to do, on the half of the data on which it was not chosen. Layers and heads count from 0.

    `accuracy`: the share of the n cases in which the key with the largest weight is a right one; `low`, `high`: its 95 %
    interval (Wilson). `baseline_offset`: the fixed offset that is right most often in the choosing half, in words (or
    tokens); `baseline_accuracy`: how often it is right in the reported half. `baseline_word`, `baseline_word_accuracy`: the
    same of the nearest place of one fixed word, such as ".": a head that likes a word needs no grammar. `p`: of a paired exact test of head against
    offset, sentences as clusters; `p_adjusted`: by Holm over the rows of the table. None: too few cases, or no baseline.
    `weight`: the mean weight on the right keys. `fits_strongest`, `fits_all`: which part of the head's links is of this
    kind, among the tenth with the largest weights and among all. `chosen_accuracy`, `chosen_n`: in the choosing half, where
    `looked_at` heads were looked at. `examples`: sentences of the reported half, where the row carries a claim; `chosen`: the
    same by numbers. `measures`: (name, number) of statistics that are shown and decide nothing.
    `effect`, `band_low`, `band_high`: how much the mean log-probability of the tokens that it was asked on falls, in nats, when the head is ablated, and what
    the same does in other heads; None: not measured.
    """

    layer: int | None
    head: int | None
    task: Task
    accuracy: float | None
    low: float | None
    high: float | None
    n: int
    baseline_offset: int | None = None
    baseline_accuracy: float | None = None
    baseline_word: str | None = None
    baseline_word_accuracy: float | None = None
    p: float | None = None
    p_adjusted: float | None = None
    chosen_accuracy: float | None = None
    chosen_n: int = 0
    weight: float | None = None
    fits_strongest: float | None = None
    fits_all: float | None = None
    looked_at: int = 0
    chosen: tuple[Chosen, ...] = field(default=(), repr=False)
    examples: tuple[Example, ...] = field(default=(), repr=False)
    measures: tuple[tuple[str, float], ...] = ()
    effect: float | None = None
    band_low: float | None = None
    band_high: float | None = None

    @classmethod
    def without_head(cls, task: Task, cases: int) -> "RoleRow":
        """Where the choosing half has no case, so that no head can be chosen."""
        return cls(None, None, task, None, None, None, cases)

    @property
    def relation(self) -> str:
        return self.task.relation

    @property
    def direction(self) -> str:
        return self.task.direction

    @property
    def name(self) -> str:
        """ "L2H8"; empty where no head was chosen."""
        return "" if self.layer is None else f"L{self.layer}H{self.head}"

    @property
    def claimed(self) -> bool:
        """Whether the evidence carries the claim that the head has this role.

        Of a relation or a probe: at least FEWEST cases, an adjusted p-value below SURE, and at least BEYOND above both the
        best offset and the best word. Of a rule about places: its share, or its weight, is as large as the rule's source asks for.
        """
        task = self.task
        if self.accuracy is None or self.low is None or self.weight is None or self.n < FEWEST:
            return False
        if task.positional:
            return (self.weight if task.by_weight else self.accuracy) >= task.enough
        if self.p_adjusted is None or self.baseline_accuracy is None:
            return False
        far = self.accuracy - max(self.baseline_accuracy, self.baseline_word_accuracy or 0.0) >= BEYOND
        return far and self.p_adjusted < SURE and self.accuracy >= task.enough and self.weight >= task.least_weight

    def as_json(self) -> dict[str, Any]:
        """The row by the keys JSON_KEYS."""
        return {**{key: getattr(self, key) for key in JSON_KEYS}, "measures": dict(self.measures)}


def flat(records: Sequence[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[str]]:
    """The records of rows with each measure as a key of its own, and all keys in order."""
    plain = [key for key in JSON_KEYS if key != "measures"]
    keys = dict.fromkeys((*plain, *(name for record in records for name in record["measures"])))
    rows = [{**record, **record["measures"]} for record in records]
    return [{key: row.get(key) for key in keys} for row in rows], [*keys]
