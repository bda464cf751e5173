"""Where a view opens if you name no place: on a link between two words that stands out."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from attnscope.statistics.sink_tokens import leading_key, received, set_aside
from attnscope.statistics.thumbnails import blocks_in, index_of, pairs_at, runs_at, thumbnails_at
from attnscope.text.format import percent_in_words
from attnscope.text.function_words import is_function_word
from attnscope.text.spelling import spelled
from attnscope.tracing.site import Site
from attnscope.tracing.tokens import Tokens
from attnscope.tracing.trace import Trace

QUESTION = 3  # content words: "Answer:" alone is no question


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
    writes beyond the usual. The search covers these sites, this head and this query, where they are given.

    Without a query, a text with a generated answer opens on the token from which the model wrote the first content word that
    the question does not have. A chat, or documents, that wait for an answer open on the last token. The key may then be
    any content word that somebody wrote, not the name of a role; where no head leads to one, any word.

    Ties go to the lowest layer, head and position. Without any such link the view opens at the beginning.
    """
    answer = _answer(trace, sites) if query is None else None
    row = query if answer is None else _decides(answer, sites)
    asks = row is None and _asks(trace, sites)
    if asks:
        row = len(trace.tokens) - 1
    best = None
    for told in (_content, _words) if asks or answer is not None else (None,):
        for site in sites:
            if row is None:
                link = _best_link(trace, site, head, best)
            else:
                link = _best_of(trace, site, head, row, None if told is None else told(trace, site))
            if link is not None and (best is None or link.score > best.score):
                best = link
        if best is not None:
            break
    where = _where(trace, sites, head, query)
    runs = runs_at(trace, index_of(trace, sites[0]))
    if runs is not None and row is None:
        where += f", looked at from {sum(run.stop - run.start for run in runs):,} queries spread evenly,"
    if best is not None:
        key = spelled(trace.key_tokens(best.site))[best.key]
        begins = "Opened here because no"
        if answer is not None:
            read = spelled(trace.query_tokens(best.site))
            begins = f"Opened on “{read[best.query]}”, from which the model wrote “{read[answer]}”: no"
            if best.query == answer:
                begins = f"Opened on “{read[answer]}”, a word of the answer: no"
        if asks:
            begins = f"Opened on “{spelled(trace.tokens)[-1]}”, the last token, from which the model would write on: no"
        link_to = "link to a word" if asks or answer is not None else "link between two different words"
        why = (
            f"{begins} {link_to} in {where} stands out more: "
            f"{percent_in_words(best.weight)}, and “{key}” receives {percent_in_words(best.usual)} on average."
        )
        return Opening(best.site, best.head, best.query, best.key, why)
    site = sites[0]
    if row is None:
        row = min(site.query_offset + 1, site.query_offset + site.queries - 1)
    key = leading_key(site.weights(head or 0, row - site.query_offset)[0], set_aside(trace, site))
    start = "on the token that the answer was written from" if answer is not None else "at the beginning"
    start = "on the last token" if asks else start
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
        for rows in blocks_in(runs_at(trace, index_of(trace, site)), site):
            link = _link(trace, site, number, rows, aside, writes)
            if link is not None and (link.score > least or (best and link.score == least and number < best.head)):
                best, least = link, link.score
    return best


def _asks(trace: Trace, sites: tuple[Site, ...]) -> bool:
    """Whether the text is a prompt that waits for its answer, read by a causal model: a chat, documents, groups that you named, or passages of which
    the last one is not finished."""
    tokens = trace.tokens
    kinds = {group.kind for group in tokens.groups}
    causal = all(site.kind == "self" and site.mask.upper == 0 and not site.mask.is_empty for site in sites)
    here = all(trace.query_tokens(site) is tokens and site.query_offset + site.queries == len(tokens) for site in sites)
    prompt = bool(tokens.roles) or not kinds.isdisjoint({"document", "own"}) or (bool(kinds) and _unfinished(tokens))
    return causal and here and prompt


def _unfinished(tokens: Tokens) -> bool:
    """Whether the text ends within a sentence, as "The code is", or with a colon, as "Answer:"."""
    text = tokens.running.text.rstrip()
    return bool(text) and (text[-1].isalnum() or text[-1] in ":,") and not any(tokens.special[-1:])


def _decides(answer: int, sites: tuple[Site, ...]) -> int:
    """The position from which a token was written: the one before it, where this pass has it."""
    return answer - 1 if all(answer - 1 >= site.query_offset for site in sites) and answer else answer


def _words(trace: Trace, site: Site) -> Bool[Tensor, " K"]:
    """Keys that are pieces of words."""
    return pairs_at(trace, index_of(trace, site)).words


def _content(trace: Trace, site: Site) -> Bool[Tensor, " K"]:
    """Those of content words that somebody wrote."""
    found = _words(trace, site)
    return found & torch.tensor(_written(trace.key_tokens(site))[: len(found)], dtype=torch.bool)


def _written(tokens: Tokens) -> list[bool]:
    """Which tokens are of content words that somebody wrote: what a chat's template puts around a message is none."""
    frame = [False] * len(tokens)
    for group in tokens.groups:  # each before those that lie within it
        if group.kind == "message" or group.parent is not None:
            frame[group.positions] = [group.kind == "message"] * len(group)
    words = [any(c.isalnum() for c in word) and not is_function_word(word) for word in _word_texts(tokens)]
    return [word and not around for word, around in zip(words, frame, strict=False)]


def _best_of(
    trace: Trace, site: Site, head: int | None, query: int, told: Bool[Tensor, " K"] | None = None
) -> _Link | None:
    """The best link of one query. `told`: the keys that may be; then the query need be no word itself."""
    row = query - site.query_offset
    aside = set_aside(trace, site)
    return _link(trace, site, head, slice(row, row + 1), aside, _writes(site, aside), told)


def _link(
    trace: Trace,
    site: Site,
    head: int | None,
    rows: slice,
    aside: Bool[Tensor, " K"],
    writes: Float[Tensor, "H K"],
    told: Bool[Tensor, " K"] | None = None,
) -> _Link | None:
    """The best link of a run of queries: of one head, or of all. `told`: see `_best_of`."""
    heads = slice(None) if head is None else slice(head, head + 1)
    usual, writes = received(trace, site).weight[heads], writes[heads]
    count = rows.stop - rows.start
    weights = site.weights(head, rows).reshape(-1, count, site.keys).cpu().nan_to_num(0.0)
    most, key = weights.masked_fill(aside, 0.0).max(-1)  # [H, q]: the strongest key of each query
    pairs = pairs_at(trace, index_of(trace, site))
    links = pairs.between_words(rows)
    if told is not None:
        own = torch.arange(rows.start, rows.stop)[:, None] + site.query_offset
        links = told & (torch.arange(site.keys) != own) if site.kind == "self" else told.expand(count, -1)
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
    """The position of the first content word of a generated answer, one that the question does not have if there is one,
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
    asked = {_word_texts(tokens)[at].casefold() for at in _question(tokens, tokens.border)}
    begun = [at for at in content if at == words[0] or tokens.words[at] != tokens.words[at - 1]]
    # what it repeats of the question decides nothing
    new = (at for at in begun if written(at).casefold() not in asked)
    return next(new, (content or words or [None])[0])


def _question(tokens: Tokens, border: int) -> range:
    """The last passages before the answer, as many as have QUESTION content words; without passages all that stands there."""
    starts = {
        group.start for group in tokens.groups if group.kind not in ("message", "answer") and group.stop <= border
    }
    content = _written(tokens)[:border]
    return range(next((at for at in sorted(starts, reverse=True) if sum(content[at:]) >= QUESTION), 0), border)


def _word_texts(tokens: Tokens) -> list[str]:
    """The word of each token; "" where it is of none."""
    return ["" if word is None or word >= len(tokens.word_text) else tokens.word_text[word] for word in tokens.words]


def _where(trace: Trace, sites: tuple[Site, ...], head: int | None, query: int | None) -> str:
    """What was searched, in words."""
    parts = [sites[0].name] if len(sites) == 1 and len(trace.sites) > 1 else []
    parts += [f"head {head}"] if head is not None else []
    place = ", ".join(parts) or "this text"
    return place if query is None else f"{place}, from “{spelled(trace.query_tokens(sites[0]))[query]}”"
