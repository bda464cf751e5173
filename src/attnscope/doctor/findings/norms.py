"""Normalised queries and keys: along which axis."""

from attnscope.doctor.findings.entry import Entry
from attnscope.doctor.findings.references import QK_NORM

CODE = """
def attention(query, key, value):  # (batch, heads, length, size)
    query, key = F.normalize(query, dim=-1), F.normalize(key, dim=-1)
    weights = (10 * query @ key.mT).softmax(dim=-1)
    return weights @ value
"""
NORMS = "F.normalize(query, dim=-1), F.normalize(key, dim=-1)"


def _along(id: str, axis: str, dim: int, why: str) -> Entry:
    return Entry(
        id=id,
        severity="error",
        title=f"queries and keys are normalised along the axis of {axis}; it should be that of the head's dimensions",
        why=why,
        cure="F.normalize(query, dim=-1) of (batch, heads, length, size), and so for the keys",
        invariant="q · k of a query and a key depends on these two alone",
        place="where queries and keys are normalised",
        wrong=CODE.replace("dim=-1)", f"dim={dim})", 2),
        right=(NORMS.replace("-1", str(dim)), NORMS),
        reference=QK_NORM,
    )


ENTRIES = (
    _along(
        "norm-over-tokens",
        "tokens",
        -2,
        "Each dimension is then divided by its length over all tokens: a token's query changes with the other tokens of its text, "
        "with later ones too, and with the padding.",
    ),
    _along(
        "norm-over-heads",
        "heads",
        1,
        "Each dimension is then divided by its length over all heads: heads are no longer apart, and q · k is no cosine.",
    ),
)
