"""How well the weights fit a pattern of pairs, as TransformerLens's detect_head measures it.

Its pattern P is 1 at some pairs and 0 elsewhere, special tokens included (`Run.patterns`). Both measures follow from three
sums, for |w − P| = w + P − 2 · w · P where P is 0 or 1.
"""

from torch import Tensor

from attnscope.statistics.further.block import HeadBlock


def mul(name: str, block: HeadBlock) -> tuple[Tensor, Tensor]:
    """Σ w · P, and Σ w."""
    return block.on_patterns[name], block.total


def absolute(name: str, block: HeadBlock) -> tuple[Tensor, Tensor]:
    """Σ over queries of 1 − Σ over keys of |w − P|, and how many queries there are."""
    asked = block.counted.double() @ block.run.patterns[name].number
    return block.number - (block.total + asked - 2 * block.on_patterns[name]), block.number
