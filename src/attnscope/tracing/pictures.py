"""The pictures of what a model saw, put under the grids of patches in a trace."""

from collections.abc import Sequence
from dataclasses import replace

from attnscope.tracing.tokens import Tokens
from attnscope.tracing.trace import Trace


def with_pictures(trace: Trace, pictures: Sequence[bytes]) -> Trace:
    """The trace, with these PNGs in its grids: one for each image, or for each frame of a video, in their order.

    A table of tokens with another number of grids stays as it is, where these do not say which picture is theirs.
    """
    if not pictures:
        return trace
    made: dict[int, Tokens] = {}

    def of(tokens: Tokens) -> Tokens:
        own = [place if grid.picture is None else grid.picture for place, grid in enumerate(tokens.grids)]
        told = bool(own) and all(grid.picture is not None for grid in tokens.grids)
        if not (told and max(own) < len(pictures)) and len(own) != len(pictures):
            return tokens
        if id(tokens) not in made:
            grids = tuple(replace(grid, png=pictures[place]) for grid, place in zip(tokens.grids, own, strict=True))
            made[id(tokens)] = replace(tokens, grids=grids)
        return made[id(tokens)]

    sites = [
        site if site.named is None else replace(site, named=(of(site.named[0]), of(site.named[1])))
        for site in trace.sites
    ]
    target = None if trace.target is None else of(trace.target)
    return replace(trace, sites=tuple(sites), tokens=of(trace.tokens), target=target)
