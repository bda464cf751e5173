"""Where a view opens if you name no place: on the strongest weight between two different words."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool
from torch import Tensor

from attnscope.text.spelling import spelled
from attnscope.tracing.query_blocks import query_blocks
from attnscope.tracing.site import Site
from attnscope.tracing.tokens import Tokens
from attnscope.tracing.trace import Trace

SAMPLED_QUERIES = 64  # of texts longer than SAMPLE_ABOVE tokens
SAMPLE_ABOVE = 512


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

    The search covers these sites, this head and this query, where they are given; of long texts it takes a sample of the
    queries. Equal weights go to the lowest layer, head and position. Without two such words it is the first token.
    """
    best = (0.0, None, 0, 0, 0)
    sampled = False
    for site in sites:
        queries, keys = trace.query_tokens(site), trace.key_tokens(site)
        rows = torch.arange(site.queries) if query is None else torch.tensor([query - site.query_offset])
        if len(rows) > SAMPLE_ABOVE:
            rows = torch.linspace(0, site.queries - 1, SAMPLED_QUERIES).round().long().unique()
            sampled = True
        for block in query_blocks(len(rows), site.keys, site.heads):
            weights = site.weights(head, rows[block]).reshape(-1, len(rows[block]), site.keys)
            weights = weights.cpu().nan_to_num(0.0) * _links(queries, keys, rows[block] + site.query_offset, site.kind)
            strongest = float(weights.max())
            if strongest > best[0]:
                place = int((weights == strongest).flatten().nonzero()[0, 0])
                h, rest = divmod(place, weights[0].numel())
                q, k = divmod(rest, site.keys)
                best = (strongest, site, head if head is not None else h, int(rows[block][q]) + site.query_offset, k)
    weight, site, found, row, key = best
    where = _where(trace, sites, head, query)
    words = "the strongest link between two different words that are neither special nor neighbours"
    sample = f" (among {SAMPLED_QUERIES} queries spread evenly over the text)" if sampled else ""
    if site is not None:
        return Opening(
            site, found, row, key, f"Opened here because it is {words} in {where}{sample}: {100 * weight:.0f} %."
        )
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


def _links(queries: Tokens, keys: Tokens, rows: Tensor, kind: str) -> Bool[Tensor, "q K"]:
    """True where query and key are pieces of different words, real words both, and (in one text) not neighbours."""
    query_words = torch.tensor([_word(queries, int(r)) for r in rows])
    key_words = torch.tensor([_word(keys, k) for k in range(len(keys))])
    query_names, key_names = _names(queries, keys)
    different = query_names[rows][:, None] != key_names
    real = (query_words >= 0)[:, None] & (key_words >= 0)
    if kind == "cross":
        return different & real
    return different & real & ((query_words[:, None] - key_words).abs() > 1)


def _word(tokens: Tokens, position: int) -> int:
    """The number of the word, or -1 for special tokens and for what has no letter or digit."""
    word = tokens.words[position]
    if word is None or tokens.special[position] or not any(c.isalnum() for c in tokens.word_text[word]):
        return -1
    return word


def _names(queries: Tokens, keys: Tokens) -> tuple[Tensor, Tensor]:
    """A number per spelling, so that "The" and "the" count as the same word."""
    numbers: dict[str, int] = {}

    def number(tokens: Tokens) -> Tensor:
        spelled = ["" if w is None else tokens.word_text[w].casefold() for w in tokens.words]
        return torch.tensor([numbers.setdefault(s, len(numbers)) for s in spelled])

    return number(queries), number(keys)
