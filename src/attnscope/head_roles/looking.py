"""Run a model over texts, and keep where every head looks from every word, and how much it gives to the right ones."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from attnscope.capturing import Recorder
from attnscope.errors import CaptureError
from attnscope.head_roles.alignment import Alignment
from attnscope.head_roles.texts import Text
from attnscope.models.encoding import accepts, wanted_by
from attnscope.tracing.modules import in_eval
from attnscope.tracing.site import Site
from attnscope.tracing.tokens import Tokens

TOKENS_AT_ONCE = 2048  # of a batch
Head = tuple[int, int]


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


def reader_of(model: Any) -> nn.Module:
    """The part of a model that reads a text: the encoder of one that has a decoder too."""
    config = getattr(model, "config", None)
    if getattr(config, "is_encoder_decoder", False) and hasattr(model, "get_encoder"):
        return model.get_encoder()
    return model


def weights_of_texts(model: nn.Module, texts: Sequence[Text]) -> Iterator[tuple[int, tuple[Head, ...], Tensor]]:
    """(number of the text, heads, weights [N, T, T]) of every text, in batches of texts with as many tokens: no padding.

    Raises CaptureError where the weights do not reproduce what the model computed.
    """
    by_length: dict[int, list[int]] = defaultdict(list)
    for number, text in enumerate(texts):
        by_length[len(text)].append(number)
    model = reader_of(model)
    device = next(model.parameters()).device
    with in_eval(model), torch.no_grad():
        for length, numbers in sorted(by_length.items()):
            step = max(1, TOKENS_AT_ONCE // length)
            for first in range(0, len(numbers), step):
                batch = numbers[first : first + step]
                yield from _batch(model, texts, batch, device)


def _batch(
    model: nn.Module, texts: Sequence[Text], batch: Sequence[int], device: torch.device
) -> Iterator[tuple[int, tuple[Head, ...], Tensor]]:
    inputs = {
        name: torch.tensor([texts[n].inputs[name] for n in batch], device=device) for name in texts[batch[0]].inputs
    }
    inputs = wanted_by(model, inputs)
    if accepts(model, "logits_to_keep"):
        inputs["logits_to_keep"] = 1  # no logits are read
    if accepts(model, "use_cache"):
        inputs["use_cache"] = False
    recorder = Recorder(model, own_thread=True)
    recorder.open()
    try:
        model(**inputs)
    finally:
        recorder.close()
    for row, number in enumerate(batch):
        text = texts[number]
        names = Tokens(tuple(map(str, text.ids)), tuple(text.ids), text.special)
        trace = recorder.trace(tokens=names, index=row)
        sites = [site for site in trace.sites if reads_text(site, len(text))]
        if not sites:
            raise CaptureError(
                f"{type(model).__name__} has no self-attention over the tokens of a text, so its heads have no roles."
            )
        if row == 0:
            vouch(sites)
        heads = tuple((site.layer, head) for site in sites for head in range(site.heads))
        yield number, heads, torch.cat([site.weights(None).float().cpu() for site in sites]).nan_to_num(0.0)


def reads_text(site: Site, tokens: int) -> bool:
    """Whether it is self-attention over all tokens of a text."""
    return site.kind == "self" and site.queries == site.keys == tokens


def vouch(sites: Sequence[Site]) -> None:
    """Raises CaptureError where the weights do not reproduce what the model computed."""
    for site in sites:
        if (found := site.verify()).status == "failed":
            raise CaptureError(
                f"the weights of {site.name} do not reproduce what the model computed (error {found.max_error:.2g}, allowed "
                f"{found.tolerance:.2g}), so nothing is said about its heads."
            )


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
