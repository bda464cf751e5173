"""The rotary embedding: its angles, its pairs, and what it turns."""

from attnscope.doctor.findings.entry import Entry
from attnscope.doctor.findings.references import ROTARY

DISTANCE = "a score depends on i - j alone"
PLACE = "the rotary embedding"

CODE = """
def rotary(x):  # by halves: dimension d is paired with d + D/2
    half = x.shape[-1] // 2
    angle = torch.arange(x.shape[-2])[:, None] * 10_000 ** (-torch.arange(half) / half)
    angle = torch.cat([angle, angle], dim=-1)
    turned = torch.cat([-x[..., half:], x[..., :half]], dim=-1)
    return x * angle.cos() + turned * angle.sin()

class Attention(nn.Module):
    def __init__(self, width=20, size=12):
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(width, size) for _ in range(3))

    def forward(self, x):
        query, key, value = self.query(x), self.key(x), self.value(x)
        query, key = rotary(query), rotary(key)
        return F.scaled_dot_product_attention(query, key, value)

attention = Attention()
"""
BY_HALVES = ("torch.cat([angle, angle], dim=-1)", "torch.cat([-x[..., half:], x[..., :half]], dim=-1)")
ADJACENT = ("angle.repeat_interleave(2, dim=-1)", "torch.stack([-x[..., 1::2], x[..., ::2]], dim=-1).flatten(-2)")
PAIRS = CODE.replace("def rotary(x):  # by halves: dimension d is paired with d + D/2", "def halves(x):").replace(
    "\n\nclass",
    """

def adjacent(x):  # dimension 2d is paired with 2d + 1
    half = x.shape[-1] // 2
    angle = torch.arange(x.shape[-2])[:, None] * 10_000 ** (-torch.arange(half) / half)
    angle = angle.repeat_interleave(2, dim=-1)
    turned = torch.stack([-x[..., 1::2], x[..., ::2]], dim=-1).flatten(-2)
    return x * angle.cos() + turned * angle.sin()

class""",
)

ENTRIES = (
    Entry(
        id="rotary-angles-adjacent",
        severity="error",
        row=17,
        title="rotary: angles are laid out for adjacent pairs (2d, 2d+1), the rotation pairs halves (d, d + D/2)",
        why="The two halves of a pair then turn by different angles, and scores no longer depend on the distance alone.",
        cure="use torch.cat([angles, angles], dim=-1) with rotation by halves, or repeat_interleave(2) with adjacent pairs",
        invariant=DISTANCE,
        place=PLACE,
        wrong=CODE.replace(BY_HALVES[0], ADJACENT[0]),
        right=(ADJACENT[0], BY_HALVES[0]),
        reference=ROTARY,
    ),
    Entry(
        id="rotary-angles-half",
        severity="error",
        row=17,
        title="rotary: angles are laid out by halves (d, d + D/2), the rotation pairs neighbours (2d, 2d+1)",
        why="The two members of a pair then turn by different angles, and scores no longer depend on the distance alone.",
        cure="use repeat_interleave(2) with adjacent pairs, or torch.cat([angles, angles], dim=-1) with rotation by halves",
        invariant=DISTANCE,
        place=PLACE,
        wrong=CODE.replace(BY_HALVES[1], ADJACENT[1]),
        right=(ADJACENT[1], BY_HALVES[1]),
        reference=ROTARY,
    ),
    Entry(
        id="rotary-on-queries-only",
        severity="error",
        row=17,
        title="rotary: queries are turned and keys are not",
        why="Scores then depend on the query's own position, not on the distance.",
        cure="turn q and k alike",
        invariant=DISTANCE,
        place=PLACE,
        wrong=CODE.replace("query, key = rotary(query), rotary(key)", "query, key = rotary(query), key"),
        right=("query, key = rotary(query), key", "query, key = rotary(query), rotary(key)"),
        reference=ROTARY,
    ),
    Entry(
        id="rotary-before-heads",
        severity="error",
        row=17,
        title="rotary: the whole width is turned before it is cut into heads, so the two halves of a pair are in different heads",
        why="No head holds a whole pair, so a score no longer depends on the distance i - j alone.",
        cure="cut into heads first: (batch, heads, length, size); then turn each head",
        invariant=DISTANCE,
        place=PLACE,
        wrong=CODE.replace("width=20, size=12", "width=24, size=24")
        .replace(
            "        return F.scaled",
            "        query, key, value = (x.unflatten(-1, (2, 12)).transpose(1, 2) for x in (query, key, value))\n        output = F.scaled",
        )
        .replace(
            "(query, key, value)\n\nattention",
            "(query, key, value)\n        return output.transpose(1, 2).flatten(2)\n\nattention",
        ),
        right=(
            """        query, key = rotary(query), rotary(key)
        query, key, value = (x.unflatten(-1, (2, 12)).transpose(1, 2) for x in (query, key, value))
""",
            """        query, key, value = (x.unflatten(-1, (2, 12)).transpose(1, 2) for x in (query, key, value))
        query, key = rotary(query), rotary(key)
""",
        ),
        reference=ROTARY,
    ),
    Entry(
        id="rotary-on-values",
        severity="error",
        row=17,
        title="rotary: values are turned as well as queries and keys",
        why="Outputs then depend on a token's position; only the scores should know the distance.",
        cure="turn q and k, leave v as it is",
        invariant="values enter the output as they are, each by its weight",
        place=PLACE,
        wrong=CODE.replace(
            "query, key = rotary(query), rotary(key)", "query, key, value = rotary(query), rotary(key), rotary(value)"
        ),
        right=(
            "query, key, value = rotary(query), rotary(key), rotary(value)",
            "query, key = rotary(query), rotary(key)",
        ),
        reference=ROTARY,
    ),
    Entry(
        id="rotary-frequencies",
        severity="error",
        row=17,
        what="rotary: the frequencies fall with the wrong power of the base",
        title="rotary: frequencies are base^(-{power} · 2d/D) for pair d; they must be base^(-2d/D)",
        why="The exponent runs from 0 to nearly 1 over the D/2 pairs of a head. Otherwise it turns as with another base, and weights that were "
        "trained with the right one give noise.",
        cure="base ** -(torch.arange(0, D, 2) / D), or base ** -(torch.arange(D // 2) / (D // 2))",
        invariant="the slowest pair turns by about one radian in `base` tokens",
        place=PLACE,
        wrong=CODE.replace("(-torch.arange(half) / half)", "(-torch.arange(half) / x.shape[-1])"),
        right=("(-torch.arange(half) / x.shape[-1])", "(-torch.arange(half) / half)"),
        reference=ROTARY,
    ),
    Entry(
        id="rotary-positions-apart",
        severity="error",
        row=17,
        what="rotary: queries and keys count their positions from different numbers",
        title="rotary: the positions of queries are {shift:+d} from those of keys",
        why="Each score then belongs to another distance than the one between its two tokens.",
        cure="the same positions for the queries and the keys of the same tokens",
        invariant=DISTANCE,
        place=PLACE,
        wrong=CODE.replace("def rotary(x):", "def rotary(x, first=0):")
        .replace("torch.arange(x.shape[-2])[:, None]", "(first + torch.arange(x.shape[-2]))[:, None]")
        .replace("rotary(query), rotary(key)", "rotary(query, first=1), rotary(key)"),
        right=("rotary(query, first=1)", "rotary(query)"),
        reference=ROTARY,
    ),
    Entry(
        id="rotary-signs",
        severity="error",
        row=17,
        what="rotary: a sign of the rotation is wrong",
        title="rotary: {signs}",
        why="A pair (a, b) becomes (a cos - b sin, a sin + b cos), for queries and for keys. With another sign scores no longer depend on "
        "the distance alone.",
        cure="x * cos + rotated * sin with rotated = torch.cat([-x[..., half:], x[..., :half]], dim=-1), for queries and keys",
        invariant=DISTANCE,
        place=PLACE,
        wrong=CODE.replace("torch.cat([-x[..., half:]", "torch.cat([x[..., half:]"),
        right=("torch.cat([x[..., half:]", "torch.cat([-x[..., half:]"),
        reference=ROTARY,
    ),
    Entry(
        id="rotary-pairs",
        severity="error",
        row=17,
        what="rotary pairs are not the reference's: halves (d, d + D/2) in one, neighbours (2d, 2d+1) in the other",
        title="rotary pairs are {mine}; the reference pairs {other}",
        why="Both are in use; weights that were trained with one give noise in the other unless they are permuted.",
        cure="pair dimensions as the weights were trained",
        invariant="the same weights give the same output",
        place=PLACE,
        wrong=PAIRS.replace("size=12):", "size=12, turn=halves):")
        .replace("        super().__init__()\n", "        super().__init__()\n        self.turn = turn\n")
        .replace("rotary(query), rotary(key)", "self.turn(query), self.turn(key)")
        .replace(
            "attention = Attention()\n",
            "reference = Attention(turn=halves)\nattention = Attention(turn=adjacent)\n"
            "attention.load_state_dict(reference.state_dict())\n",
        ),
        right=("Attention(turn=adjacent)", "Attention(turn=halves)"),
        call="attnscope.check(attention, like=reference)",
        reference=ROTARY,
    ),
    Entry(
        id="rotary-without-effect",
        severity="error",
        row=17,
        title="rotary: the code computes angles, but a token's position changes nothing",
        why="Queries and keys of all positions are turned alike, so the turns cancel: the angles follow the heads or the batch "
        "instead of the tokens, or are not applied.",
        cure="let the angles' axis of positions meet the axis of tokens: (1, 1, T, D) for (batch, heads, length, size)",
        evidence="attention without positions gives the same output",
        invariant="a score depends on i - j",
        place=PLACE,
        wrong=CODE.replace("torch.arange(x.shape[-2])", "torch.arange(x.shape[0])")
        .replace("angle.cos()", "angle.cos()[:, None]")
        .replace("angle.sin()", "angle.sin()[:, None]"),
        right=CODE,
        reference=ROTARY,
    ),
)
