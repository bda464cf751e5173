"""What no known mistake explains: a difference from the reference, and from the one that you gave (`like=`)."""

from attnscope.doctor.findings.entry import Entry
from attnscope.doctor.findings.references import ATTENTION

CODE = """
def attention(query, key, value):  # (batch, length, size)
    scores = query @ key.mT / math.sqrt(query.shape[-1])
    return scores.softmax(dim=-1) @ value
"""

ENTRIES = (
    Entry(
        id="differs",
        severity="error",
        title="it computes something else than attention, and no known mistake explains it",
        why="",
        cure="if it is meant (another kernel, a part of its own), compare it with like=; else compare step by step with "
        "attnscope.attention.attention_steps",
        evidence="output differs from the reference by up to {far:.2g} standard deviations",
        invariant="output = softmax(q · kᵀ / √d) · v",
        place="the whole function",
        wrong=CODE.replace("@ value", "@ value.tanh()"),
        right=("value.tanh()", "value"),
        reference=ATTENTION,
    ),
    Entry(
        id="order-of-keys",
        severity="error",
        title="the order of keys and values changes the output",
        why="Attention without positions is a sum over a set. A position bias or a mask of the code's own would explain it.",
        cure="look for a reshape where a transpose belongs, a softmax over the other axis, or a running sum that is not rescaled",
        evidence="output moves by {moved:.3g} when keys and values change places together",
        invariant="when keys and values change places together, outputs stay",
        place="reshapes",
        wrong="""
def attention(query, key, value):  # (batch, length, size)
    scores = query @ key.mT / math.sqrt(query.shape[-1])
    return scores.softmax(dim=-1) @ value.roll(1, dims=-2)
""",
        right=("value.roll(1, dims=-2)", "value"),
        reference=ATTENTION,
    ),
    Entry(
        id="unlike",
        severity="error",
        title="it differs from the reference that was given",
        why="",
        cure="compare the steps of both",
        invariant="the same weights give the same output",
        place="unknown",
        wrong=CODE + "\ndef reference(query, key, value):\n    return attention(query, key, value.relu())\n",
        right=("value.relu()", "value"),
        call="attnscope.check(attention, like=reference)",
        reference=ATTENTION,
    ),
)
