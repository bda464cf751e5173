"""Heads that follow words and not places: whether a head looks at the same word when the words of a text are shuffled."""

import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from torch import nn

from attnscope.head_roles.cases import Task
from attnscope.head_roles.evidence import sign_flip_p, wilson
from attnscope.head_roles.halves import reported_half
from attnscope.head_roles.looking import Looks, Reading, look
from attnscope.head_roles.rows import FEWEST, RoleRow
from attnscope.head_roles.texts import Text

CONTENT = Task(
    "content", "query to key", "content", "follows words and not places: after a shuffle it looks at the same word", False, False,
    0.5, "", "at the same offset", 0.1,
)  # fmt: skip
MOST = 200  # texts that are shuffled
SEED = 11


@dataclass(frozen=True, eq=False)
class _Copy:
    """A shuffled copy. `now`: where each place of the text is in it."""

    text: Text
    now: "np.ndarray"


@dataclass(frozen=True, eq=False)
class _Counts:
    """Of one head and half, each by text: cases, those at the same word, those at the same offset; and the weight on the same
    word, added up."""

    cases: "np.ndarray"
    same_word: "np.ndarray"
    same_offset: "np.ndarray"
    weight: float

    @classmethod
    def of(cls, by_text: Float[np.ndarray, "texts 4"]) -> "_Counts":
        cases, same_word, same_offset = by_text[:, :3].astype(np.int64).T
        return cls(cases, same_word, same_offset, float(by_text[:, 3].sum()))

    @property
    def n(self) -> int:
        return int(self.cases.sum())

    def share(self, found: "np.ndarray") -> float:
        return float(found.sum() / max(1, self.n))


def content_rows(
    model: nn.Module, texts: Sequence[Text], causal: bool
) -> tuple[tuple[RoleRow, ...], tuple[RoleRow, ...]]:
    """The row of the head that the choosing half names, and one row for every head, best first there; p-values as they are.

    A case is a query whose largest weight lies on another word of the text. In a causal model the word must still stand
    before the query after the shuffle; cases in which it is as far away as before say nothing, and are left out.
    """
    texts = texts[:: -(-len(texts) // MOST)]
    copies = [_shuffled(text, number) for number, text in enumerate(texts)]
    both = [*texts, *(copy.text for copy in copies)]
    reading = Reading(False, [len(text) for text in both], np.zeros((0, 4), dtype=np.int64), 0)
    (looks,) = look(model, both, [reading])
    reported = reported_half([text.document for text in texts], [len(text) for text in texts])
    counts = np.stack([_cases(looks, reading, n, len(texts), texts[n], copies[n], causal) for n in range(len(texts))])
    counted = [
        [_Counts.of(counts[reported == half, :, head]) for half in (False, True)] for head in range(len(looks.heads))
    ]
    order = sorted(range(len(counted)), key=lambda head: -_score(counted[head][0]))
    rows = [_row(looks, head, *counted[head]) for head in order]
    return tuple(rows[:1]), tuple(rows)


def _shuffled(text: Text, number: int) -> _Copy:
    """The words in another order, the tokens of a word together; special tokens stay where they are."""
    groups: dict[int, list[int]] = defaultdict(list)
    words = text.words if text.alignment is None else text.alignment.tokens
    for place, (word, marker) in enumerate(zip(words or range(len(text)), text.special, strict=True)):
        if not marker:
            groups[word if word is not None and word >= 0 else -2 - place].append(place)
    order = list(groups.values())
    random.Random(f"{SEED} {number}").shuffle(order)
    free = [place for place, marker in enumerate(text.special) if not marker]
    now = np.arange(len(text))
    for new, old in zip(free, [place for group in order for place in group], strict=True):
        now[old] = new
    ids = np.array(text.ids)
    ids[now] = text.ids
    return _Copy(Text({**text.inputs, "input_ids": ids.tolist()}, text.special, text.document), now)


def _cases(
    looks: Looks, reading: Reading, number: int, count: int, text: Text, copy: _Copy, causal: bool
) -> Float[np.ndarray, "4 N"]:
    """Of one text and every head: cases, those at the same word, those at the same offset, and the weight on the same word."""
    size, before, after = len(text), int(reading.starts[number]), int(reading.starts[number + count])
    special, ids = np.array(text.special), np.array(copy.text.ids)
    query, now = np.arange(size), copy.now
    key = looks.top[:, before : before + size] - before
    then = now[key.clip(0)]
    valid = (key >= 0) & (key != query) & ~special & ~special[key.clip(0)] & (then - now != key - query)
    if causal:
        valid &= then < now
    found = looks.top[:, after + now] - after
    same_word = valid & (ids[found.clip(0)] == ids[then])
    same_offset = valid & (found - now == key - query)
    weight = np.where(same_word, looks.strength[:, after + now], 0.0)
    return np.stack([part.sum(-1, dtype=np.float64) for part in (valid, same_word, same_offset, weight)])


def _score(chosen: _Counts) -> float:
    """By which heads are ordered: those with too few cases come last."""
    return chosen.share(chosen.same_word) if chosen.n >= FEWEST else -1.0


def _row(looks: Looks, head: int, chosen: _Counts, kept: _Counts) -> RoleRow:
    hits = int(kept.same_word.sum())
    low, high = wilson(hits, kept.n)
    return RoleRow(
        layer=looks.heads[head][0],
        head=looks.heads[head][1],
        task=CONTENT,
        accuracy=kept.share(kept.same_word) if kept.n else None,
        low=low if kept.n else None,
        high=high if kept.n else None,
        n=kept.n,
        baseline_accuracy=kept.share(kept.same_offset) if kept.n else None,
        p=sign_flip_p((kept.same_word - kept.same_offset).tolist()) if kept.n >= FEWEST else None,
        chosen_accuracy=chosen.share(chosen.same_word) if chosen.n else None,
        chosen_n=chosen.n,
        weight=kept.weight / kept.n if kept.n else None,
        looked_at=len(looks.heads),
    )
