"""Running alone: code that raises, does not return, returns another shape, changes its inputs, or is random."""

from attnscope.doctor.findings.entry import Entry
from attnscope.doctor.findings.references import EVAL, INPLACE, SDPA

RUNS = "it runs and returns one vector for each query"
RETURNS = "it runs and returns"
CALL = "the call itself"

CODE = """
def attention(query, key, value):  # (batch, length, size)
    scores = query @ key.mT / math.sqrt(query.shape[-1])
    return scores.softmax(dim=-1) @ value
"""

ENTRIES = (
    Entry(
        id="raises",
        severity="error",
        what="the code raises an error",
        title="it raises {error}",
        why="",
        cure="make it run on query, key and value of (batch, length, size) or (batch, heads, length, size)",
        invariant=RUNS,
        place=CALL,
        wrong=CODE.replace("@ key.mT", "@ key"),
        right=("query @ key /", "query @ key.mT /"),
        reference=SDPA,
    ),
    Entry(
        id="file-raises",
        severity="error",
        what="the file that holds the code raises an error",
        title="its file raises {error}",
        why="",
        cure="make `python FILE.py` run first",
        invariant="it can be imported",
        place="the file",
        wrong="import torch.nonesuch\n" + CODE,
        right=("import torch.nonesuch", "import torch"),
        call="attnscope check FILE.py:attention",
    ),
    Entry(
        id="wrong-shape",
        severity="error",
        what="the output has another shape than the queries ask for",
        title="it {shapes}",
        why="",
        cure="return the output in the shape of the queries (with the size of the values), alone or with the weights",
        invariant=RUNS,
        place=CALL,
        wrong=CODE.replace(" @ value", ""),
        right=("softmax(dim=-1)", "softmax(dim=-1) @ value"),
        reference=SDPA,
    ),
    Entry(
        id="needs-a-gpu",
        severity="note",
        title="it needs a GPU: it raises {error}",
        what="the code needs a GPU, so nothing could be compared",
        why="",
        cure="make it run on the CPU: take the device from the inputs (x.device), and no .cuda()",
        invariant=RUNS,
        place=CALL,
        wrong=CODE.replace("return ", "scores = scores.to('cuda')\n    return "),
        right=("    scores = scores.to('cuda')\n", ""),
    ),
    Entry(
        id="too-slow",
        severity="error",
        what="the code does not return within its limit, or all its calls together take too long",
        title="it {took}",
        why="",
        cure="look for a loop that never ends or that grows with every call, or for a sleep",
        invariant=RETURNS,
        place=CALL,
        wrong=CODE.replace("    return", "    while True:\n        scores = scores + 0\n    return"),
        right=("    while True:\n        scores = scores + 0\n", ""),
    ),
    Entry(
        id="ended-the-process",
        severity="error",
        what="the code ends the process that it runs in",
        title="it ended its process (code {code}: {last})",
        why="",
        cure="look for a call of exit, or for a crash in compiled code",
        invariant=RETURNS,
        place=CALL,
        wrong=CODE.replace("    return", "    import os; os._exit(0)\n    return"),
        right=("    import os; os._exit(0)\n", ""),
        call="attnscope check FILE.py:attention",
    ),
    Entry(
        id="not-finite",
        severity="error",
        title="the output is NaN or infinite everywhere",
        why="",
        cure="look for 0 / 0, 0 · inf, the logarithm of 0, or a softmax of nothing but -inf",
        evidence="no output is finite for queries, keys and values of unit variance",
        invariant="finite inputs give finite outputs",
        place="the whole function",
        wrong=CODE.replace("scores.softmax", "(scores - torch.inf).softmax"),
        right=("(scores - torch.inf)", "scores"),
        reference=SDPA,
    ),
    Entry(
        id="mutates-inputs",
        severity="warning",
        what="the code changes its arguments in place",
        title="it changes its {arguments} argument in place",
        why="The caller's tensor is another one after the call; the next layer, or the next test, then works on wrong numbers.",
        cure="use masked_fill, mul, add instead of masked_fill_, mul_, add_ on arguments",
        invariant="inputs are the same after the call",
        place="operations that end in _ or assign to slices",
        wrong=CODE.replace(
            "query @ key.mT / math.sqrt(query.shape[-1])", "query.div_(math.sqrt(query.shape[-1])) @ key.mT"
        ),
        right=("query.div_", "query.div"),
        reference=INPLACE,
    ),
    Entry(
        id="dropout-in-eval",
        severity="error",
        row=19,
        what="dropout, or other randomness, is active in eval mode",
        title="two runs in eval mode differ{reason}",
        why="Every evaluation then gives other numbers, and worse ones.",
        cure="pass self.training: F.dropout(x, p, training=self.training), dropout_p=p if self.training else 0.0; take other "
        "randomness out, or use it only when self.training",
        evidence="two runs on the same input differ by up to {moved:.3g}",
        invariant="two runs in eval mode are equal",
        place="dropout",
        wrong="""
class Attention(nn.Module):
    def __init__(self, width=20):
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(width, width) for _ in range(3))

    def forward(self, x):
        return F.scaled_dot_product_attention(self.q(x), self.k(x), self.v(x), dropout_p=0.2)

attention = Attention()
""",
        right=("dropout_p=0.2", "dropout_p=0.2 if self.training else 0.0"),
        reference=EVAL,
    ),
)
