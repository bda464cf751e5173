"""Normalised queries and keys: along which axis."""

from attnscope.doctor.findings.entry import Entry
from attnscope.doctor.findings.references import LAYER_NORM, QK_NORM

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


BLOCK = """
class Block(nn.Module):
    def __init__(self, width=30, heads=5):
        super().__init__()
        self.heads = heads
        self.q, self.k, self.v, self.out = (nn.Linear(width, width) for _ in range(4))

    def norm(self, x):  # (batch, length, width)
        return (x - x.mean(dim=-1, keepdim=True)) / (x.std(dim=-1, keepdim=True) + 1e-6)

    def forward(self, x):
        y = self.norm(x)
        q, k, v = (f(y).unflatten(-1, (self.heads, -1)).transpose(1, 2) for f in (self.q, self.k, self.v))
        return x + self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))

attention = Block()
"""

ENTRIES = (
    Entry(
        id="norm-of-all-tokens",
        severity="error",
        title="the norm beside the attention runs over the tokens of a text; it should run over the width of each token alone",
        why="Each token then changes with all others of its text, later ones and padding too, and a text of one token becomes zeros.",
        cure="x.mean(dim=-1, keepdim=True) and x.std(dim=-1, keepdim=True) of (batch, length, width), or nn.LayerNorm(width)",
        evidence="{text}",
        invariant="a norm treats each token alone",
        place="the norm",
        wrong=BLOCK.replace("dim=-1, keepdim", "dim=1, keepdim"),
        right=BLOCK,
        reference=LAYER_NORM,
    ),
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
