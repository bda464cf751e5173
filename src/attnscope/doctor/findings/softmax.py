"""The softmax: over which axis it runs, and whether each row sums to 1."""

from attnscope.doctor.findings.entry import Entry
from attnscope.doctor.findings.references import ATTENTION

SUMS = "every query's weights sum to 1"
CURE = "softmax(scores, dim=-1)"

SINGLE = """
def attention(query, key, value):  # (batch, length, size)
    scores = query @ key.mT / math.sqrt(query.shape[-1])
    return scores.softmax(dim=-1) @ value
"""
BY_HEAD = """
def attention(query, key, value):  # (batch, heads, length, size)
    scores = query @ key.mT / math.sqrt(query.shape[-1])
    return scores.softmax(dim=1) @ value
"""

ENTRIES = (
    Entry(
        id="softmax-over-queries",
        severity="error",
        row=1,
        what="softmax runs over queries; it should run over keys",
        title="softmax runs over queries (dim={queries}); keys are dim=-1 of {shape}",
        why="Each key's column then sums to 1 and a query's row does not, so a query's output is no average of values. "
        "The model still trains, so the loss does not show it.",
        cure=CURE,
        invariant=SUMS,
        place="the softmax",
        wrong=SINGLE.replace("dim=-1", "dim=1"),
        right=("dim=1", "dim=-1"),
        reference=ATTENTION,
    ),
    Entry(
        id="softmax-over-heads",
        severity="error",
        row=1,
        what="softmax runs over heads; it should run over keys",
        title="softmax runs over heads (dim=1); keys are dim=-1 of {shape}",
        why="Heads then compete for each pair of tokens, and a query's weights do not sum to 1.",
        cure=CURE,
        invariant=SUMS,
        place="the softmax",
        wrong=BY_HEAD,
        right=("dim=1", "dim=-1"),
        reference=ATTENTION,
    ),
    Entry(
        id="softmax-over-batch",
        severity="error",
        row=1,
        what="softmax runs over the batch; it should run over keys",
        title="softmax runs over the batch (dim=0); keys are dim=-1 of {shape}",
        why="The texts of a batch then change each other's weights, and a query's weights do not sum to 1.",
        cure=CURE,
        invariant=SUMS,
        place="the softmax",
        wrong=SINGLE.replace("dim=-1", "dim=0"),
        right=("dim=0", "dim=-1"),
        reference=ATTENTION,
    ),
    Entry(
        id="softmax-over-all",
        severity="error",
        row=1,
        what="softmax runs over queries and keys together; it should run over keys alone",
        title="softmax runs over queries and keys together; keys alone are dim=-1 of {shape}",
        why="The whole matrix then sums to 1, where each row should.",
        cure=CURE,
        invariant=SUMS,
        place="the softmax",
        wrong=SINGLE.replace("scores.softmax(dim=-1)", "scores.flatten(1).softmax(dim=-1).view(scores.shape)"),
        right=("scores.flatten(1).softmax(dim=-1).view(scores.shape)", "scores.softmax(dim=-1)"),
        reference=ATTENTION,
    ),
    Entry(
        id="row-sums",
        severity="error",
        row=1,
        title="the weights of a query do not sum to 1",
        why="A query's output is then no average of values.",
        cure="take the softmax over the keys, the last axis, after masking",
        evidence="row sums between {least:.3g} and {most:.3g}",
        invariant=SUMS,
        place="the softmax",
        wrong="""
def attention(query, key, value):  # (batch, length, size)
    scores = query @ key.mT / math.sqrt(query.shape[-1])
    weights = scores.softmax(dim=-1) * 0.5
    return weights @ value, weights
""",
        right=(" * 0.5", ""),
        reference=ATTENTION,
    ),
)
