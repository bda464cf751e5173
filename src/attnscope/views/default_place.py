"""Where a view opens if you name no place: on a link between two words that stands out."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from attnscope.statistics.sink_tokens import SAMPLED_QUERIES, leading_key, received, sampled_rows, set_aside
from attnscope.text.format import percent_in_words
from attnscope.text.function_words import is_function_word
from attnscope.text.spelling import spelled
from attnscope.tracing.query_blocks import query_blocks
from attnscope.tracing.site import Site
from attnscope.tracing.tokens import Tokens
from attnscope.tracing.trace import Trace


@dataclass(frozen=True)
class Opening:
    """The place that a view opens on, and in `why` the reason for it, as a sentence."""

    site: Site
    head: int
    query: int
    key: int
    why: str


@dataclass(frozen=True, eq=False)
class _Link:
    """A link, and what speaks for it. usual: what its key receives on average in this head."""

    site: Site
    head: int
    query: int
    key: int
    weight: float
    usual: float
    score: float


def choose_opening(trace: Trace, sites: tuple[Site, ...], head: int | None = None, query: int | None = None) -> Opening:
    """The link that stands out most between two different words that are neither special, nor sink tokens, nor neighbours.

    A link is the strongest key of its query, special and sink tokens aside. It stands out by its weight beyond what the
    key receives on average in this head, times ‖v · W_O[head]‖ of the key as a multiple of the site's mean: by what it
    writes beyond the usual. The search covers these sites, this head and this query, where they are given. Without a query
    it is the first content word of a generated answer, where there is one. Of long texts it takes a sample of the
    queries. Ties go to the lowest layer, head and position. Without any such link the view opens at the beginning.
    """
    answer = _answer(trace, sites) if query is None else None
    row = query if answer is None else answer
    best: _Link | None = None
    sampled = False
    for site in sites:
        rows = sampled_rows(site) if row is None else torch.tensor([row - site.query_offset])
        sampled |= row is None and len(rows) < site.queries
        for link in _links(trace, site, head, rows):
            if best is None or link.score > best.score:
                best = link
    where = _where(trace, sites, head, query)
    if best is not None:
        among = f" (among {SAMPLED_QUERIES} queries spread evenly over the text)" if sampled else ""
        key = spelled(trace.key_tokens(best.site))[best.key]
        begins = "Opened here because no"
        if answer is not None:
            word = spelled(trace.query_tokens(best.site))[answer]
            begins = f"Opened on “{word}”, the first content word of the answer, where no"
        why = (
            f"{begins} link between two different words in {where}{among} stands out more: "
            f"{percent_in_words(best.weight)}, and “{key}” receives {percent_in_words(best.usual)} on average."
        )
        return Opening(best.site, best.head, best.query, best.key, why)
    site = sites[0]
    if row is None:
        row = min(site.query_offset + 1, site.query_offset + site.queries - 1)
    key = leading_key(site.weights(head or 0, row - site.query_offset)[0], set_aside(trace, site))
    start = "at the beginning" if answer is None else "on the first content word of the answer"
    return Opening(site, head or 0, row, key, f"Opened {start}: there is no link between two such words in {where}.")


def _links(trace: Trace, site: Site, head: int | None, rows: Int[Tensor, " q"]) -> Iterable[_Link]:
    """The best link of each block of queries."""
    queries, keys = trace.query_tokens(site), trace.key_tokens(site)
    aside = set_aside(trace, site)
    heads = slice(None) if head is None else slice(head, head + 1)
    usual, writes = received(site).weight[heads], _writes(site, aside)[heads]
    for block in query_blocks(len(rows), site.keys, site.heads):
        chosen = rows[block]
        weights = site.weights(head, chosen).reshape(-1, len(chosen), site.keys).cpu().nan_to_num(0.0)
        words = weights.masked_fill(aside, 0.0)
        most, key = words.max(-1)  # [H, q]: the strongest key of each query
        links = _between_words(queries, keys, chosen + site.query_offset, site) & ~aside
        fits = links[torch.arange(len(chosen)), key] & (most > 0)
        score = torch.where(fits, (most - usual.gather(1, key)) * writes.gather(1, key), -torch.inf)
        top = float(score.max())
        if top == -torch.inf:
            continue
        h, q = divmod(int((score == top).flatten().nonzero()[0, 0]), len(chosen))
        k = int(key[h, q])
        place = (h if head is None else head, int(chosen[q]) + site.query_offset, k)
        yield _Link(site, *place, float(most[h, q]), float(usual[h, k]), top)


def _writes(site: Site, aside: Bool[Tensor, " K"]) -> Float[Tensor, "H K"]:
    """‖v · W_O[head]‖ of each key as a multiple of the mean over the site's heads and words; 1 where there are only weights."""
    if site.weights_only:
        return torch.ones(site.heads, site.keys)
    norms = site.norms()[1].cpu().float().nan_to_num(0.0)
    words = norms[:, ~aside] if bool((~aside).any()) else norms
    return norms / words.mean().clamp_min(torch.finfo(torch.float32).tiny)


def _answer(trace: Trace, sites: tuple[Site, ...]) -> int | None:
    """The position of the first content word of a generated answer, else of its first word; None where there is none."""
    tokens = trace.query_tokens(sites[0])
    if tokens.border is None:
        return None
    last = min(site.query_offset + site.queries for site in sites)
    first = max(tokens.border, *(site.query_offset for site in sites))
    texts = spelled(tokens)
    words = [at for at in range(first, last) if _word(tokens, at) >= 0 and any(c.isalnum() for c in texts[at])]

    def written(at: int) -> str:
        """What of the word of a token the answer wrote: its first piece may stand at the end of the prompt."""
        return "".join(texts[i] for i in range(at, last) if tokens.words[i] == tokens.words[at])

    content = (at for at in words if not is_function_word(written(at)))
    return next(content, words[0] if words else None)


def _where(trace: Trace, sites: tuple[Site, ...], head: int | None, query: int | None) -> str:
    """What was searched, in words."""
    parts = [sites[0].name] if len(sites) == 1 and len(trace.sites) > 1 else []
    parts += [f"head {head}"] if head is not None else []
    place = ", ".join(parts) or "this text"
    return place if query is None else f"{place}, from “{spelled(trace.query_tokens(sites[0]))[query]}”"


def _between_words(queries: Tokens, keys: Tokens, rows: Int[Tensor, " q"], site: Site) -> Bool[Tensor, "q K"]:
    """True where query and key are pieces of different words, real words both, and (in one text) not neighbours."""
    query_words = torch.tensor([_word(queries, int(r)) for r in rows])
    key_words = torch.tensor([_word(keys, k) for k in range(site.keys)])
    query_names, key_names = _names(queries, keys)
    different = query_names[rows][:, None] != key_names[: site.keys]
    real = (query_words >= 0)[:, None] & (key_words >= 0)
    if site.kind == "cross":
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
