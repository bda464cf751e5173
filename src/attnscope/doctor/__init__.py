"""The doctor: names the mistake in a hand-written attention function or module.

    assert attnscope.check(my_attention)

It runs the code on probes of distinct prime sizes and looks for the recipe that computes the same: the right one, or the
right one with one known mistake in it, or two (`recipe`, `mistakes`, `search`). Where none fits, it reports the first
invariant that fails (`invariants`). It never imports transformers.

`check(model, tokenizer, text)` is another question, with a course of its own: `in_use`.
"""

from attnscope.doctor.diagnosis import Diagnosis, Finding
from attnscope.doctor.dispatch import check

__all__ = ["Diagnosis", "Finding", "check"]
