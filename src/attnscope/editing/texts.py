"""What a model has read so far, along both sides of its attention: the text, and of an encoder-decoder what its decoder read."""

from dataclasses import dataclass

import torch
from torch import Tensor

from attnscope.capturing.listen.reads import Reads


@dataclass
class Read:
    """`ids`: of the text so far, [B, T]; None: not known. `began`: how many tokens it had when it was first read; a generation goes on behind them."""

    ids: Tensor | None = None
    began: int | None = None

    def add(self, ids: Tensor | None, past: int | None) -> None:
        """A pass reads `ids` behind `past` tokens that a cache holds."""
        if ids is None:
            self.ids, self.began = None, None
            return
        before = self.ids
        if before is not None and past and past == before.shape[1] and len(before) == len(ids):
            self.ids = torch.cat([before, ids], dim=1)
        elif not past:
            goes_on = (
                before is not None
                and len(before) == len(ids)
                and ids.shape[1] == before.shape[1] + 1  # a step of a generation without a cache
                and torch.equal(ids[:, : before.shape[1]], before)
            )
            self.ids, self.began = ids, self.began if goes_on else ids.shape[1]
        else:  # a cache that was filled before, or whose rows were chosen anew (beams)
            self.ids = None


class Texts:
    """`text`, `target`: what was read. `both`: whether the model is an encoder-decoder."""

    def __init__(self, both: bool) -> None:
        self.text, self.target, self._both = Read(), Read(), both

    def read(self, reads: Reads, alone: bool) -> None:
        """A pass begins. `alone`: a part of the model was called by itself."""
        given, tables = reads.given, reads.tables
        ids = given.get("input_ids")
        if ids is None and len(tables) == 1 and (alone or not (self._both or given)):
            ids = tables[0][1]
        if not self._both:
            self.text.add(ids, reads.past)
            return
        if ids is not None:
            self.text.add(ids, 0)
        if not alone:
            self.target.add(given.get("decoder_input_ids"), reads.past)
