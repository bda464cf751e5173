"""From where heads look to what can be said of them: a head is chosen on one half of the data and reported on the other."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from attnscope.head_roles.baselines import Places, best_offset, best_word, right_by_offset, right_by_word
from attnscope.head_roles.cases import Cases, Task
from attnscope.head_roles.evidence import holm, sign_flip_p, wilson
from attnscope.head_roles.examples import choose
from attnscope.head_roles.looking import Looks
from attnscope.head_roles.rows import FEWEST, RoleRow

STRONGEST = 0.1  # of a head's links: those with the largest weight


@dataclass(frozen=True, eq=False)
class Question:
    """A task with its cases in both halves. `given`: of each head, the mean weight on the right keys, [2, N]: of the chosen
    and of the reported half."""

    task: Task
    choosing: Cases
    reported: Cases
    given: "np.ndarray"


def hits_of(looks: Looks, cases: Cases, heads: "np.ndarray | slice" = slice(None)) -> "np.ndarray":
    """Whether the top key of a case's query is a right one: [heads, cases]."""
    return cases.any(looks.top[heads][:, cases.queries] == cases.keys)


def judge(
    looks: Looks,
    questions: Sequence[Question],
    queries: "np.ndarray | None" = None,
    places: Places | None = None,
    every: bool = False,
    starts: "np.ndarray | None" = None,
) -> tuple[list[RoleRow], list[RoleRow]]:
    """One row a question, of the head that the choosing half names; and with `every`, one for every head, best first there.
    p-values are as they are: what shows the rows corrects them for all that it shows.

    `places`: what stands where, for the fixed word that a head of a relation has to beat.
    `starts`: where the places of each text begin, for examples of the first; without it there are none.
    `queries`: those of the reported half, over which it is counted how many of a head's links are of the kind.
    """
    groups = [_rows(looks, question, queries, places, every, starts) for question in questions]
    return [group[0] for group in groups], [row for group in groups for row in group] if every else []


def corrected(rows: Sequence[RoleRow]) -> list[RoleRow]:
    """The rows with p-values adjusted for their number (Holm); rows without one are left as they are."""
    found, tested = list(rows), [i for i, row in enumerate(rows) if row.p is not None]
    for place, p in zip(tested, holm([rows[i].p or 0.0 for i in tested]), strict=True):
        found[place] = replace(rows[place], p_adjusted=p)
    return found


def _rows(
    looks: Looks,
    question: Question,
    queries: "np.ndarray | None",
    places: Places | None,
    every: bool,
    starts: "np.ndarray | None",
) -> list[RoleRow]:
    chosen_hits = hits_of(looks, question.choosing)
    score = question.given[0] if question.task.by_weight else chosen_hits.sum(1)
    order = np.argsort(-score, kind="stable") if chosen_hits.shape[1] else np.arange(0)
    order = order if every else order[:1]
    reported = question.reported
    offset = None if question.task.positional else best_offset(question.choosing)
    by_offset = None if offset is None else right_by_offset(reported, offset)
    word, by_word = _word(question, places)
    if not len(order):
        return [RoleRow.without_head(question.task, len(reported))]
    rows = []
    for rank, head in enumerate(order.tolist()):
        hits = hits_of(looks, reported, np.array([head]))[0]
        found, count = int(hits.sum()), len(hits)
        low, high = wilson(found, count)
        p = None
        if by_offset is not None and count >= FEWEST:
            apart = np.bincount(reported.text, hits.astype(float) - by_offset)
            p = sign_flip_p(apart.astype(int).tolist())
        top, all_of_them = _slice(looks, head, reported, queries)
        chosen = ()
        if starts is not None and count >= FEWEST and not rank:
            name = f"{question.task.relation} {question.task.direction} {looks.heads[head]}"
            of_case = reported.first_queries
            chosen = choose(name, hits, looks.strength[head, of_case], looks.top[head, of_case], reported, starts)
        rows.append(
            RoleRow(
                layer=looks.heads[head][0],
                head=looks.heads[head][1],
                task=question.task,
                accuracy=found / count if count else None,
                low=low if count else None,
                high=high if count else None,
                n=count,
                baseline_offset=offset,
                baseline_accuracy=None if by_offset is None or not count else float(by_offset.mean()),
                baseline_word=word,
                baseline_word_accuracy=by_word,
                p=p,
                p_adjusted=None,
                chosen_accuracy=float(chosen_hits[head].mean()),
                chosen_n=chosen_hits.shape[1],
                weight=float(question.given[1, head]) if count else None,
                fits_strongest=top,
                fits_all=all_of_them,
                looked_at=len(looks.heads),
                chosen=chosen,
            )
        )
    return rows


def _slice(looks: Looks, head: int, reported: Cases, queries: "np.ndarray | None") -> tuple[float | None, float | None]:
    """Of the head's links from these queries: which part is of this kind among the strongest, and among all."""
    if queries is None or not len(queries):
        return None, None
    places = looks.top.shape[1] + 1
    fits = np.isin(queries * places + looks.top[head, queries], reported.queries * places + reported.keys)
    order = np.argsort(-looks.strength[head, queries], kind="stable")
    return float(fits[order[: max(1, round(STRONGEST * len(order)))]].mean()), float(fits.mean())


def _word(question: Question, places: Places | None) -> tuple[str | None, float | None]:
    """The best fixed word of the choosing half, and how often it is right in the reported half."""
    if places is None or not len(question.reported):
        return None, None
    form = best_word(question.choosing, places)
    if form is None:
        return None, None
    return places.named(form), float(right_by_word(question.reported, places, form).mean())
