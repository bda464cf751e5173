"""Queries, keys, values and their layers: which of them plays which part, and which plays none."""

from attnscope.doctor.findings.entry import Entry
from attnscope.doctor.findings.references import ATTENTION, LINEAR, RESHAPE

FORMULA = "output = softmax(q · kᵀ / √d) · v"
SCORES, WEIGHTED = "the scores", "what the weights multiply"
ALL_COUNT = "queries, keys and values all change the output"

CODE = """
def attention(query, key, value):  # (batch, length, size)
    scores = query @ key.mT / math.sqrt(query.shape[-1])
    return scores.softmax(dim=-1) @ value
"""
MODULE = """
class Attention(nn.Module):
    def __init__(self, width=30, heads=5):
        super().__init__()
        self.heads = heads
        self.q, self.k, self.v, self.out = (nn.Linear(width, width) for _ in range(4))

    def split(self, x):
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def forward(self, x):
        q, k, v = self.split(self.q(x)), self.split(self.k(x)), self.split(self.v(x))
        z = F.scaled_dot_product_attention(q, k, v)
        return self.out(z.transpose(1, 2).flatten(2))

attention = Attention()
"""
NORMED = MODULE.replace("self.heads = heads", "self.heads, self.norm = heads, nn.LayerNorm(width)").replace(
    "return self.out(", "return x + self.out("
)
SPLIT = "self.split(self.q(x)), self.split(self.k(x)), self.split(self.v(x))"


def _exchanged(id: str, part: str, other: str, what: str, cure: str, place: str) -> Entry:
    """`other` stands where `part` belongs."""
    wrong = {
        "key": CODE.replace("query @ key.mT", f"query @ {other}.mT"),
        "query": CODE.replace("query @ key.mT", f"{other} @ key.mT"),
        "value": CODE.replace("@ value", f"@ {other}"),
    }[part]
    return Entry(
        id=id,
        severity="error",
        title=f"the {what}",
        why=f"The {part} that the code takes then plays no part. The shapes are the same, so nothing else shows it.",
        cure=cure,
        invariant=ALL_COUNT,
        place=place,
        wrong=wrong,
        right=CODE,
        reference=ATTENTION,
    )


def _ignored(id: str, what: str, wrong: str, why: str) -> Entry:
    return Entry(
        id=id,
        severity="error",
        title=f"the output does not depend on the {what}",
        why=why,
        cure="scores = query @ key.mT / math.sqrt(query.shape[-1]); weights = scores.softmax(dim=-1); output = weights @ value",
        evidence=f"with other {what} the output is the same to the last bit",
        invariant=ALL_COUNT,
        place="what is returned",
        wrong=wrong,
        right=CODE,
        reference=ATTENTION,
    )


ENTRIES = (
    _exchanged(
        "values-as-keys",
        "key",
        "value",
        "values stand where the keys belong: scores are q · v",
        "query @ key.mT",
        SCORES,
    ),
    _exchanged(
        "queries-as-keys",
        "key",
        "query",
        "queries stand where the keys belong: scores are q · q",
        "query @ key.mT",
        SCORES,
    ),
    _exchanged(
        "keys-as-queries",
        "query",
        "key",
        "keys stand where the queries belong: scores are k · k",
        "query @ key.mT",
        SCORES,
    ),
    _exchanged(
        "keys-as-values", "value", "key", "keys stand where the values belong: weights · k", "weights @ value", WEIGHTED
    ),
    _exchanged(
        "queries-as-values",
        "value",
        "query",
        "queries stand where the values belong: weights · q",
        "weights @ value",
        WEIGHTED,
    ),
    Entry(
        id="queries-and-keys-exchanged",
        severity="error",
        title="queries and keys have changed places: scores are k · q",
        why="Each token then attends by what it offers to what the others look for. In self-attention the shapes are the same, so nothing "
        "else shows it; trained weights give noise.",
        cure="query @ key.mT, with q, k and v in the order in which their weights stand",
        invariant="row i of the scores belongs to query i",
        place=SCORES,
        wrong=MODULE.replace("F.scaled_dot_product_attention(q, k, v)", "F.scaled_dot_product_attention(k, q, v)"),
        right=MODULE,
        reference=ATTENTION,
    ),
    _ignored(
        "ignores-queries-and-keys",
        "queries and the keys",
        CODE.replace("scores.softmax(dim=-1) @ value", "value.mean(dim=-2, keepdim=True).expand_as(value)"),
        "Nothing is attended to: every text gets the same mixture of its values.",
    ),
    _ignored(
        "ignores-queries",
        "queries",
        CODE.replace(
            "scores.softmax(dim=-1)", "scores.mean(dim=-2, keepdim=True).softmax(dim=-1).expand_as(scores)"
        ).replace("query @ key", "torch.ones_like(query) @ key"),
        "Every query then gets the same output.",
    ),
    _ignored(
        "ignores-keys",
        "keys",
        CODE.replace("query @ key.mT", "query.sum(dim=-1, keepdim=True) @ torch.ones_like(key[..., :1]).mT.cumsum(-1)"),
        "What a token offers then has no say in how much of it is taken.",
    ),
    _ignored(
        "ignores-values",
        "values",
        CODE.replace("@ value", "@ key.sin()"),
        "The values are what attention passes on.",
    ),
    Entry(
        id="projection-unused",
        severity="error",
        what="a projection's weights have no effect on the output",
        title="the weights of {names} have no effect on the output",
        why="The layer is made and never applied, or its result is not used, so it never trains. Another layer often stands in its "
        "place.",
        cure="apply each layer once, in its place: q = self.q(x), k = self.k(x), v = self.v(x), and the output layer to the "
        "merged heads",
        evidence="with other weights in {names} the output is the same to the last bit",
        invariant="every projection's weights change the output",
        place="where the projections are applied",
        wrong=MODULE.replace("self.out(z.transpose(1, 2).flatten(2))", "z.transpose(1, 2).flatten(2)"),
        right=("return z.transpose(1, 2).flatten(2)", "return self.out(z.transpose(1, 2).flatten(2))"),
        reference=ATTENTION,
    ),
    Entry(
        id="wrong-source",
        severity="error",
        what="queries, keys or values are made of another input than their own",
        title="{sources}",
        why="In cross-attention the queries come from the text that looks, and keys and values from the one that is looked at. Where both "
        "are as wide and as long, nothing else shows the mistake.",
        cure="q = self.q(x), k = self.k(context), v = self.v(context)",
        invariant=ALL_COUNT,
        place="where the projections are applied",
        wrong=MODULE.replace("forward(self, x)", "forward(self, x, context)").replace("self.k(x)", "self.k(context)"),
        right=("self.v(x)", "self.v(context)"),
        reference=ATTENTION,
    ),
    Entry(
        id="inputs-unlike",
        severity="warning",
        title="queries are made of other numbers than keys and values: of the input after a step, and those of the input itself",
        why="In self-attention a norm or a position encoding comes before all of them. Where it comes before the queries alone, q · k compares "
        "numbers of two kinds.",
        cure="y = self.norm(x), and then self.q(y), self.k(y), self.v(y)",
        invariant="queries and keys of one sequence are made of the same numbers",
        place="where the projections are applied",
        wrong=NORMED.replace("self.q(x)", "self.q(self.norm(x))"),
        right=("self.q(self.norm(x))", "self.q(x)"),
        reference=ATTENTION,
    ),
    Entry(
        id="projected-twice",
        severity="error",
        title="{what} are made of what another projection gave, not of the input",
        what="a projection takes what another projection gave, not the input",
        why="Two linear maps in a row are one, so it trains; but the second one adds nothing, and it is hardly meant.",
        cure="self.q(x), self.k(x), self.v(x), all of the same x",
        invariant="queries and keys of one sequence are made of the same numbers",
        place="where the projections are applied",
        wrong=MODULE.replace("self.split(self.k(x))", "self.split(self.k(self.q(x)))"),
        right=("self.k(self.q(x))", "self.k(x)"),
        reference=ATTENTION,
    ),
    Entry(
        id="residual-of-the-norm",
        severity="warning",
        title="the sum behind the attention starts from the normed input; it usually starts from the input",
        why="With a norm in front, x + attention(norm(x)) keeps x as it is through all layers. norm(x) + attention(norm(x)) does not, and deep "
        "models then train badly.",
        cure="return x + self.attention(self.norm(x))",
        invariant="the input itself stands in the sum",
        place="the residual sum",
        wrong=NORMED.replace("        q, k, v =", "        y = self.norm(x)\n        q, k, v =")
        .replace(SPLIT, SPLIT.replace("(x)", "(y)"))
        .replace("return x + self.out(", "return y + self.out("),
        right=("return y + self.out(", "return x + self.out("),
        reference=ATTENTION,
    ),
    Entry(
        id="residual-twice",
        severity="error",
        title="the input is added to the attention's output twice",
        why="Usually the attention adds its input itself, and so does the block around it. The attention then counts half as much against the "
        "input, in each layer anew. A norm behind the sum hides it.",
        cure="one sum: x + self.attention(x), where attention returns its output alone",
        evidence="{where}",
        invariant="output = input + attention(input)",
        place="the residual sum",
        wrong=NORMED.replace("return x + self.out(", "return x + x + self.out("),
        right=("return x + x + self.out(", "return x + self.out("),
        reference=ATTENTION,
    ),
    Entry(
        id="input-before-projection",
        severity="warning",
        title="the input is added to the heads' outputs before the last linear map, not behind it",
        why="Where that map is the output projection, it multiplies the input too: nothing then carries x unchanged from layer to layer, and "
        "deep models train badly. Where it is the next layer, all is well.",
        cure="return x + self.out(heads), with the sum behind the output projection",
        invariant="what is projected is what the heads give",
        place="the residual sum",
        wrong=MODULE.replace("self.out(z.transpose(1, 2).flatten(2))", "self.out(x + z.transpose(1, 2).flatten(2))"),
        right=MODULE,
        reference=ATTENTION,
    ),
    Entry(
        id="weights-transposed",
        severity="error",
        what="a projection's weights are applied transposed",
        title="these projections use their weights transposed: {which}",
        why="nn.Linear keeps its weight as [out, in] and computes x @ weight.T. A square weight hides the mistake, and trained "
        "weights give noise.",
        cure="self.q(x), or x @ self.q.weight.T + self.q.bias",
        invariant="a projection is x @ weight.T + bias",
        place="where the projections are applied",
        wrong=MODULE.replace(SPLIT, "*(self.split(x @ f.weight + f.bias) for f in (self.q, self.k, self.v)),")
        .replace("q, k, v = *(", "q, k, v = (")
        .replace("self.v)),", "self.v))"),
        right=("x @ f.weight + f.bias", "x @ f.weight.T + f.bias"),
        reference=LINEAR,
    ),
    Entry(
        id="keys-reshaped",
        severity="error",
        title="keys are reshaped to (size, length); they must be transposed",
        why="reshape and view keep the order in memory, so each column of the reshaped keys is cut from several tokens.",
        cure="key.transpose(-2, -1)",
        invariant="when keys and values change places together, outputs stay",
        place=SCORES,
        wrong=CODE.replace("key.mT", "key.reshape(key.mT.shape)"),
        right=("key.reshape(key.mT.shape)", "key.mT"),
        reference=RESHAPE,
    ),
    Entry(
        id="order-of-tokens",
        severity="error",
        title="tokens that change places do not take their outputs with them",
        why="Without positions and masks, self-attention treats a text as a set. A reshape where a transpose belongs mixes tokens.",
        cure="look for view or reshape where transpose belongs",
        evidence="when two tokens change places, outputs differ by {moved:.3g} after changing them back",
        invariant="when tokens change places, outputs change places alike",
        place="reshapes",
        wrong=MODULE.replace("self.out(z.", "self.out(torch.sigmoid(self.q(x)) * z.").replace(
            "self.split(self.v(x))", "self.v(x).reshape(x.shape[0], self.heads, x.shape[1], x.shape[2] // self.heads)"
        ),
        right=MODULE,
        reference=RESHAPE,
    ),
    Entry(
        id="row-sums-by-length",
        severity="error",
        title="with all tokens alike, the output changes with the number of tokens",
        why="A query's weights sum to 1, so the mean over equal values is that value, whatever the length. Here they do not.",
        cure="weights = scores.softmax(dim=-1), over the keys, after masking",
        evidence="outputs for 3 and for 7 equal tokens differ by {moved:.3g}",
        invariant="every query's weights sum to 1",
        place="the softmax",
        wrong=MODULE.replace(
            "F.scaled_dot_product_attention(q, k, v)", "(q @ k.mT / math.sqrt(6)).softplus_() @ v"
        ).replace("(q @ k.mT / math.sqrt(6)).softplus_()", "F.softplus(q @ k.mT / math.sqrt(6))"),
        right=("F.softplus(q @ k.mT / math.sqrt(6)) @ v", "(q @ k.mT / math.sqrt(6)).softmax(dim=-1) @ v"),
        reference=ATTENTION,
    ),
)
