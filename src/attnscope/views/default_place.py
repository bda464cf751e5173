"""Where a view opens if you name no place: on the strongest weight between two different words."""

from dataclasses import dataclass

from attnscope.statistics.thumbnails import pairs_at, peak_at, thumbnails_at
from attnscope.text.spelling import spelled
from attnscope.tracing.site import Site
from attnscope.tracing.trace import Trace


@dataclass(frozen=True)
class Opening:
    """The place that a view opens on, and in `why` the reason for it, as a sentence."""

    site: Site
    head: int
    query: int
    key: int
    why: str


def choose_opening(trace: Trace, sites: tuple[Site, ...], head: int | None = None, query: int | None = None) -> Opening:
    """The strongest weight between two different words that are neither special tokens nor neighbours.

    The search covers these sites, this head and this query, where they are given. Equal weights go to the lowest layer,
    head and position. Without two such words it is the first token.
    """
    best = (0.0, None, 0, 0, 0)
    for site in sites:
        found = _strongest(trace, site, head) if query is None else _strongest_of(trace, site, head, query)
        if found[0] > best[0]:
            best = (found[0], site, *found[1:])
    weight, site, number, row, key = best
    where = _where(trace, sites, head, query)
    words = "the strongest link between two different words that are neither special nor neighbours"
    if site is not None:
        return Opening(site, number, row, key, f"Opened here because it is {words} in {where}: {100 * weight:.0f} %.")
    site = sites[0]
    row = query if query is not None else min(site.query_offset + 1, site.query_offset + site.queries - 1)
    key = int(site.weights(head or 0, row - site.query_offset)[0].nan_to_num(0.0).argmax())
    return Opening(
        site, head or 0, row, key, f"Opened at the beginning: there is no link between two such words in {where}."
    )


def _where(trace: Trace, sites: tuple[Site, ...], head: int | None, query: int | None) -> str:
    """What was searched, in words."""
    parts = [sites[0].name] if len(sites) == 1 and len(trace.sites) > 1 else []
    parts += [f"head {head}"] if head is not None else []
    place = ", ".join(parts) or "this text"
    return place if query is None else f"{place}, from “{spelled(trace.query_tokens(sites[0]))[query]}”"


def _strongest(trace: Trace, site: Site, head: int | None) -> tuple[float, int, int, int]:
    """(weight, head, query, key) of the strongest such link; a weight of 0 where there is none."""
    index = _index(trace, site)
    peaks = thumbnails_at(trace, index).peaks
    number = int(peaks.weight.amax(-1).argmax()) if head is None else head
    weights, start = peaks.weight[number], peaks.start[number]
    if not float(weights.max()) > 0:
        return 0.0, number, 0, 0
    equal = weights == weights.max()
    keys = (equal & (start == start[equal].min())).nonzero().squeeze(1).tolist()
    query, key, weight = peak_at(trace, index, number, keys)
    return weight, number, query, key


def _strongest_of(trace: Trace, site: Site, head: int | None, query: int) -> tuple[float, int, int, int]:
    """The same, from one query."""
    row = query - site.query_offset
    different = pairs_at(trace, _index(trace, site)).between_words(slice(row, row + 1))[0]
    weights = site.weights(head, row).reshape(-1, site.keys).cpu().nan_to_num(0.0) * different
    place = int(weights.argmax())
    return float(weights.max()), place // site.keys if head is None else head, query, place % site.keys


def _index(trace: Trace, site: Site) -> int:
    return next(i for i, other in enumerate(trace.sites) if other is site)
