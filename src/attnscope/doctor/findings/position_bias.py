"""A bias for the distance between a query and a key that the code adds by itself."""

from attnscope.doctor.findings.entry import Entry
from attnscope.doctor.findings.references import EXTRAPOLATION

GROWING = """
def attention(query, key, value):  # (batch, length, size), with a bias for the distance
    scores = query @ key.mT / math.sqrt(query.shape[-1])
    i = torch.arange(scores.shape[-1])
    far = i[:, None] - i
    return (scores + 0.25 * far).masked_fill(far < 0, -torch.inf).softmax(dim=-1) @ value
"""

ENTRIES = (
    Entry(
        id="position-bias-grows",
        severity="warning",
        title="the bias that is added to the scores grows with the distance, in every head",
        why="ALiBi takes something off for each step back, so that near keys count more. With the other sign the furthest key is preferred, the more "
        "the longer the text is.",
        cure="slope * (j - i), which is 0 for the query itself and negative before it",
        evidence="from the nearest to the furthest key it grows by up to {most:.3g}",
        invariant="a bias for the distance prefers near keys",
        place="the sign of the bias",
        wrong=GROWING,
        right=("scores + 0.25 * far", "scores - 0.25 * far"),
        reference=EXTRAPOLATION,
    ),
)
