"""Texts of equal length through a model, without padding, and the attention over their tokens."""

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence, Sized
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from attnscope.capturing import Recorder
from attnscope.errors import CaptureError
from attnscope.models.encoding import accepts, wanted_by
from attnscope.models.inputs import device_of
from attnscope.statistics.batch_rows import BatchRows
from attnscope.tracing.site import Site
from attnscope.tracing.tokens import Tokens
from attnscope.tracing.trace import Trace

TOKENS_AT_ONCE = 2048  # of a batch
WEIGHTS_AT_ONCE = 1 << 24  # of all texts of a batch
Head = tuple[int, int]


@runtime_checkable
class Readable(Sized, Protocol):
    """What a model reads at once. `inputs`: by name, one number a token. `special`: which tokens are special."""

    @property
    def inputs(self) -> Mapping[str, Sequence[int]]: ...
    @property
    def ids(self) -> Sequence[int]: ...
    @property
    def special(self) -> Sequence[bool]: ...


def reader_of(model: Any) -> nn.Module:
    """The part of a model that reads a text: the encoder of one that has a decoder too."""
    config = getattr(model, "config", None)
    if getattr(config, "is_encoder_decoder", False) and hasattr(model, "get_encoder"):
        return model.get_encoder()
    return model


def batches_of(texts: Sequence[Sized]) -> Iterator[list[int]]:
    """Numbers of texts with as many tokens: no padding, so that a text's numbers do not depend on its neighbours'."""
    by_length: dict[int, list[int]] = defaultdict(list)
    for number, text in enumerate(texts):
        by_length[len(text)].append(number)
    for length, numbers in sorted(by_length.items()):
        step = max(1, TOKENS_AT_ONCE // length)
        for first in range(0, len(numbers), step):
            yield numbers[first : first + step]


def read(model: nn.Module, texts: Sequence[Readable], keep: Collection[str] = ()) -> Recorder:
    """One pass over texts with as many tokens, recorded. No logits are asked for, and no cache. `keep`: see attnscope.trace."""
    device = device_of(model)
    inputs: dict[str, Any] = {
        name: torch.tensor([text.inputs[name] for text in texts], device=device) for name in texts[0].inputs
    }
    inputs = wanted_by(model, inputs)
    if accepts(model, "logits_to_keep"):
        inputs["logits_to_keep"] = 1
    if accepts(model, "use_cache"):
        inputs["use_cache"] = False
    with Recorder(model, keep=keep, own_thread=True) as recorder:
        model(**inputs)
    return recorder


def trace_of(recorder: Recorder, texts: Sequence[Readable], row: int) -> Trace:
    """One of the texts of a recorded pass; its tokens are named by their ids."""
    text = texts[row]
    return recorder.trace(tokens=Tokens(tuple(map(str, text.ids)), tuple(text.ids), tuple(text.special)), index=row)


def sites_of_text(trace: Trace, tokens: int) -> list[Site]:
    """Those of self-attention over all tokens of a text."""
    return [site for site in trace.sites if site.kind == "self" and site.queries == site.keys == tokens]


def heads_of(sites: Sequence[Site]) -> tuple[Head, ...]:
    """(layer, head) of every head, one site after another."""
    return tuple((site.layer, head) for site in sites for head in range(site.heads))


def weights_of(sites: Sequence[Site]) -> Float[Tensor, "N T T"]:
    """The weights of all heads, in the order of `heads_of`; zeros where a model gives NaN."""
    return torch.cat([site.weights(None).float().cpu() for site in sites]).nan_to_num(0.0)


def weights_together(recorder: Recorder, sites: Sequence[Site], texts: int) -> Float[Tensor, "B N T T"] | None:
    """The same of every text of a recorded batch, `sites` being those of one; None where the texts differ in more than their
    numbers, or have too many weights."""
    tokens, heads = sites[0].queries, sum(site.heads for site in sites)
    if texts * heads * tokens**2 > WEIGHTS_AT_ONCE:
        return None
    found, first = torch.zeros(texts, heads, tokens, tokens), 0
    for site in sites:
        if (whole := recorder.whole_batch(site)) is None:
            return None
        reader = BatchRows(site, *whole)
        for run, sight in reader.runs(slice(0, tokens)):
            for block in reader.blocks(run, sight, texts):
                block.clean()
                here = slice(*(first + edge // texts for edge in (block.heads.start, block.heads.stop)))
                found[:, here, run, sight.keys] = block.weights.unflatten(0, (-1, texts)).transpose(0, 1).cpu()
        first += site.heads
    return found


def vouch(sites: Sequence[Site]) -> None:
    """Raises CaptureError where the weights do not reproduce what the model computed."""
    for site in sites:
        if (found := site.verify()).status == "failed":
            raise CaptureError(
                f"the weights of {site.name} do not reproduce what the model computed (error {found.max_error:.2g}, allowed "
                f"{found.tolerance:.2g}), so nothing is said about its heads."
            )
