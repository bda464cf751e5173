"""Run a model over texts, and keep where every head looks from every word, and how much it gives to the right ones."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from attnscope.capturing import Recorder
from attnscope.errors import CaptureError
from attnscope.head_roles.alignment import Alignment
from attnscope.head_roles.batches import (
    Head,
    batches_of,
    heads_of,
    read,
    reader_of,
    sites_of_text,
    trace_of,
    vouch,
    weights_of,
    weights_together,
)
from attnscope.head_roles.texts import Text
from attnscope.tracing.modules import in_eval
from attnscope.tracing.site import Site


@dataclass(frozen=True, eq=False)
class Reading:
    """What to keep of the weights of some texts. Places count through all of them, one after another.

    `by_word`: places are words of the treebank, and a word's weight on itself does not count; else they are tokens.
    `sizes`: how many places each text has. `pairs`: (text, query, key, group) of each pair whose weight is added to its
    group's sum, sorted by text. `groups`: how many groups. `aside`: the first place of a text is no key.
    """

    by_word: bool
    sizes: Sequence[int]
    pairs: Int[np.ndarray, "pairs 4"]
    groups: int
    aside: bool = False

    @cached_property
    def starts(self) -> "np.ndarray":
        """Where the places of each text begin, and where the last one's end."""
        return np.concatenate([[0], np.cumsum(self.sizes)]).astype(np.int64)

    @cached_property
    def pair_starts(self) -> "np.ndarray":
        return np.searchsorted(self.pairs[:, 0], np.arange(len(self.sizes) + 1))


@dataclass(eq=False)
class Looks:
    """Where every head looks. `heads`: (layer, head) of each row. `top`: the key with the largest weight from each query,
    −1 where it may see none. `strength`: that weight. `given`: the weight on the pairs of each group, added up."""

    heads: tuple[Head, ...]
    top: Int[np.ndarray, "N P"]
    strength: Float[np.ndarray, "N P"]
    given: Float[np.ndarray, "N groups"]

    @classmethod
    def start(cls, heads: tuple[Head, ...], reading: Reading) -> "Looks":
        """Of no text yet."""
        places = int(reading.starts[-1])
        return cls(
            heads,
            np.full((len(heads), places), -1, dtype=np.int32),
            np.zeros((len(heads), places), dtype=np.float32),
            np.zeros((len(heads), reading.groups)),
        )

    def add(self, reading: Reading, number: int, weights: Float[Tensor, "N T T"], alignment: Alignment | None) -> None:
        """The weights of one text."""
        if reading.by_word:
            if alignment is None:
                return
            weights = alignment.by_unit(weights)
            weights.diagonal(0, 1, 2).zero_()
        start = int(reading.starts[number])
        _, query, key, group = reading.pairs[reading.pair_starts[number] : reading.pair_starts[number + 1]].T
        if len(query):
            found = weights[:, torch.from_numpy(query - start), torch.from_numpy(key - start)].double().numpy()
            for head, row in enumerate(found):
                self.given[head] += np.bincount(group, row, reading.groups)
        if reading.aside:
            weights = weights.clone()
            weights[:, :, 0] = 0.0
        largest, where = weights.max(-1)
        here = slice(start, int(reading.starts[number + 1]))
        self.top[:, here] = torch.where(largest > 0, where + start, -1)
        self.strength[:, here] = largest


def weights_of_texts(model: nn.Module, texts: Sequence[Text]) -> Iterator[tuple[int, tuple[Head, ...], Tensor]]:
    """(number of the text, heads, weights [N, T, T]) of every text, in batches of texts with as many tokens: no padding.

    Raises CaptureError where the weights do not reproduce what the model computed.
    """
    model = reader_of(model)
    with in_eval(model), torch.no_grad():
        for batch in batches_of(texts):
            together = [texts[number] for number in batch]
            recorder = read(model, together)
            sites = _sites(model, recorder, together, 0)
            vouch(sites)
            if (weights := weights_together(recorder, sites, len(batch))) is not None:
                yield from ((number, heads_of(sites), found) for number, found in zip(batch, weights, strict=True))
                continue
            for row, number in enumerate(batch):
                sites = _sites(model, recorder, together, row) if row else sites
                yield number, heads_of(sites), weights_of(sites)


def _sites(model: nn.Module, recorder: Recorder, texts: Sequence[Text], row: int) -> list[Site]:
    if not (sites := sites_of_text(trace_of(recorder, texts, row), len(texts[row]))):
        raise CaptureError(
            f"{type(model).__name__} has no self-attention over the tokens of a text, so its heads have no roles."
        )
    return sites


def look(model: nn.Module, texts: Sequence[Text], readings: Sequence[Reading]) -> list[Looks]:
    """Where the heads of `model` look in `texts`, by each of the `readings`: one pass over the texts for all of them."""
    return gathered(weights_of_texts(model, texts), readings, texts)


def gathered(
    passes: Iterable[tuple[int, tuple[Head, ...], Tensor]], readings: Sequence[Reading], texts: Sequence[Text]
) -> list[Looks]:
    """The same from weights that come by: (number of the text, heads, weights [N, T, T])."""
    looks: list[Looks] = []
    for number, heads, weights in passes:
        looks = looks or [Looks.start(heads, reading) for reading in readings]
        if heads != looks[0].heads:
            raise CaptureError("the model has other heads in one text than in another, so they have no roles.")
        for found, reading in zip(looks, readings, strict=True):
            found.add(reading, number, weights, texts[number].alignment)
    return looks
