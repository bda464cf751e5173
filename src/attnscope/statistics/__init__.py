"""Numbers about heads: of the model level, on request, and of kinds of their own.

    trace.statistics(["entropy", "induction_mul"]).to_frame()

`definitions.py`, `further/entries.py`, `from_weights/scores.py` and `kinds/definitions.py` say what each number is.
"""

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from attnscope.statistics.kinds.head_distances import HeadDistances, head_distances
    from attnscope.statistics.kinds.retrieval import Sample, retrieval
    from attnscope.statistics.kinds.rollout import rollout
    from attnscope.statistics.kinds.top_pairs import Pair, top_pairs
    from attnscope.statistics.table import HeadStatistics, StatisticsTable

__all__ = [
    "HeadDistances",
    "HeadStatistics",
    "Pair",
    "Sample",
    "StatisticsTable",
    "head_distances",
    "retrieval",
    "rollout",
    "top_pairs",
]
__getattr__, __dir__, _ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "kinds.head_distances": ["HeadDistances", "head_distances"],
        "kinds.retrieval": ["Sample", "retrieval"],
        "kinds.rollout": ["rollout"],
        "kinds.top_pairs": ["Pair", "top_pairs"],
        "table": ["HeadStatistics", "StatisticsTable"],
    },
)
