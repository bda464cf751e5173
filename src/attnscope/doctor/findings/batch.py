"""Texts of one batch: whether they stay apart."""

from attnscope.doctor.findings.entry import Entry
from attnscope.doctor.findings.references import MULTIHEAD, RESHAPE

APART = "a text's output does not change when another text of the batch changes"
ORDER = "the order of batch and sequence"

CODE = """
class Attention(nn.Module):
    def __init__(self, width=30, heads=5):
        super().__init__()
        self.heads = heads
        self.q, self.k, self.v, self.out = (nn.Linear(width, width) for _ in range(4))

    def split(self, x):  # (length, batch, width) to (batch, heads, length, size)
        return x.unflatten(-1, (self.heads, -1)).permute(1, 2, 0, 3)

    def forward(self, x):  # (batch, length, width)
        x = x.transpose(0, 1)
        z = F.scaled_dot_product_attention(self.split(self.q(x)), self.split(self.k(x)), self.split(self.v(x)))
        y = self.out(z.permute(2, 0, 1, 3).flatten(2))  # (length, batch, width)
        return y.transpose(0, 1)

attention = Attention()
"""

ENTRIES = (
    Entry(
        id="batch-and-sequence-swapped",
        severity="error",
        row=22,
        title="attention runs across the batch: the input is read as (length, batch, width)",
        why="Texts of one batch see each other, and a text's own tokens do not.",
        cure="batch_first=True, or transpose(0, 1) before and after",
        invariant=APART,
        place=ORDER,
        wrong=CODE.replace("        x = x.transpose(0, 1)\n", "").replace("y.transpose(0, 1)", "y"),
        right=CODE,
        reference=MULTIHEAD,
    ),
    Entry(
        id="length-first-assumed",
        severity="warning",
        row=22,
        title="the first axis of the input is taken for the length: nn.MultiheadAttention without batch_first=True",
        why="Nothing in the source says which axis comes first. With (batch, length, width) the texts of one batch see each other, and a text's "
        "own tokens do not.",
        cure="batch_first=True; or, where (length, batch, width) is meant, say so: # (length, batch, width)",
        invariant=APART,
        place=ORDER,
        wrong="""
class Attention(nn.Module):
    def __init__(self, width=30, heads=5):
        super().__init__()
        self.attention = nn.MultiheadAttention(width, heads)

    def forward(self, x):
        return self.attention(x, x, x)[0]

attention = Attention()
""",
        right=("(width, heads)", "(width, heads, batch_first=True)"),
        reference=MULTIHEAD,
    ),
    Entry(
        id="batch-and-sequence-reshaped",
        severity="error",
        row=22,
        title="batch and sequence are exchanged by reshape, which mixes texts; transpose(0, 1) exchanges them",
        why="reshape keeps the order in memory, so tokens of different texts land in one sequence.",
        cure="x.transpose(0, 1)",
        invariant=APART,
        place=ORDER,
        wrong=CODE.replace("x.transpose(0, 1)", "x.reshape(x.shape[1], x.shape[0], -1)").replace(
            "y.transpose(0, 1)", "y.reshape(y.shape[1], y.shape[0], -1)"
        ),
        right=CODE,
        reference=RESHAPE,
    ),
    Entry(
        id="batch-leak",
        severity="error",
        row=22,
        title="a text's output depends on the other texts of its batch",
        why="Attention, or a reshape, runs across the batch.",
        cure="keep the batch axis first, and use transpose, not reshape, to move axes",
        evidence="text 0 moves by {moved:.3g} when only text 1 changes",
        invariant=APART,
        place="the order of the axes",
        wrong="""
def attention(query, key, value):  # (batch, length, size)
    scores = query @ key.mT / math.sqrt(query.shape[-1])
    return scores.softmax(dim=-1) @ (value - value.mean(dim=0))
""",
        right=("(value - value.mean(dim=0))", "value"),
        reference=RESHAPE,
    ),
)
