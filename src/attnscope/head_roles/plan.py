"""What is asked of the heads, and what has to be kept of their weights for it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from attnscope.head_roles.baselines import Places
from attnscope.head_roles.cases import Cases, Task
from attnscope.head_roles.halves import reported_half
from attnscope.head_roles.judge import Question, judge
from attnscope.head_roles.looking import Looks, Reading
from attnscope.head_roles.rows import RoleRow
from attnscope.head_roles.texts import Text


@dataclass(frozen=True, eq=False)
class Plan:
    """A reading with the questions that it answers. `halves`: of each task, its cases in the chosen and in the reported half."""

    reading: Reading
    tasks: tuple[Task, ...]
    halves: tuple[tuple[Cases, Cases], ...]
    queries: "np.ndarray | None" = None
    places: Places | None = None

    def judged(self, looks: Looks, every: bool) -> tuple[list[RoleRow], list[RoleRow]]:
        """The rows of the best head for each task, once the model has run; and with `every`, those of all heads."""
        questions = []
        for number, (task, halves) in enumerate(zip(self.tasks, self.halves, strict=True)):
            sums = looks.given[:, 2 * number : 2 * number + 2].T
            counts = np.array([[max(1, len(half))] for half in halves])
            questions.append(Question(task, *halves, sums / counts))
        return judge(looks, questions, self.queries, self.places, every, self.reading.starts)


def plan_of(
    tasks: Mapping[Task, Cases], texts: Sequence[Text], sizes: list[int], by_word: bool, aside: bool = False
) -> Plan:
    """The plan that asks these tasks. `sizes`: how many places each text has; the others: see Reading."""
    reported = reported_half([text.document for text in texts], sizes[: len(texts)])
    halves = tuple((cases.among(~reported), cases.among(reported)) for cases in tasks.values())
    pairs = [
        np.stack([cases.text_of_pair, cases.queries, cases.keys, np.full(len(cases.queries), 2 * number + half)], 1)
        for number, both in enumerate(halves)
        for half, cases in enumerate(both)
    ]
    joined = np.concatenate([np.zeros((0, 4), dtype=np.int64), *pairs])
    joined = joined[np.argsort(joined[:, 0], kind="stable")]
    reading = Reading(by_word, sizes, joined, 2 * len(tasks), aside)
    queries = np.concatenate(
        [np.arange(*reading.starts[n : n + 2]) for n in np.flatnonzero(reported)] or [np.zeros(0, dtype=np.int64)]
    )
    return Plan(reading, tuple(tasks), halves, queries if by_word else None)
