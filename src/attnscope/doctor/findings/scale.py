"""What the scores are multiplied by, capped at, and joined by before the softmax."""

from attnscope.doctor.findings.entry import Entry
from attnscope.doctor.findings.references import ATTENTION, SINKS, SOFTCAP
from attnscope.doctor.findings.softmax import SUMS

SPREAD = "for queries and keys of unit variance, scores have a standard deviation near 1"
PLACE = "the scale of the scores"
SCORES = "the scores, before the softmax"

CODE = """
def attention(query, key, value):  # (batch, length, size)
    scores = query @ key.mT / math.sqrt(query.shape[-1])
    return scores.softmax(dim=-1) @ value
"""
BIASED = """
class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.q, self.k, self.v, self.o = (nn.Linear(20, 20) for _ in range(4))
        self.near = nn.Embedding(201, 4)

    def forward(self, x):  # (batch, length, width)
        q, k, v = (f(x).unflatten(-1, (4, -1)).transpose(1, 2) for f in (self.q, self.k, self.v))
        place = torch.arange(x.shape[1])
        scores = q @ k.mT + self.near(place - place[:, None] + 100).permute(2, 0, 1)
        return self.o((scores.softmax(dim=-1) @ v).transpose(1, 2).flatten(2))


attention = Attention()
"""
CAPPED = """
def attention(query, key, value):  # (batch, length, size)
    scores = query @ key.mT / math.sqrt(query.shape[-1])
    scores = 7.3 * torch.tanh(scores / 7.3)
    return scores.softmax(dim=-1) @ value
"""

ENTRIES = (
    Entry(
        id="scale-missing",
        severity="error",
        row=2,
        title="scores are not divided by √d (the scale is 1)",
        why="The spread of q · k grows with √d. Unscaled, the softmax saturates on one key and its gradient dies.",
        cure="scores / math.sqrt(head_size). A scale of 1 is right for T5 and GPT-Neo: pass scaling=1.0 to declare it",
        invariant=SPREAD,
        place=PLACE,
        wrong=CODE.replace(" / math.sqrt(query.shape[-1])", ""),
        right=("query @ key.mT", "query @ key.mT / math.sqrt(query.shape[-1])"),
        reference=ATTENTION,
    ),
    Entry(
        id="scale-left-out",
        severity="note",
        title="scores are not divided by √d, and the code's text says that this is meant",
        why="It is right for weights that were trained so (T5, GPT-Neo). With others the softmax saturates on one key.",
        cure="pass scaling=1.0 to declare it",
        invariant=SPREAD,
        place=PLACE,
        wrong=CODE.replace(" / math.sqrt(query.shape[-1])", "  # T5 does not scale"),
        right=("query @ key.mT  # T5 does not scale", "query @ key.mT / math.sqrt(query.shape[-1])"),
        reference=ATTENTION,
    ),
    Entry(
        id="scale-unstated",
        severity="warning",
        row=2,
        title="scores are not divided by √d beside a learned position bias, and nothing says whether that is meant",
        why="T5 has both: its scale is in the initial weights. In other models the softmax saturates on one key and its gradient dies.",
        cure="say in a comment that the scores are not scaled, or pass scaling=1.0; if it is not meant: scores / math.sqrt(head_size)",
        invariant=SPREAD,
        place=PLACE,
        wrong=BIASED,
        right=("q @ k.mT +", "q @ k.mT / math.sqrt(5) +"),
        reference=ATTENTION,
    ),
    Entry(
        id="scale-after-softmax",
        severity="error",
        row=2,
        title="the weights are divided by √d after the softmax, and the scores are not",
        why="Unscaled, the softmax saturates on one key; divided afterwards, a query's weights sum to 1/√d.",
        cure="softmax(scores / math.sqrt(head_size))",
        invariant=SPREAD,
        place=PLACE,
        wrong=CODE.replace(" / math.sqrt(query.shape[-1])", "").replace(
            "scores.softmax(dim=-1)", "(scores.softmax(dim=-1) / math.sqrt(query.shape[-1]))"
        ),
        right=CODE,
        reference=ATTENTION,
    ),
    Entry(
        id="scale-multiplied",
        severity="error",
        row=2,
        title="scores are multiplied by √d instead of divided by it",
        why="The spread of the scores is d times too large, so nearly every row picks one key.",
        cure="scores / math.sqrt(head_size), or scores * head_size ** -0.5",
        invariant=SPREAD,
        place=PLACE,
        wrong=CODE.replace("/ math", "* math"),
        right=("* math", "/ math"),
        reference=ATTENTION,
    ),
    Entry(
        id="scale-linear",
        severity="error",
        row=2,
        title="scores are divided by d instead of √d",
        why="The scores are √d times too small, so the weights are nearly uniform. Often the scale was applied twice: "
        "to q and to the scores.",
        cure="divide once, by math.sqrt(head_size)",
        invariant=SPREAD,
        place=PLACE,
        wrong=CODE.replace("math.sqrt(query.shape[-1])", "query.shape[-1]"),
        right=("query.shape[-1]", "math.sqrt(query.shape[-1])"),
        reference=ATTENTION,
    ),
    Entry(
        id="scale-of-length",
        severity="error",
        row=2,
        title="scores are divided by √(number of tokens) instead of √(head size)",
        why="The sharpness of attention then changes with the length of the text.",
        cure="take the size of the last axis of q: q.shape[-1]",
        invariant=SPREAD,
        place=PLACE,
        wrong=CODE.replace("query.shape[-1]", "key.shape[-2]"),
        right=("key.shape[-2]", "key.shape[-1]"),
        reference=ATTENTION,
    ),
    Entry(
        id="scale-of-model",
        severity="error",
        row=3,
        title="scores are divided by √d_model; each head's q · k has only d_head = d_model / heads terms",
        why="The scores are √heads times too small, so attention is flatter the more heads there are.",
        cure="divide by math.sqrt(head_size)",
        invariant=SPREAD,
        place=PLACE,
        wrong="""
def attention(query, key, value):  # (batch, heads, length, size)
    model_size = query.shape[1] * query.shape[-1]
    scores = query @ key.mT / math.sqrt(model_size)
    return scores.softmax(dim=-1) @ value
""",
        right=("math.sqrt(model_size)", "math.sqrt(query.shape[-1])"),
        reference=ATTENTION,
    ),
    Entry(
        id="scale-other",
        severity="error",
        row=2,
        what="scores are multiplied by another number than expected",
        title="scores are multiplied by {used}; {expected} was expected ({origin})",
        why="The spread of the scores decides how sharp attention is.",
        cure="scores / math.sqrt(head_size). If the scale is meant (Gemma's query_pre_attn_scalar, for example), pass "
        "scaling={declare}",
        evidence="head size {size}",
        invariant=SPREAD,
        place=PLACE,
        wrong=CODE.replace("/ math.sqrt(query.shape[-1])", "* 0.1234"),
        right=("* 0.1234", "* query.shape[-1] ** -0.5"),
        reference=ATTENTION,
    ),
    Entry(
        id="scale",
        severity="error",
        row=2,
        what="scores are q · k times another number than expected, and something else is wrong too",
        title="scores are q · k times {slope:.4g}; {expected:.4g} was expected",
        why="The spread of the scores decides how sharp attention is.",
        cure="scores / math.sqrt(head_size); if the scale is meant, pass scaling={slope:.4g}. Something else is wrong too",
        evidence="standard deviation of the scores {deviation:.3g}, reference {reference:.3g}",
        invariant=SPREAD,
        place=PLACE,
        wrong=CODE.replace("math.sqrt(query.shape[-1])", "7.0").replace("@ value", "@ value**3"),
        right=CODE,
        reference=ATTENTION,
    ),
    Entry(
        id="softcap-undeclared",
        severity="error",
        what="scores are capped by a tanh that was not declared",
        title="scores are capped at about {cap:.4g}: pass softcap={cap:.4g} to declare it",
        why="Scores bent by tanh never pass the cap, so no key can take all the weight. Gemma 2 does so on purpose; "
        "a cap changes what weights give that were trained without it.",
        cure="right for Gemma 2: pass softcap={cap:.4g}; else leave the tanh out",
        evidence="with softcap={cap:.4g} the reference gives the same output",
        invariant="scores grow in proportion to q · k",
        place=SCORES,
        wrong=CAPPED,
        right=("    scores = 7.3 * torch.tanh(scores / 7.3)\n", ""),
        reference=SOFTCAP,
    ),
    Entry(
        id="softcap-other",
        severity="error",
        what="scores are capped at another number than declared, or not at all",
        title="{found}, declared: {declared:.4g}",
        why="Weights that were trained with one cap give other attention under another.",
        cure="softcap * torch.tanh(scores / softcap) with softcap = {declared:.4g}, or declare the cap that is meant",
        evidence="with {cap} the reference gives the same output",
        invariant="scores are bent as declared",
        place=SCORES,
        wrong=CAPPED,
        right=("7.3 * torch.tanh(scores / 7.3)", "5.0 * torch.tanh(scores / 5.0)"),
        call="attnscope.check(attention, softcap=5.0)",
        reference=SOFTCAP,
    ),
    Entry(
        id="sinks-undeclared",
        severity="error",
        what="one more score joins the softmax, and was not declared",
        title="one more score joins the softmax: pass sinks=torch.tensor([{numbers}]) to declare it",
        why="The weights that you see then sum to less than 1: the rest goes to no key.",
        cure="right for gpt-oss: pass sinks=; else take out the extra column, or the 1 under the fraction",
        evidence="with these sinks the reference gives the same output",
        invariant=SUMS,
        place="the softmax",
        wrong="""
def attention(query, key, value):  # (batch, length, size)
    scores = (query @ key.mT / math.sqrt(query.shape[-1])).exp()
    return scores / (1 + scores.sum(dim=-1, keepdim=True)) @ value
""",
        right=("(1 + scores.sum(dim=-1, keepdim=True))", "scores.sum(dim=-1, keepdim=True)"),
        reference=SINKS,
    ),
)
