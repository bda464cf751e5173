"""What a head's own weights say, beside its roles: shown, and no part of any claim."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import torch
from torch import nn

from attnscope.errors import InputError
from attnscope.head_roles.batches import Head, read, reader_of, sites_of_text, trace_of
from attnscope.head_roles.rows import RoleRow
from attnscope.head_roles.texts import Text
from attnscope.models.length import embedding_of
from attnscope.statistics.from_weights.scores import known, scores_of
from attnscope.statistics.from_weights.vocabulary import Vocabulary
from attnscope.tracing.modules import in_eval
from attnscope.tracing.site import Site

LARGEST = 1 << 27  # numbers of an embedding: those of larger ones take minutes, so tokens are left out
Measures = tuple[tuple[str, float], ...]


def scores_by_head(model: nn.Module, texts: Sequence[Text]) -> dict[Head, Measures]:
    """The scores of attnscope.statistics.from_weights by name, of each head whose W_V and W_O are known. One of the `texts` is read to
    find them."""
    model, text = reader_of(model), min(texts, key=len)
    with in_eval(model), torch.no_grad():
        sites = sites_of_text(trace_of(read(model, [text], {"projections"}), [text], 0), len(text))
        return scores_of_sites(sites, _vocabulary(model) if any(map(known, sites)) else None)


def scores_of_sites(sites: Iterable[Site], vocabulary: Vocabulary | None = None) -> dict[Head, Measures]:
    """The same of sites that kept their projections; those of tokens with a `vocabulary` alone."""
    return {
        (site.layer, head): tuple((name, value) for name, row in found.items() if (value := row[head]) is not None)
        for site in sites
        if known(site)
        for found in [scores_of(site, vocabulary if vocabulary and vocabulary.fits(site) else None)]
        for head in range(site.heads)
    }


def with_scores(rows: Iterable[RoleRow], scores: Mapping[Head, Measures]) -> tuple[RoleRow, ...]:
    """The rows with the scores of their heads as measures."""
    return tuple(
        row
        if row.layer is None or row.head is None
        else replace(row, measures=(*row.measures, *scores.get((row.layer, row.head), ())))
        for row in rows
    )


def _vocabulary(model: nn.Module) -> Vocabulary | None:
    embedding = embedding_of(model)
    size = getattr(getattr(embedding, "weight", None), "numel", lambda: LARGEST + 1)()
    try:
        return Vocabulary(model) if size <= LARGEST else None
    except InputError:  # it reads more than ids
        return None
