"""Whether the heads of a decoder walk along a sound: later tokens look at later moments."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from attnscope.statistics.totals import Means
from attnscope.tracing.site import Site
from attnscope.tracing.sounds import Sound
from attnscope.tracing.tokens import Tokens

FEWEST = 3  # tokens of which an order says something
BLOCK = 64  # queries at a time


def walk_along(site: Site, queries: Tokens, keys: Tokens) -> Means:
    """The statistics "in_order" and "time_spread" of cross attention to a sound; none elsewhere."""
    sound = keys.sound
    here = range(site.query_offset, site.query_offset + site.queries)
    rows = [i for i, place in enumerate(here) if not queries.special[place]]
    if site.kind != "cross" or sound is None or sound.positions > site.keys or len(rows) < FEWEST:
        return {}
    found = [_peaks(site, block, sound) for block in torch.tensor(rows).split(BLOCK)]
    peaks = torch.cat([peak for peak, _ in found], dim=1)
    spreads = torch.cat([spread for _, spread in found], dim=1).nanmean(1)
    spread = [None if value != value else value for value in spreads.tolist()]
    return {"in_order": tuple(kendall(peaks).tolist()), "time_spread": tuple(spread)}


def _peaks(site: Site, rows: Int[Tensor, " q"], sound: Sound) -> tuple[Int[Tensor, "H q"], Float[Tensor, "H q"]]:
    """Where on the sound each weight is largest, and how far from there the weight lies, in seconds."""
    first, last = int(rows[0]), int(rows[-1]) + 1
    weights = site.weights(queries=slice(first, last))[:, rows - first, : sound.positions].float().nan_to_num().cpu()
    peaks = weights.argmax(-1)
    apart = (torch.arange(sound.positions) - peaks[..., None]).abs()
    return peaks, sound.each * (weights * apart).sum(-1) / weights.sum(-1)


def kendall(peaks: Int[Tensor, "H Q"]) -> Float[Tensor, " H"]:
    """Of all pairs, those in order less those in the other order, by head."""
    count = peaks.shape[1]
    later = (peaks[:, None, :] - peaks[:, :, None]).sign().triu(1)  # of i < j: whether j looks at a later moment
    return later.sum((1, 2)).double() / (count * (count - 1) / 2)
