"""Eigenvalues of a head's two circuits (Elhage et al. 2021).

W_V · W_O and W_Q · W_Kᵀ are M × M, or V × V with the embedding around them, and of rank D at most: their eigenvalues other
than 0 are those of the D × D product of the same matrices in another order.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from attnscope.statistics.definitions import Statistic
from attnscope.statistics.from_weights.vocabulary import Vocabulary
from attnscope.tracing.head_projection import HeadProjection
from attnscope.tracing.site import Site

ELHAGE = "Elhage et al. 2021"
_WHAT = "Σ Re λ / Σ |λ|, λ the eigenvalues of"

SCORES = (
    Statistic(
        "copying",
        "copying, by weights",
        "",
        "Whether what a head writes is like what it read, by the eigenvalues of its value and output projections: 1 like it, "
        "−1 its opposite.",
        ELHAGE,
        f"{_WHAT} W_V W_O",
    ),
    Statistic(
        "copying_tokens",
        "copying of tokens, by weights",
        "",
        "Whether reading a token makes that token more likely as the next one, with the embedding before and the unembedding "
        "behind the head, and the gains of the norms between.",
        ELHAGE,
        f"{_WHAT} W_E W_V W_O W_U",
    ),
    Statistic(
        "query_key",
        "looks at its like, by weights",
        "",
        "Whether a head looks at vectors like the query's own, by the eigenvalues of its query and key projections, positions left "
        "out.",
        ELHAGE,
        f"{_WHAT} W_Q W_Kᵀ",
    ),
    Statistic(
        "query_key_tokens",
        "looks at the same token, by weights",
        "",
        "Whether a head looks at the query's own token, with the embedding on both sides, positions left out.",
        ELHAGE,
        f"{_WHAT} W_E W_Q W_Kᵀ W_Eᵀ",
    ),
)
OF_TOKENS = ("copying_tokens", "query_key_tokens")


@dataclass(frozen=True)
class Circuit:
    """The two matrices of a head. `write`: W_O, [Dv, M]. `value`, `query`, `key`: as torch stores them, [D, M]."""

    write: Float[Tensor, "Dv M"]
    value: Float[Tensor, "Dv M"]
    query: Float[Tensor, "D M"] | None
    key: Float[Tensor, "D M"] | None


def known(site: Site) -> bool:
    """Whether the weights behind a site are there: W_V, and W_O, of one text."""
    return not site.weights_only and site.kind == "self" and site.w_v is not None and site.projection is not None


def scores_of(site: Site, vocabulary: Vocabulary | None) -> dict[str, tuple[float | None, ...]]:
    """The scores of every head, by name; those of tokens with a `vocabulary` alone."""
    rows = [_scores(circuit, site, vocabulary) for circuit in _circuits(site)]
    return {name: tuple(row.get(name) for row in rows) for name in rows[0]}


def _scores(circuit: Circuit, site: Site, vocabulary: Vocabulary | None) -> dict[str, float | None]:
    found = {"copying": eigenvalue_score(circuit.write @ circuit.value.T)}
    if circuit.query is not None and circuit.key is not None:
        found["query_key"] = eigenvalue_score(circuit.key @ circuit.query.T)
    if vocabulary is not None:
        out, back = vocabulary.around(site)
        if out is not None:
            found["copying_tokens"] = eigenvalue_score(circuit.write @ out @ circuit.value.T)
        if circuit.query is not None and circuit.key is not None:
            found["query_key_tokens"] = eigenvalue_score(circuit.key @ back @ circuit.query.T)
    return dict(found)


def eigenvalue_score(product: Float[Tensor, "D D"]) -> float | None:
    """Σ Re λ / Σ |λ|; None where all are 0."""
    values = torch.linalg.eigvals(product)
    size = float(values.abs().sum())
    return float(values.real.sum()) / size if size > 0 else None


def _circuits(site: Site) -> list[Circuit]:
    blocks = site.output_projection().detach().cpu().double()
    group = site.heads // site.kv_heads
    queries = [_weight(site.w_q, head) for head in range(site.heads)]
    keys, values = ([_weight(one, head) for head in range(site.kv_heads)] for one in (site.w_k, site.w_v))
    return [
        Circuit(block, value, queries[head], keys[head // group])
        for head, block in enumerate(blocks)
        if (value := values[head // group]) is not None
    ]


def _weight(projection: HeadProjection | None, head: int) -> Float[Tensor, "D M"] | None:
    return None if projection is None else projection.weight(head).cpu().double()
