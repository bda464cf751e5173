"""The softmax: over which axis it runs, and whether each row sums to 1."""

from attnscope.doctor.findings.entry import Entry
from attnscope.doctor.findings.references import ATTENTION

SUMS = "every query's weights sum to 1"
CURE = "softmax(scores, dim=-1)"

SINGLE = """
def attention(query, key, value):  # (batch, length, size)
    scores = query @ key.mT / math.sqrt(query.shape[-1])
    return scores.softmax(dim=-1) @ value
"""
BY_HEAD = """
def attention(query, key, value):  # (batch, heads, length, size)
    scores = query @ key.mT / math.sqrt(query.shape[-1])
    return scores.softmax(dim=1) @ value
"""

ENTRIES = (
    Entry(
        id="weights-scaled",
        severity="error",
        what="the weights are multiplied by a number behind the softmax, so that rows no longer sum to 1",
        title="the weights are multiplied by {times:.4g} behind the softmax, so that each row sums to that",
        why="A factor that dropout leaves in eval, a mean in place of a sum, or a scale at the wrong place: every output is then too small or too "
        "large by the same share.",
        cure="leave the weights as the softmax gives them; nn.Dropout does nothing in eval",
        evidence="the output is that of the reference with its weights times {times:.4g}",
        invariant=SUMS,
        place="behind the softmax",
        wrong=SINGLE.replace("scores.softmax(dim=-1) @", "0.9 * scores.softmax(dim=-1) @"),
        right=SINGLE,
        reference=ATTENTION,
    ),
    Entry(
        id="softmax-over-queries",
        severity="error",
        row=1,
        what="softmax runs over queries; it should run over keys",
        title="softmax runs over queries (dim={queries}); keys are dim=-1 of {shape}",
        why="Each key's column then sums to 1 and a query's row does not, so a query's output is no average of values. "
        "The model still trains, so the loss does not show it.",
        cure=CURE,
        invariant=SUMS,
        place="the softmax",
        wrong=SINGLE.replace("dim=-1", "dim=1"),
        right=("dim=1", "dim=-1"),
        reference=ATTENTION,
    ),
    Entry(
        id="softmax-over-heads",
        severity="error",
        row=1,
        what="softmax runs over heads; it should run over keys",
        title="softmax runs over heads (dim=1); keys are dim=-1 of {shape}",
        why="Heads then compete for each pair of tokens, and a query's weights do not sum to 1.",
        cure=CURE,
        invariant=SUMS,
        place="the softmax",
        wrong=BY_HEAD,
        right=("dim=1", "dim=-1"),
        reference=ATTENTION,
    ),
    Entry(
        id="softmax-over-batch",
        severity="error",
        row=1,
        what="softmax runs over the batch; it should run over keys",
        title="softmax runs over the batch (dim=0); keys are dim=-1 of {shape}",
        why="The texts of a batch then change each other's weights, and a query's weights do not sum to 1.",
        cure=CURE,
        invariant=SUMS,
        place="the softmax",
        wrong=SINGLE.replace("dim=-1", "dim=0"),
        right=("dim=0", "dim=-1"),
        reference=ATTENTION,
    ),
    Entry(
        id="softmax-over-all",
        severity="error",
        row=1,
        what="softmax runs over queries and keys together; it should run over keys alone",
        title="softmax runs over queries and keys together; keys alone are dim=-1 of {shape}",
        why="The whole matrix then sums to 1, where each row should.",
        cure=CURE,
        invariant=SUMS,
        place="the softmax",
        wrong=SINGLE.replace("scores.softmax(dim=-1)", "scores.flatten(1).softmax(dim=-1).view(scores.shape)"),
        right=("scores.flatten(1).softmax(dim=-1).view(scores.shape)", "scores.softmax(dim=-1)"),
        reference=ATTENTION,
    ),
    Entry(
        id="softmax-over-heads-and-keys",
        severity="error",
        title="the softmax runs over heads and keys together; it should run over keys alone",
        why="A query's weights then sum to 1 over all heads, so heads compete and each gives a fraction of an average.",
        cure=CURE,
        invariant=SUMS,
        place="the softmax",
        wrong=BY_HEAD.replace(
            "scores.softmax(dim=1)",
            "scores.transpose(1, 2).flatten(2).softmax(-1).view(scores.transpose(1, 2).shape).transpose(1, 2)",
        ),
        right=BY_HEAD.replace("dim=1", "dim=-1"),
        reference=ATTENTION,
    ),
    Entry(
        id="softmax-twice",
        severity="error",
        title="the softmax is applied twice",
        why="The second softmax takes numbers between 0 and 1, so its weights are nearly even, and masked keys get weight again.",
        cure=CURE,
        invariant=SUMS,
        place="the softmax",
        wrong=SINGLE.replace("scores.softmax(dim=-1)", "scores.softmax(dim=-1).softmax(dim=-1)"),
        right=SINGLE,
        reference=ATTENTION,
    ),
    Entry(
        id="log-softmax",
        severity="error",
        title="the weights are log_softmax of the scores, which are negative",
        why="Weights must be probabilities; their logarithms weigh values the other way round.",
        cure=CURE,
        invariant=SUMS,
        place="the softmax",
        wrong=SINGLE.replace("scores.softmax", "scores.log_softmax"),
        right=SINGLE,
        reference=ATTENTION,
    ),
    Entry(
        id="sigmoid-for-softmax",
        severity="error",
        title="the weights are the sigmoid of the scores; their sum is not 1",
        why="Each weight is then set alone, and the output grows with the number of keys.",
        cure=CURE,
        invariant=SUMS,
        place="the softmax",
        wrong=SINGLE.replace("scores.softmax(dim=-1)", "torch.sigmoid(scores)"),
        right=SINGLE,
        reference=ATTENTION,
    ),
    Entry(
        id="softmax-unnormalised",
        severity="error",
        title="the weights are exp(scores), which nothing divides by their sum",
        why="The output then grows with the number of keys and with the size of the scores.",
        cure=CURE,
        invariant=SUMS,
        place="the softmax",
        wrong=SINGLE.replace("scores.softmax(dim=-1)", "scores.exp()"),
        right=SINGLE,
        reference=ATTENTION,
    ),
    Entry(
        id="softmax-missing",
        severity="error",
        title="there is no softmax: the scores themselves weigh the values",
        why="Scores may be negative and have no fixed sum, so the output is no average of values.",
        cure=CURE,
        invariant=SUMS,
        place="the softmax",
        wrong=SINGLE.replace("scores.softmax(dim=-1)", "scores"),
        right=SINGLE,
        reference=ATTENTION,
    ),
    Entry(
        id="softmax-of-the-output",
        severity="error",
        title="the softmax runs over the output; it should run over the scores, before the values",
        why="The scores themselves then weigh the values, and the softmax makes each token's numbers sum to 1.",
        cure="softmax(scores, dim=-1) @ value",
        invariant=SUMS,
        place="the softmax",
        wrong=SINGLE.replace("scores.softmax(dim=-1) @ value", "(scores @ value).softmax(dim=-1)"),
        right=SINGLE,
        reference=ATTENTION,
    ),
    Entry(
        id="attention-transposed",
        severity="error",
        row=1,
        title="the weights are transposed before they meet the values",
        why="A token then gets what the others attend to it with: these numbers do not sum to 1, and queries and keys have changed places.",
        cure="weights @ value, without a transpose",
        invariant=SUMS,
        place="where the weights meet the values",
        wrong=SINGLE.replace("scores.softmax(dim=-1) @ value", "scores.softmax(dim=-1).mT @ value"),
        right=SINGLE,
        reference=ATTENTION,
    ),
    Entry(
        id="relu-before-softmax",
        severity="error",
        title="a ReLU bends the scores before the softmax",
        why="All negative scores become 0, so a query can no longer turn away from a key.",
        cure=CURE,
        invariant=SUMS,
        place="the softmax",
        wrong=SINGLE.replace("scores.softmax", "scores.relu().softmax"),
        right=SINGLE,
        reference=ATTENTION,
    ),
    Entry(
        id="row-sums",
        severity="error",
        row=1,
        title="the weights of a query do not sum to 1",
        why="A query's output is then no average of values.",
        cure="take the softmax over the keys, the last axis, after masking",
        evidence="row sums between {least:.3g} and {most:.3g}",
        invariant=SUMS,
        place="the softmax",
        wrong="""
def attention(query, key, value):  # (batch, length, size)
    scores = query @ key.mT / math.sqrt(query.shape[-1])
    weights = scores.softmax(dim=-1) ** 2
    return weights @ value, weights
""",
        right=(" ** 2", ""),
        reference=ATTENTION,
    ),
)
