"""Heads: how the width is cut into them and joined again, fused weights, grouped key/value heads, the output projection."""

from attnscope.doctor.findings.entry import Entry
from attnscope.doctor.findings.references import ATTENTION, CIRCUITS, FUSED, GROUPS, RESHAPE

ALIKE = "when tokens change places, outputs change places alike"
GROUPED = "query heads of one group use the same key/value head"
SUM = "the sum over heads of what each writes, plus the bias, is the output"
AVERAGED = (
    "(q @ k.mT / q.shape[-1] ** 0.5).softmax(dim=-1).mean(dim=1, keepdim=True) @ v",
    "F.scaled_dot_product_attention(q, k, v)",
)
REPEATED = "where key/value heads are repeated"

CODE = """
class Attention(nn.Module):
    def __init__(self, width=30, heads=5):
        super().__init__()
        self.heads = heads
        self.q, self.k, self.v, self.out = (nn.Linear(width, width) for _ in range(4))

    def split(self, x):
        batch, length, width = x.shape
        return x.view(batch, length, self.heads, -1).transpose(1, 2)

    def forward(self, x):
        q, k, v = self.split(self.q(x)), self.split(self.k(x)), self.split(self.v(x))
        z = F.scaled_dot_product_attention(q, k, v)
        return self.out(z.transpose(1, 2).reshape(x.shape))

attention = Attention()
"""
SPLIT = "x.view(batch, length, self.heads, -1).transpose(1, 2)"
VIEWED = "x.view(batch, self.heads, length, -1)"
FUSED_CODE = """
class Attention(nn.Module):
    def __init__(self, width=30, heads=5):
        super().__init__()
        self.heads, self.qkv, self.out = heads, nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x):
        batch, length, width = x.shape
        q, k, v = self.qkv(x).reshape(batch, 3, self.heads, length, -1).unbind(1)
        z = F.scaled_dot_product_attention(q, k, v)
        return self.out(z.transpose(1, 2).reshape(x.shape))

attention = Attention()
"""
LAYOUTS = """
class Attention(nn.Module):
    def __init__(self, by_head, width=30, heads=5):
        super().__init__()
        self.by_head, self.heads = by_head, heads
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x):
        fused = self.qkv(x)
        if self.by_head:  # q, k, v of head 0, then of head 1, ... (GPT-NeoX, BLOOM)
            q, k, v = fused.unflatten(-1, (self.heads, 3, -1)).permute(3, 0, 2, 1, 4)
        else:  # all q, then all k, then all v (GPT-2)
            q, k, v = fused.unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        z = F.scaled_dot_product_attention(q, k, v)
        return self.out(z.transpose(1, 2).flatten(2))

reference = Attention(by_head=True)
attention = Attention(by_head=False)
attention.load_state_dict(reference.state_dict())
"""
GROUPS_CODE = """
def attention(query, key, value):  # (batch, heads, length, size); key and value have fewer heads, which are repeated
    n = query.shape[1] // key.shape[1]
    key = key.repeat_interleave(n, dim=1)
    value = value.repeat_interleave(n, dim=1)
    return F.scaled_dot_product_attention(query, key, value)
"""
TILED_KEY, TILED_VALUE = "key.repeat(1, n, 1, 1)", "value.repeat(1, n, 1, 1)"
KEY, VALUE = "key.repeat_interleave(n, dim=1)", "value.repeat_interleave(n, dim=1)"
SLICED = """
class Attention(nn.Module):
    def __init__(self, by_head, width=30, heads=5):
        super().__init__()
        self.by_head, self.heads = by_head, heads
        self.q, self.k, self.v, self.out = (nn.Linear(width, width) for _ in range(4))

    def forward(self, x):
        q, k, v = (f(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for f in (self.q, self.k, self.v))
        y = self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        return y.unflatten(-1, (self.heads, -1)).transpose(1, 2) if self.by_head else y

reference = Attention(by_head=False)
attention = Attention(by_head=True)
attention.load_state_dict(reference.state_dict())
"""

ENTRIES = (
    Entry(
        id="split-without-transpose",
        severity="error",
        row=13,
        title="heads are split by view alone; (batch, length, width) needs view and then transpose(1, 2)",
        why="view(batch, heads, length, size) cuts the text into pieces, one per head, instead of each token's vector.",
        cure="x.view(B, T, H, D).transpose(1, 2)",
        invariant=ALIKE,
        place="where heads are split",
        wrong=CODE.replace(SPLIT, VIEWED),
        right=(VIEWED, SPLIT),
        reference=RESHAPE,
    ),
    Entry(
        id="heads-attend-to-heads",
        severity="error",
        row=13,
        title="each token's heads attend to one another: the axes of heads and of tokens never change places",
        why="q @ k.mT works on the last two axes. On (batch, length, heads, size) these are the heads of one token, so no token sees another.",
        cure="x.view(B, T, H, D).transpose(1, 2), before the scores",
        invariant="a token's output changes with the other tokens",
        place="where heads are split",
        wrong=CODE.replace(SPLIT, SPLIT.removesuffix(".transpose(1, 2)")).replace("z.transpose(1, 2)", "z"),
        right=CODE,
        reference=RESHAPE,
    ),
    Entry(
        id="merge-order",
        severity="warning",
        title="heads are merged as (size, heads); they were split as (heads, size)",
        why="The output projection then takes the numbers in another order than the one in which weights are published. A model that is "
        "trained with it learns the order; weights from elsewhere give noise.",
        cure='z.transpose(1, 2).flatten(2), or rearrange(z, "b h n d -> b n (h d)")',
        invariant=SUM,
        place="where heads are merged",
        wrong=CODE.replace("z.transpose(1, 2)", "z.permute(0, 2, 3, 1)"),
        right=("z.permute(0, 2, 3, 1)", "z.transpose(1, 2)"),
        reference=RESHAPE,
    ),
    Entry(
        id="heads-taken-for-texts",
        severity="error",
        title="heads that were folded into the batch are taken out of it in the other order: one text gets another's heads",
        why="(heads · batch) and (batch · heads) have the same shape. With one text nothing shows; with two, each gets parts of the other.",
        cure="unfold in the order of the fold: view(heads, batch, length, size) after a cat of the heads along the batch",
        invariant="a text's output does not change with the other texts of its batch",
        place="where heads leave the batch",
        wrong=CODE.replace("z.transpose(1, 2)", "z.transpose(0, 1).reshape(z.shape).transpose(1, 2)"),
        right=CODE,
        reference=RESHAPE,
    ),
    Entry(
        id="fused-split-without-transpose",
        severity="error",
        row=13,
        title="the fused projection is reshaped to (batch, 3, heads, length, size) at once; its axes are (batch, length, 3, "
        "heads, size)",
        why="reshape keeps the order in memory, so queries, keys and values are cut from pieces of the text.",
        cure="qkv.reshape(B, T, 3, H, D).permute(2, 0, 3, 1, 4)",
        invariant=ALIKE,
        place="where heads are split",
        wrong=FUSED_CODE,
        right=(
            "reshape(batch, 3, self.heads, length, -1).unbind(1)",
            "reshape(batch, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)",
        ),
        reference=RESHAPE,
    ),
    Entry(
        id="merge-without-transpose",
        severity="error",
        row=14,
        title="heads are merged without transposing back: (batch, heads, length, size) is reshaped as it is",
        why="The rows of one head then stand where the heads of one token should.",
        cure="z.transpose(1, 2).reshape(B, T, H * D)",
        invariant=ALIKE,
        place="where heads are merged",
        wrong=CODE.replace("z.transpose(1, 2).reshape", "z.reshape"),
        right=("z.reshape", "z.transpose(1, 2).reshape"),
        reference=RESHAPE,
    ),
    Entry(
        id="fused-layout",
        severity="error",
        row=15,
        what="a fused weight is read in another layout than the reference reads it in",
        title="the fused weight is read as {mine}; the reference reads the same weight as {other}",
        why="The shapes are the same in both layouts, so trained weights load and give noise.",
        cure="reshape to (heads, 3, size) for NeoX and BLOOM, to (3, heads, size) for GPT-2",
        invariant="the same weights give the same output",
        place="where q, k and v are taken from the fused projection",
        wrong=LAYOUTS,
        right=("Attention(by_head=False)", "Attention(by_head=True)"),
        call="attnscope.check(attention, like=reference)",
        reference=FUSED,
    ),
    Entry(
        id="groups-tiled",
        severity="warning",
        row=16,
        title="key/value heads are tiled (repeat); neighbouring query heads share one (repeat_interleave)",
        why="Query head h should use key/value head h // n. A model that was trained this way works; weights that were trained "
        "the usual way give noise in this code.",
        cure="k.repeat_interleave(n, dim=1)",
        invariant=GROUPED,
        place=REPEATED,
        wrong=GROUPS_CODE.replace(KEY, TILED_KEY).replace(VALUE, TILED_VALUE),
        right=GROUPS_CODE,
        reference=GROUPS,
    ),
    Entry(
        id="heads-averaged",
        severity="error",
        title="the heads' weights, or their scores, are averaged before they meet the values",
        why="Every head then looks at the same tokens. The shapes stay the same, so several heads cost what they cost and do what one does.",
        cure="weights @ value with the axis of heads; average a copy of the weights where you want to look at them",
        invariant="each head weighs its values by its own scores",
        place="between the scores and the values",
        wrong=CODE.replace(AVERAGED[1], AVERAGED[0]),
        right=AVERAGED,
        reference=ATTENTION,
    ),
    Entry(
        id="output-projected-twice",
        severity="warning",
        title="the output projection is applied twice",
        why="The output is then W_O · W_O · z. It trains like one map, but weights of another model do not fit it.",
        cure="apply it once: in the function that joins the heads, or where that function is called",
        invariant=SUM,
        place="where the output projection is applied",
        wrong=CODE.replace(
            "self.out(z.transpose(1, 2).reshape(x.shape))", "self.out(self.out(z.transpose(1, 2).reshape(x.shape)))"
        ),
        right=CODE,
        reference=CIRCUITS,
    ),
    Entry(
        id="groups-keys-tiled",
        severity="error",
        row=16,
        title="keys are tiled over the query heads and values are repeated one by one; both belong to neighbouring heads",
        why="Query head h then scores the keys of one group and takes the values of another.",
        cure="repeat_interleave(n, dim=1) for both",
        invariant=GROUPED,
        place=REPEATED,
        wrong=GROUPS_CODE.replace(KEY, TILED_KEY),
        right=(TILED_KEY, KEY),
        reference=GROUPS,
    ),
    Entry(
        id="groups-values-tiled",
        severity="error",
        row=16,
        title="values are tiled over the query heads and keys are repeated one by one; both belong to neighbouring heads",
        why="Query head h then scores the keys of one group and takes the values of another.",
        cure="repeat_interleave(n, dim=1) for both",
        invariant=GROUPED,
        place=REPEATED,
        wrong=GROUPS_CODE.replace(VALUE, TILED_VALUE),
        right=(TILED_VALUE, VALUE),
        reference=GROUPS,
    ),
    Entry(
        id="values-after-projection",
        severity="error",
        row=21,
        title="the output projection is applied to the values, before they are cut into heads; each slice mixes all heads",
        why="W_O adds every head into every dimension. A slice of its result belongs to no head, so each head weighs a mixture "
        "of all.",
        cure="weigh the values first, then project: out_proj(merged z); head h writes z[:, h] @ W_O[h]",
        invariant=SUM,
        place="where the output projection is applied",
        wrong=CODE.replace("self.v(x)", "self.out(self.v(x))").replace("self.out(z.", "(z."),
        right=CODE,
        reference=CIRCUITS,
    ),
    Entry(
        id="heads-after-projection",
        severity="error",
        row=21,
        title="what the code returns as heads are slices of the output after W_O; each slice mixes all heads",
        why="The output projection adds every head into every dimension, so a slice of its result belongs to no head.",
        cure="take the heads before the projection: z[:, h], or its share of the output: z[:, h] @ W_O[h]",
        evidence="put side by side, they are the reference's whole output",
        invariant=SUM,
        place="where heads are taken",
        wrong=SLICED,
        right=("Attention(by_head=True)", "Attention(by_head=False)"),
        call="attnscope.check(attention, like=reference)",
        reference=CIRCUITS,
    ),
)
