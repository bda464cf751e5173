"""A bias for the distance between a query and a key that the code adds by itself."""

from attnscope.doctor.findings.entry import Entry
from attnscope.doctor.findings.references import EXTRAPOLATION, RESHAPE

GROWING = """
def attention(query, key, value):  # (batch, length, size), with a bias for the distance
    scores = query @ key.mT / math.sqrt(query.shape[-1])
    i = torch.arange(scores.shape[-1])
    far = i[:, None] - i
    return (scores + 0.25 * far).masked_fill(far < 0, -torch.inf).softmax(dim=-1) @ value
"""

TABLE = """
class Attention(nn.Module):
    def __init__(self, width=24, heads=3, longest=32):
        super().__init__()
        self.heads, self.longest = heads, longest
        self.q, self.k, self.v, self.out = (nn.Linear(width, width) for _ in range(4))
        self.table = nn.Parameter(torch.randn(2 * longest - 1, heads))

    def forward(self, x):
        q, k, v = (f(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for f in (self.q, self.k, self.v))
        i = torch.arange(x.shape[1])
        bias = self.table[i - i[:, None] + self.longest - 1]  # (query, key, heads)
        scores = q @ k.mT / math.sqrt(q.shape[-1]) + bias.permute(2, 0, 1)
        return self.out((scores.softmax(dim=-1) @ v).transpose(1, 2).flatten(2))

attention = Attention()
"""

LATE = """
def attention(query, key, value):  # (batch, length, size), with a bias for the distance
    scores = query @ key.mT / math.sqrt(query.shape[-1])
    i = torch.arange(scores.shape[-1])
    bias = -0.25 * (i[:, None] - i).abs()
    return (scores + bias).softmax(dim=-1) @ value
"""

ENTRIES = (
    Entry(
        id="bias-after-softmax",
        severity="error",
        title="a bias is added to the weights, after the softmax",
        why="The weights of a row then no longer sum to 1, and may be negative: the bias multiplies values where it should favour keys.",
        cure="weights = (scores + bias).softmax(dim=-1)",
        evidence="the output is the right one and, in every text, the same weights times the values beside it; they move the sums of the rows by up "
        "to {most:.3g}",
        invariant="the weights of a query sum to 1",
        place="where the bias is added",
        wrong=LATE.replace("(scores + bias).softmax(dim=-1)", "(scores.softmax(dim=-1) + bias)"),
        right=LATE,
        reference=EXTRAPOLATION,
    ),
    Entry(
        id="position-bias-scrambled",
        severity="error",
        what="the position bias of the heads is scrambled: viewed as (heads, query, key) where its axes should be permuted",
        title="the position bias is viewed as ({heads}, {queries}, {keys}) where its axes (query, key, head) should be permuted",
        why="A view keeps the numbers in their order in memory. The numbers that belong to other heads and other pairs then stand at each pair, "
        "and the distance plays no part.",
        cure="bias.permute(2, 0, 1), from (query, key, head) to (head, query, key)",
        evidence="as it is added, no row of the table stands at each pair; read as (query, key, head), one does",
        invariant="the bias of a pair is a row of the table, a number for each head",
        place="the axes of the bias",
        wrong=TABLE.replace("bias.permute(2, 0, 1)", "bias.view(self.heads, *bias.shape[:2])"),
        right=TABLE,
        reference=RESHAPE,
    ),
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
