"""The causal mask that the code makes itself: how it is applied, which way round, where its diagonal stands."""

from attnscope.doctor.findings.entry import Entry
from attnscope.doctor.findings.references import ATTENTION, SDPA

CAUSAL = "what a token sees does not change when a later token changes"
MASKED = "a masked key has a weight of exactly 0, and the weights of the others sum to 1"
APPLIED = "how the causal mask is applied"
DIAGONAL = "the diagonal of the causal triangle"
FILL = "scores.masked_fill(~allowed, -inf)"
DIAGONAL_CURE = "tril(diagonal=0), or triu(diagonal=1) for what to drop"

CODE = """
def attention(query, key, value):  # (batch, length, size)
    scores = query @ key.mT / math.sqrt(query.shape[-1])
    allowed = torch.ones(scores.shape[-2:], dtype=torch.bool).tril()
    return scores.masked_fill(~allowed, -torch.inf).softmax(dim=-1) @ value
"""
MASKING = "scores.masked_fill(~allowed, -torch.inf)"
EVERY_SECOND = """
def attention(query, key, value):  # (batch, length, size)
    scores = query @ key.mT / math.sqrt(query.shape[-1])
    i = torch.arange(scores.shape[-1])
    distance = i[:, None] - i
    allowed = distance % 2 == 0
    return scores.masked_fill(~allowed, -torch.inf).softmax(dim=-1) @ value
"""
PREFIXED = """
class Attention(nn.Module):
    def __init__(self, width=30, prefix=3):
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(width, width) for _ in range(3))
        self.prefix_keys = nn.Parameter(torch.randn(prefix, width))
        self.prefix_values = nn.Parameter(torch.randn(prefix, width))

    def forward(self, x):
        batch, length, width = x.shape
        k = torch.cat([self.prefix_keys.expand(batch, -1, -1), self.k(x)], dim=1)
        v = torch.cat([self.prefix_values.expand(batch, -1, -1), self.v(x)], dim=1)
        scores = self.q(x) @ k.mT / math.sqrt(width)
        allowed = torch.ones(scores.shape[-2:], dtype=torch.bool).tril()
        return scores.masked_fill(~allowed, -torch.inf).softmax(dim=-1) @ v

attention = Attention()
"""
COUNTED = "torch.ones(scores.shape[-2:], dtype=torch.bool).tril()"
WINDOW = """
class Attention(nn.Module):
    def __init__(self, width=30, window=3):
        super().__init__()
        self.window, self.q, self.k, self.v = window, *(nn.Linear(width, width) for _ in range(3))

    def forward(self, x):
        scores = self.q(x) @ self.k(x).mT / math.sqrt(x.shape[-1])
        i = torch.arange(x.shape[1])
        distance = i[:, None] - i
        allowed = (distance >= 0) & (distance <= self.window)
        return scores.masked_fill(~allowed, -torch.inf).softmax(dim=-1) @ self.v(x)

attention = Attention()
"""

ENTRIES = (
    Entry(
        id="causal-after-softmax",
        severity="error",
        row=4,
        title="the causal mask is applied after the softmax",
        why="Masked keys have already taken their share, so the remaining weights sum to less than 1 and still depend on "
        "later tokens.",
        cure="mask the scores with -inf, then take the softmax",
        invariant=MASKED,
        place="where the causal mask is applied",
        wrong=CODE.replace(f"{MASKING}.softmax(dim=-1)", "(scores.softmax(dim=-1) * allowed)"),
        right=("(scores.softmax(dim=-1) * allowed)", f"{MASKING}.softmax(dim=-1)"),
        reference=ATTENTION,
    ),
    Entry(
        id="causal-multiplied",
        severity="error",
        row=5,
        title="the causal mask multiplies the scores; a score of 0 still gets weight exp(0)",
        why="0 is an ordinary score, often a large one, so a token sees later ones.",
        cure=FILL,
        invariant=MASKED,
        place=APPLIED,
        wrong=CODE.replace(MASKING, "(scores * allowed)"),
        right=("(scores * allowed)", MASKING),
        reference=ATTENTION,
    ),
    Entry(
        id="causal-filled-with-zero",
        severity="error",
        row=5,
        title="scores of later tokens are filled with 0 (or a tiny number) instead of -inf",
        why="0 is an ordinary score, often a large one, so a token sees later ones.",
        cure=FILL,
        invariant=MASKED,
        place=APPLIED,
        wrong=CODE.replace("-torch.inf", "0.0"),
        right=("0.0", "-torch.inf"),
        reference=ATTENTION,
    ),
    Entry(
        id="causal-inverted",
        severity="error",
        row=9,
        title="the causal mask is inverted: a token sees only what comes after it",
        why="In scaled_dot_product_attention True means keep, in nn.MultiheadAttention True means drop; masked_fill fills "
        "where True.",
        cure="invert the mask: torch.ones(T, T, dtype=torch.bool).tril() is True where a token may look",
        invariant=CAUSAL,
        place="the polarity of the causal mask",
        wrong=CODE.replace("~allowed", "allowed"),
        right=("masked_fill(allowed", "masked_fill(~allowed"),
        reference=SDPA,
    ),
    Entry(
        id="causal-transposed",
        severity="error",
        row=9,
        title="the causal triangle is the upper one: a token sees itself and what comes after it",
        why="Rows are queries and columns are keys, so the past of a token is left of the diagonal.",
        cure="use the lower triangle: torch.ones(T, T, dtype=torch.bool).tril()",
        invariant=CAUSAL,
        place="the causal triangle",
        wrong=CODE.replace("tril()", "triu()"),
        right=("triu()", "tril()"),
        reference=SDPA,
    ),
    Entry(
        id="causal-added-keep",
        severity="error",
        row=10,
        title="a 0/1 mask (1: keep) is added to the scores as if it were 0/-inf",
        why="Adding 1 to what a token may see masks nothing: later tokens still get weight.",
        cure="use a boolean mask, or turn it into 0 and -inf first",
        invariant=CAUSAL,
        place=APPLIED,
        wrong=CODE.replace(MASKING, "(scores + allowed)"),
        right=("(scores + allowed)", MASKING),
        call="attnscope.check(attention, causal=True)",
        reference=SDPA,
    ),
    Entry(
        id="causal-added-drop",
        severity="error",
        row=10,
        title="a 0/1 mask (1: drop) is added to the scores as if it were 0/-inf",
        why="Adding 1 to what a token must not see masks nothing: it favours it.",
        cure="use a boolean mask, or multiply it by a large negative number first",
        invariant=CAUSAL,
        place=APPLIED,
        wrong=CODE.replace(MASKING, "(scores + ~allowed)"),
        right=("(scores + ~allowed)", MASKING),
        call="attnscope.check(attention, causal=True)",
        reference=SDPA,
    ),
    Entry(
        id="causal-one-too-many",
        severity="error",
        row=11,
        title="the causal triangle is off by one: each token sees the next one",
        why="tril(diagonal=1) shows the answer to the model, so training loss falls and generation fails.",
        cure=DIAGONAL_CURE,
        invariant=CAUSAL,
        place=DIAGONAL,
        wrong=CODE.replace("tril()", "tril(diagonal=1)"),
        right=("tril(diagonal=1)", "tril()"),
        reference=ATTENTION,
    ),
    Entry(
        id="causal-one-too-few",
        severity="error",
        row=11,
        title="the causal triangle is off by one: a token does not see itself",
        why="Row 0 then has no key at all (NaN, zeros or uniform), and every token misses its own value.",
        cure=DIAGONAL_CURE,
        invariant="row 0 attends to itself alone, with weight 1",
        place=DIAGONAL,
        wrong=CODE.replace("tril()", "tril(diagonal=-1)"),
        right=("tril(diagonal=-1)", "tril()"),
        reference=ATTENTION,
    ),
    Entry(
        id="causal-off",
        severity="error",
        row=11,
        what="the causal triangle is off by more than one token",
        title="the causal triangle is off: each token {sees}",
        why="Rows are queries, columns are keys; a token sees itself and what came before.",
        cure=DIAGONAL_CURE,
        evidence="the last key that a query sees is {shift} places after the diagonal",
        invariant=CAUSAL,
        place=DIAGONAL,
        wrong=CODE.replace("tril()", "tril(diagonal=2)"),
        right=("tril(diagonal=2)", "tril()"),
        reference=ATTENTION,
    ),
    Entry(
        id="causality",
        severity="error",
        what="the code is causal and was declared not to be, or the other way round",
        title="causal={declared} is declared, and the code {does}",
        why="",
        cure="if it is to be causal, allow only keys at or before the query: torch.ones(T, T, dtype=torch.bool).tril(); if "
        "not, leave the triangle out",
        invariant=CAUSAL,
        place="the causal mask",
        wrong=CODE.replace(MASKING, "scores"),
        right=("scores.softmax", f"{MASKING}.softmax"),
        call="attnscope.check(attention, causal=True)",
        reference=ATTENTION,
    ),
    Entry(
        id="causal-counts-prefix",
        severity="error",
        row=11,
        title="the causal triangle counts the prefix as tokens: a token sees neither itself nor those just before it",
        why="Keys of the module's own stand before those of the tokens, so token i is key prefix + i. A triangle that begins at the first "
        "column ends too early by the whole prefix.",
        cure="tril(diagonal=prefix), so that every query sees the prefix, and the tokens up to itself",
        invariant="a token sees itself",
        place=DIAGONAL,
        wrong=PREFIXED,
        right=(COUNTED, COUNTED.replace("tril()", "tril(scores.shape[-1] - length)")),
        reference="Li and Liang 2021, Prefix-Tuning: https://arxiv.org/abs/2101.00190",
    ),
    Entry(
        id="sees-the-future",
        severity="error",
        row=11,
        title="causal=True is declared, and tokens see later ones",
        why="",
        cure="allow only keys at or before the query",
        invariant=CAUSAL,
        place="the pattern of keys that a query may see",
        wrong=EVERY_SECOND,
        right=("distance % 2 == 0", "(distance % 2 == 0) & (distance >= 0)"),
        call="attnscope.check(attention, causal=True)",
        reference=ATTENTION,
    ),
    Entry(
        id="window-one-more",
        severity="note",
        what="a query sees one key more than the window's number says",
        title="the window is called {said}, and a query sees {seen} keys: itself and {said} before it",
        why="Most papers and kernels count the query's own key: a window of {said} is i - j < {said}. Here it is i - j <= {said}, which is right "
        "where the number means the keys before the query.",
        cure="i - j < window, if the window counts the token itself",
        evidence="keys that a late query sees: {seen}",
        invariant="a window of n keys has n keys",
        place="the pattern of keys that a query may see",
        wrong=WINDOW,
        right=("distance <= self.window", "distance < self.window"),
        reference="Beltagy et al. 2020, Longformer: https://arxiv.org/abs/2004.05150",
    ),
    Entry(
        id="pattern-empty-row",
        severity="warning",
        row=7,
        title="the code's own pattern leaves a query without any key",
        why="Its weights are then NaN, or even over masked keys.",
        cure="let every token see itself",
        evidence="queries {queries} may see no key",
        invariant="every query may see a key",
        place="the pattern of keys that a query may see",
        wrong=EVERY_SECOND.replace("distance % 2 == 0", "(distance % 2 == 0) & (distance > 0)"),
        right=("distance > 0", "distance >= 0"),
        reference=SDPA,
    ),
    Entry(
        id="pattern-unseen-key",
        severity="warning",
        title="the code's own pattern hides a token from every query",
        why="That token takes no part, which a loop or a slice that ends one too early does as well.",
        cure="let every token see itself; range(length), not range(length - 1)",
        evidence="no query may see key {keys}",
        invariant="every key may be seen by a query",
        place="the pattern of keys that a query may see",
        wrong=EVERY_SECOND.replace("distance % 2 == 0", "(i < len(i) - 1).expand(len(i), -1)"),
        right=("(i < len(i) - 1)", "(i < len(i))"),
        reference=SDPA,
    ),
)
