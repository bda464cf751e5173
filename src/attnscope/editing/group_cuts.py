"""How much does an answer need a group of tokens? Cut it: nothing behind it can see it any more, in any head of any layer.

What the group says is then lost to the answer, whichever way it would have come. The band is the same cut of as many other tokens that
follow each other, drawn at random: what losing any passage of this length does.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from attnscope.editing.edit import Edit
from attnscope.editing.effect import scores_of
from attnscope.editing.measure import answers, question_of, run
from attnscope.editing.rules import Cut, Rule
from attnscope.editing.selection import layers_named
from attnscope.tracing.groups import Group


@dataclass(frozen=True)
class GroupCut:
    """`effect`: how much the log-probability of the answer falls, in nats. `band`: the effects of other tokens; empty where none were drawn."""

    effect: float
    band: tuple[float, ...] = ()


@dataclass(frozen=True)
class GroupCuts:
    """`answer`: what was asked about, as ids. `probability`: of it, without a cut. `cuts`: by name of the group; a group of which no token can be cut has
    none."""

    answer: tuple[int, ...]
    probability: float
    cuts: Mapping[str, GroupCut]


def cut_groups(
    model: Any,
    tokenizer: Any,
    inputs: Mapping[str, Any],
    groups: Sequence[Group],
    plain: Sequence[int],
    answer: Sequence[int] | None,
    control: int,
    seed: int,
) -> GroupCuts:
    """The effect of each cut on the answer.

    `inputs`: of the prompt, one row. `plain`: the positions that may be cut, neither special nor sink tokens. `answer`: ids that go on behind the
    prompt; None: the most probable next token. `control`: how many other passages are cut for each length. `seed`: of their draw.

    Raises InputError as `Edit.effect` does.
    """
    edit = Edit(model, tokenizer)
    outputs = run(edit.model, inputs)
    asked = tuple(answer) if answer else (int(outputs.logits[0, -1].argmax()),)
    question = question_of(edit.model, tokenizer, inputs, outputs, asked, None)
    clean = answers(edit.model, inputs, question, outputs)
    heads = layers_named(range(edit.layer_counts.get(None, 0)), edit.layer_counts, None)

    def rule(positions: Sequence[int]) -> list[Rule]:
        behind = slice(positions[-1] + 1, None)
        return [Rule(heads, Cut((behind,), tuple(_slices(positions))), "the cut of a group")]

    last = inputs["input_ids"].shape[1] - 1
    free = [at for at in plain if at < last]  # the last token sees itself, at least
    wanted: dict[str, list[list[int]]] = {}
    for group in groups:
        own = [at for at in free if group.start <= at < group.stop]
        if own:
            others = [at for at in free if not group.start <= at < group.stop]
            wanted[group.name] = [own, *_drawn(others, len(own), control, seed)]
    cuts = [positions for several in wanted.values() for positions in several]
    scores = scores_of(edit, inputs, question, [rule(positions) for positions in cuts])
    effects = iter(float(clean.score[0]) - score for score in scores)
    made = {name: [next(effects) for _ in several] for name, several in wanted.items()}
    return GroupCuts(
        asked, float(clean.probability[0]), {name: GroupCut(own, tuple(band)) for name, (own, *band) in made.items()}
    )


def _slices(positions: Sequence[int]) -> list[slice]:
    """Positions in order, as runs."""
    ends = [at for at, (one, other) in enumerate(pairwise(positions), 1) if other > one + 1]
    return [slice(positions[a], positions[b - 1] + 1) for a, b in pairwise([0, *ends, len(positions)])]


def _drawn(others: Sequence[int], size: int, control: int, seed: int) -> list[list[int]]:
    """Runs of `size` of the other positions, each with another beginning."""
    starts = range(max(0, len(others) - size + 1))
    chosen = random.Random(seed).sample(starts, min(control, len(starts)))
    return [list(others[start : start + size]) for start in sorted(chosen)]
