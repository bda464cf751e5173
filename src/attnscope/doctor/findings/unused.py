"""What a module takes and does not use: an input, or some rows of a projection."""

from attnscope.doctor.findings.entry import Entry
from attnscope.doctor.findings.parts import ALL_COUNT
from attnscope.doctor.findings.references import ATTENTION

CROSS = """
class Attention(nn.Module):
    def __init__(self, width=30, heads=5):
        super().__init__()
        self.heads = heads
        self.q, self.k, self.v, self.out = (nn.Linear(width, width) for _ in range(4))

    def forward(self, x, context=None):
        context = x if context is None else context
        q, k, v = (y.unflatten(-1, (self.heads, -1)).transpose(1, 2) for y in (self.q(x), self.k(context), self.v(context)))
        z = F.scaled_dot_product_attention(q, k, v)
        return self.out(z.transpose(1, 2).flatten(2))

attention = Attention()
"""
HALVES = """
class Attention(nn.Module):
    def __init__(self, width=20):
        super().__init__()
        self.q, self.k, self.v, self.out = (nn.Linear(width, width) for _ in range(4))
        self.lam = nn.Parameter(torch.tensor(0.3))

    def forward(self, x):
        (q1, q2), (k1, k2) = self.q(x).chunk(2, dim=-1), self.k(x).chunk(2, dim=-1)
        first = (q1 @ k1.mT / math.sqrt(q1.shape[-1])).softmax(dim=-1)
        second = (q2 @ k2.mT / math.sqrt(q2.shape[-1])).softmax(dim=-1)
        return self.out((first - self.lam * second) @ self.v(x))

attention = Attention()
"""

ENTRIES = (
    Entry(
        id="context-ignored",
        severity="error",
        what="keys and values do not come from the context that the module takes: it has no effect",
        title="{name!r} has no effect: with other numbers in it the output is the same",
        why="Cross-attention that reads its own sequence in place of the other still trains, and learns nothing of the other.",
        cure="self.k(context), self.v(context)",
        invariant=ALL_COUNT,
        place="what keys and values are made of",
        wrong=CROSS.replace("self.k(context), self.v(context)", "self.k(x), self.v(x)"),
        right=CROSS,
        reference=ATTENTION,
    ),
    Entry(
        id="projection-partly-unused",
        severity="error",
        what="a part of a projection has no effect on the output",
        title="{idle} of the {count} numbers that {name} makes for each token have no effect on the output",
        why="What a projection makes is there to be used. One half or one head that plays no part is mostly another one used twice.",
        cure="use every part of what is projected, each once",
        invariant=ALL_COUNT,
        place="where the projected vector is cut into parts",
        wrong=HALVES.replace("q2 @ k2.mT / math.sqrt(q2", "q1 @ k1.mT / math.sqrt(q1"),
        right=HALVES,
        reference=ATTENTION,
    ),
    Entry(
        id="outputs-alike",
        severity="error",
        title="every token of a text gets the same output, whatever the tokens are",
        why="One query then asks for all of them: the last token's, say, or a mean. Attention asks once for each token.",
        cure="project all tokens to queries, and keep the axis of queries to the end",
        invariant=ALL_COUNT,
        place="the axis of queries",
        wrong=HALVES.replace("self.lam * second) @", "self.lam * second).mean(dim=1, keepdim=True).expand_as(first) @"),
        right=HALVES,
        reference=ATTENTION,
    ),
)
