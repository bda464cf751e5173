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
    found = peaks_on_sound(site, queries, keys)
    if found is None:
        return {}
    peaks, spreads = found
    spread = [None if value != value else value for value in spreads.nanmean(1).tolist()]
    return {"in_order": tuple(kendall(peaks).tolist()), "time_spread": tuple(spread)}


def peaks_on_sound(site: Site, queries: Tokens, keys: Tokens) -> tuple[Int[Tensor, "H Q"], Float[Tensor, "H Q"]] | None:
    """Where on the sound the largest weight of each token that is not special lies, and how far from there its weight lies,
    in seconds; None where the site is no cross attention to a sound, or has fewer than FEWEST such tokens."""
    sound = keys.sound
    if site.kind != "cross" or sound is None or sound.positions > site.keys:
        return None
    here = range(site.query_offset, site.query_offset + site.queries)
    rows = [i for i, place in enumerate(here) if not queries.special[place]]
    if len(rows) < FEWEST:
        return None
    found = [_peaks(site, block, sound) for block in torch.tensor(rows).split(BLOCK)]
    return torch.cat([peak for peak, _ in found], dim=1), torch.cat([spread for _, spread in found], dim=1)


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
