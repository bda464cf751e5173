"""Where a view opens if you name no place: on a link between two words that stands out."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from attnscope.statistics.sink_tokens import leading_key, received, set_aside
from attnscope.statistics.thumbnails import index_of, pairs_at, thumbnails_at
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
    and with a generated answer, it is the token from which the model wrote the answer's first content word that is new, and any
    word may be its key. Ties go to the lowest layer, head and position. Without any such link the view opens at the beginning.
    """
    answer = _answer(trace, sites) if query is None else None
    row = query if answer is None else _decides(answer, sites)
    best: _Link | None = None
    for site in sites:
        link = (
            _best_link(trace, site, head, best) if row is None else _best_of(trace, site, head, row, answer is not None)
        )
        if link is not None and (best is None or link.score > best.score):
            best = link
    where = _where(trace, sites, head, query)
    if best is not None:
        key = spelled(trace.key_tokens(best.site))[best.key]
        begins = "Opened here because no"
        if answer is not None:
            read = spelled(trace.query_tokens(best.site))
            begins = f"Opened on “{read[best.query]}”, from which the model wrote “{read[answer]}”: no"
            if best.query == answer:
                begins = f"Opened on “{read[answer]}”, a word of the answer: no"
        link_to = "link to a word" if answer is not None else "link between two different words"
        why = (
            f"{begins} {link_to} in {where} stands out more: "
            f"{percent_in_words(best.weight)}, and “{key}” receives {percent_in_words(best.usual)} on average."
        )
        return Opening(best.site, best.head, best.query, best.key, why)
    site = sites[0]
    if row is None:
        row = min(site.query_offset + 1, site.query_offset + site.queries - 1)
    key = leading_key(site.weights(head or 0, row - site.query_offset)[0], set_aside(trace, site))
    start = "at the beginning" if answer is None else "on the token that the answer was written from"
    return Opening(site, head or 0, row, key, f"Opened {start}: there is no link between two such words in {where}.")


def _best_link(trace: Trace, site: Site, head: int | None, beat: _Link | None) -> _Link | None:
    """The best link of all queries of a site; None where none is better than `beat`.

    What a key receives at most (`Peaks`) bounds what a link to it can score, so few heads are looked at again.
    """
    found = thumbnails_at(trace, index_of(trace, site))
    aside, usual = set_aside(trace, site), received(trace, site).weight
    writes = _writes(site, aside)
    bounds = ((found.peaks.weight - usual) * writes).masked_fill(aside | (found.peaks.weight <= 0), -torch.inf).amax(-1)
    best, least = None, -torch.inf if beat is None else beat.score
    for number in bounds.argsort(descending=True, stable=True).tolist() if head is None else [head]:
        bound = float(bounds[number])
        if bound == -torch.inf or bound + 1e-5 * abs(bound) < least:
            break
        for rows in query_blocks(site.queries, site.keys):
            link = _link(trace, site, number, rows, aside, writes)
            if link is not None and (link.score > least or (best and link.score == least and number < best.head)):
                best, least = link, link.score
    return best


def _decides(answer: int, sites: tuple[Site, ...]) -> int:
    """The position from which a token was written: the one before it, where this pass has it."""
    return answer - 1 if all(answer - 1 >= site.query_offset for site in sites) and answer else answer


def _best_of(trace: Trace, site: Site, head: int | None, query: int, any_query: bool = False) -> _Link | None:
    """The best link of one query. `any_query`: it need be no word itself."""
    row = query - site.query_offset
    aside = set_aside(trace, site)
    return _link(trace, site, head, slice(row, row + 1), aside, _writes(site, aside), any_query)


def _link(
    trace: Trace,
    site: Site,
    head: int | None,
    rows: slice,
    aside: Bool[Tensor, " K"],
    writes: Float[Tensor, "H K"],
    any_query: bool = False,
) -> _Link | None:
    """The best link of a run of queries: of one head, or of all."""
    heads = slice(None) if head is None else slice(head, head + 1)
    usual, writes = received(trace, site).weight[heads], writes[heads]
    count = rows.stop - rows.start
    weights = site.weights(head, rows).reshape(-1, count, site.keys).cpu().nan_to_num(0.0)
    most, key = weights.masked_fill(aside, 0.0).max(-1)  # [H, q]: the strongest key of each query
    pairs = pairs_at(trace, index_of(trace, site))
    links = pairs.between_words(rows)
    if any_query:
        own = torch.arange(rows.start, rows.stop)[:, None] + site.query_offset
        links = pairs.words & (torch.arange(site.keys) != own) if site.kind == "self" else pairs.words.expand(count, -1)
    links = links & ~aside
    fits = links[torch.arange(count), key] & (most > 0)
    score = torch.where(fits, (most - usual.gather(1, key)) * writes.gather(1, key), -torch.inf)
    top = float(score.max())
    if top == -torch.inf:
        return None
    h, q = divmod(int((score == top).flatten().nonzero()[0, 0]), count)
    k = int(key[h, q])
    place = (h if head is None else head, rows.start + q + site.query_offset, k)
    return _Link(site, *place, float(most[h, q]), float(usual[h, k]), top)


def _writes(site: Site, aside: Bool[Tensor, " K"]) -> Float[Tensor, "H K"]:
    """‖v · W_O[head]‖ of each key as a multiple of the mean over the site's heads and words; 1 where there are only weights."""
    if site.weights_only:
        return torch.ones(site.heads, site.keys)
    norms = site.norms()[1].cpu().double().nan_to_num(0.0)
    words = norms[:, ~aside] if bool((~aside).any()) else norms
    # where the norms of the words are 0 or nothing beside another, no score becomes infinite, nor 0 · infinity
    return (norms / words.mean().clamp_min(torch.finfo(torch.float32).tiny)).clamp(max=1e30).float()


def _answer(trace: Trace, sites: tuple[Site, ...]) -> int | None:
    """The position of the first content word of a generated answer, one that the prompt does not have if there is one,
    else of its first word; None where there is none."""
    tokens = trace.query_tokens(sites[0])
    if tokens.border is None:
        return None
    last = min(site.query_offset + site.queries for site in sites)
    first = max(tokens.border, *(site.query_offset for site in sites))
    texts = spelled(tokens)
    in_words = pairs_at(trace, index_of(trace, sites[0])).query_words >= 0
    words = [at for at in range(first, last) if in_words[at] and any(c.isalnum() for c in texts[at])]

    def written(at: int) -> str:
        """What of the word of a token the answer wrote: its first piece may stand at the end of the prompt."""
        return "".join(texts[i] for i in range(at, last) if tokens.words[i] == tokens.words[at])

    content = [at for at in words if not is_function_word(written(at))]
    asked = {word.casefold() for at, word in enumerate(_word_texts(tokens)) if at < tokens.border}
    new = (
        at for at in content if written(at).casefold() not in asked
    )  # what it repeats of the question decides nothing
    return next(new, (content or words or [None])[0])


def _word_texts(tokens: Tokens) -> list[str]:
    """The word of each token; "" where it is of none."""
    return ["" if word is None or word >= len(tokens.word_text) else tokens.word_text[word] for word in tokens.words]


def _where(trace: Trace, sites: tuple[Site, ...], head: int | None, query: int | None) -> str:
    """What was searched, in words."""
    parts = [sites[0].name] if len(sites) == 1 and len(trace.sites) > 1 else []
    parts += [f"head {head}"] if head is not None else []
    place = ", ".join(parts) or "this text"
    return place if query is None else f"{place}, from “{spelled(trace.query_tokens(sites[0]))[query]}”"
