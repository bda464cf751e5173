"""The doctor: names the mistake in a hand-written attention function or module.

    assert attnscope.check(my_attention)

It runs the code on probes of distinct prime sizes and looks for the recipe that computes the same: the right one, or the
right one with one known mistake in it, or two (`recipe`, `mistakes`, `search`). Where none fits, it reports the first
invariant that fails (`invariants`). It never imports transformers.
"""

from attnscope.doctor.diagnosis import Diagnosis, Finding
from attnscope.doctor.examine import check

__all__ = ["Diagnosis", "Finding", "check"]
