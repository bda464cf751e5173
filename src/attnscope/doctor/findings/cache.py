"""A key/value cache: fewer queries than keys (`cached=`)."""

from attnscope.doctor.findings.entry import Entry
from attnscope.doctor.findings.references import CACHE, SDPA

SAME = "a run with a cache gives what a run without gives"
EVIDENCE = "the last {count} rows differ from the uncached run by up to {far:.2g} standard deviations"

CODE = """
class Attention(nn.Module):
    def __init__(self, width=24, heads=4):
        super().__init__()
        self.heads = heads
        self.q, self.k, self.v, self.out = (nn.Linear(width, width) for _ in range(4))

    def forward(self, x, past_key_value=None, use_cache=False):
        q, k, v = (f(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for f in (self.q, self.k, self.v))
        if past_key_value is not None:
            k, v = (torch.cat([old, new], dim=2) for old, new in zip(past_key_value, (k, v)))
        allowed = torch.ones(q.shape[2], k.shape[2], dtype=torch.bool).tril(k.shape[2] - q.shape[2])
        y = self.out(F.scaled_dot_product_attention(q, k, v, attn_mask=allowed).transpose(1, 2).flatten(2))
        return (y, (k, v)) if use_cache else y

attention = Attention()
"""
ROTARY = CODE.replace(
    "        if past_key_value is not None:",
    """        first = 0 if past_key_value is None else past_key_value[0].shape[2]
        angle = torch.arange(first, first + x.shape[1])[:, None] * 1e4 ** -torch.tensor([0, 1 / 3, 2 / 3])
        cos, sin = torch.cat([angle, angle], -1).cos(), torch.cat([angle, angle], -1).sin()
        q, k = (t * cos + torch.cat([-t[..., 3:], t[..., :3]], -1) * sin for t in (q, k))
        if past_key_value is not None:""",
)
FIRST = "first = 0 if past_key_value is None else past_key_value[0].shape[2]"
CALL = "attnscope.check(attention, cached=True)"

ENTRIES = (
    Entry(
        id="causal-upper-left",
        severity="error",
        row=18,
        title="with a key/value cache (Q < K) the causal triangle stands at the upper left; it belongs at the lower right",
        why="The last queries then see only the first keys: scaled_dot_product_attention(is_causal=True) does this.",
        cure="torch.ones(Q, K, dtype=torch.bool).tril(diagonal=K - Q)",
        evidence=EVIDENCE,
        invariant=SAME,
        place="the causal triangle when Q < K",
        wrong="""
def attention(query, key, value):
    return F.scaled_dot_product_attention(query, key, value, is_causal=True)
""",
        right="""
def attention(query, key, value):
    queries, keys = query.shape[-2], key.shape[-2]
    allowed = torch.ones(queries, keys, dtype=torch.bool).tril(diagonal=keys - queries)
    return F.scaled_dot_product_attention(query, key, value, attn_mask=allowed)
""",
        call=CALL,
        reference=SDPA,
    ),
    Entry(
        id="cached-differs",
        severity="error",
        row=18,
        title="with a key/value cache the output is not what it is without",
        why="A causal triangle aligned at the upper left, positions that begin at 0 again (rotary), or a cache in another order "
        "all look like this.",
        cure="align the triangle at the lower right, tril(diagonal=K - Q), and count positions from the length of the cache",
        evidence=EVIDENCE,
        invariant=SAME,
        place="what happens when Q < K: the triangle, the positions, the joining of keys",
        wrong=CODE.replace("torch.cat([old, new], dim=2)", "torch.cat([new, old], dim=2)"),
        right=("torch.cat([new, old], dim=2)", "torch.cat([old, new], dim=2)"),
        call=CALL,
        reference=CACHE,
    ),
    Entry(
        id="cached-positions",
        severity="error",
        row=18,
        title="with a key/value cache the positions of the new tokens begin at 0 again",
        why="The new queries and keys are then turned, or moved, as if a text began with them, so their distance to the tokens in the cache is "
        "wrong. A run without a cache is right, so training does not show it.",
        cure="positions from the length of the cache: torch.arange(past, past + new)",
        evidence=EVIDENCE + "; the keys that join the cache are those of a text that begins with the new tokens",
        invariant=SAME,
        place="the positions when Q < K",
        wrong=ROTARY.replace(FIRST, "first = 0"),
        right=ROTARY,
        call=CALL,
        reference=CACHE,
    ),
    Entry(
        id="cached-raises",
        severity="error",
        row=18,
        what="with its cache the module raises, or returns no output",
        title="with its cache it {does}",
        why="Generation calls it with one query and many keys.",
        cure="let queries be fewer than keys",
        evidence="four tokens, then three with the cache of the four",
        invariant=SAME,
        place="what happens when Q < K",
        wrong=CODE.replace(
            "torch.ones(q.shape[2], k.shape[2], dtype=torch.bool).tril(k.shape[2] - q.shape[2])",
            "torch.ones(q.shape[2], q.shape[2], dtype=torch.bool).tril()",
        ),
        right=CODE,
        call=CALL,
        reference=CACHE,
    ),
)
