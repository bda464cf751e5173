"""Softmax in blocks of keys, as FlashAttention has it, with a running sum that is not rescaled when a larger score comes."""

import re

from attnscope.doctor.code_check.match.mistakes import Mistake
from attnscope.doctor.code_check.match.search import Fit, Search, Trials, agrees, conventions
from attnscope.doctor.code_check.recipe_steps import RUNNING

SIZES = range(1, 7)  # keys in a block, of the seven that there are


def speaks_of_blocks(text: str) -> bool:
    """Whether the source takes exponentials and largest scores in a loop."""
    return all(re.search(part, text) for part in (r"\b(for|while)\b", r"exp", r"max|lse|softmax"))


def running(search: Search, trials: Trials) -> Fit | None:
    """The recipe of such a mistake, whatever the size of the blocks."""
    if not speaks_of_blocks(search.text) or search.sinks is not None:
        return None
    for invocation, runs in trials[:4]:
        for recipe, order in conventions(invocation, search.base, search.causal, search.text, every=False):
            for wrong in ((kind, size) for kind in RUNNING for size in SIZES):
                mistake = Mistake(BY_KIND.get(wrong[0], "running-sum-not-rescaled"), {"running": wrong}, alone=True)
                fit = Fit(invocation, recipe.but(running=wrong), (mistake,), order)
                if agrees(fit, runs, search.sinks):
                    return fit
    return None


BY_KIND: dict[str, str] = dict.fromkeys(("apart", "averaged"), "softmax-of-each-block")
