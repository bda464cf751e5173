"""What one query does in every head: its weights, each key's share of what the head writes, and how long that is."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from attnscope.attention.functions import key_shares
from attnscope.tracing.site import Site
from attnscope.tracing.trace import Trace


@dataclass(frozen=True, eq=False)
class QueryRows:
    """One query in all heads of one site. shares: see Site.share; None where only weights are known. writes: ‖write‖ of
    each head, None without W_O."""

    weights: Float[Tensor, "H K"]
    shares: Float[Tensor, "H K"] | None = None
    writes: Float[Tensor, " H"] | None = None


def query_rows(trace: Trace, site: Site, query: int) -> tuple[QueryRows | None, ...]:
    """The token at `query` among the query tokens of `site`, at every site; None where it is no query there."""
    tokens = trace.query_tokens(site)
    return tuple(_rows(one, query) if trace.query_tokens(one) is tokens else None for one in trace.sites)


def pair_values(row: QueryRows | None, key: int) -> tuple[Float[Tensor, " H"] | None, Float[Tensor, " H"] | None]:
    """Of one key: its weight, and its share times ‖write‖, in every head; None where it is not known."""
    if row is None or key >= row.weights.shape[1]:
        return None, None
    wrote = None if row.shares is None or row.writes is None else row.shares[:, key] * row.writes
    return row.weights[:, key], wrote


def _rows(site: Site, query: int) -> QueryRows | None:
    at = query - site.query_offset
    if not 0 <= at < site.queries:
        return None
    weights = site.weights(None, at)[:, 0].cpu()
    if site.weights_only:
        return QueryRows(weights)
    writes = None if site.projection is None else site.write(None, at)[:, 0].norm(dim=-1).cpu()
    return QueryRows(weights, key_shares(weights, site.norms()[1].cpu()), writes)
