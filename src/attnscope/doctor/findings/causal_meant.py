"""Code that means to be causal, by its words or by a triangle that it makes, and in which every query sees every key."""

from attnscope.doctor.findings.causal_mask import CAUSAL
from attnscope.doctor.findings.entry import Entry
from attnscope.doctor.findings.references import ATTENTION

DISCARDED = """
def attention(query, key, value):  # (batch, length, size)
    scores = query @ key.mT / math.sqrt(query.shape[-1])
    later = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(diagonal=1)
    scores.masked_fill(later, -torch.inf)
    return scores.softmax(dim=-1) @ value
"""
BOTH_SIDES = '''
def attention(query, key, value):
    """Causal attention in a window of 3, (batch, length, size)."""
    scores = query @ key.mT / math.sqrt(query.shape[-1])
    i = torch.arange(scores.shape[-1])
    near = (i[:, None] - i).abs() < 3
    return scores.masked_fill(~near, -torch.inf).softmax(dim=-1) @ value
'''

ENTRIES = (
    Entry(
        id="triangle-without-effect",
        severity="error",
        row=11,
        what="a causal triangle is made, and every query sees every key",
        title="it makes a triangle of {length} × {length} ({where}), and every query sees every key",
        why="masked_fill and masking by index return a new tensor or need an assignment; a buffer that forward never reads masks nothing.",
        cure="scores = scores.masked_fill(later, -inf), in front of the softmax",
        evidence="the first tokens move by {moved:.3g} when only the last token changes",
        invariant=CAUSAL,
        place="what becomes of the triangle",
        wrong=DISCARDED,
        right=("    scores.masked_fill(", "    scores = scores.masked_fill("),
        reference=ATTENTION,
    ),
    Entry(
        id="not-causal-as-stated",
        severity="error",
        row=11,
        what="its name or its words say that it is causal, and tokens see later ones",
        title="{words!r} says that it is causal, and tokens see later ones",
        why="A model that is trained to predict the next token then reads it, and has nothing to read when it generates.",
        cure="allow only keys at or before the query",
        evidence="the first tokens move by {moved:.3g} when only the last token changes",
        invariant=CAUSAL,
        place="the pattern of keys that a query may see",
        wrong=BOTH_SIDES,
        right=("near = (i[:, None] - i).abs() < 3", "near = ((i[:, None] - i) < 3) & (i[:, None] >= i)"),
        reference=ATTENTION,
    ),
)
