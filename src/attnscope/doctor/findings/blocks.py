"""Attention in blocks of keys or of queries, as FlashAttention and memory-efficient code have it: the blocks must not show in the output."""

from attnscope.doctor.findings.entry import Entry

FLASH = "Dao et al. 2022, FlashAttention: https://arxiv.org/abs/2205.14135"
SAME = "the size of the blocks does not change the output"

RUNNING = """
def attention(query, key, value):  # (batch, length, size), in blocks of two keys
    total, out, largest = 0.0, 0.0, torch.full((*query.shape[:-1], 1), -1e30)
    for keys, values in zip(key.split(2, dim=-2), value.split(2, dim=-2)):
        scores = query @ keys.mT / math.sqrt(query.shape[-1])
        new = torch.maximum(largest, scores.amax(dim=-1, keepdim=True))
        part, rescale = (scores - new).exp(), (largest - new).exp()
        total = total * rescale + part.sum(dim=-1, keepdim=True)
        out = out * rescale + part @ values
        largest = new
    return out / total
"""
APART = """
def attention(query, key, value):  # (batch, length, size), in blocks of two keys
    parts, sums = [], []
    for keys, values in zip(key.split(2, dim=-2), value.split(2, dim=-2)):
        scores = query @ keys.mT / math.sqrt(query.shape[-1])
        parts.append(scores.softmax(dim=-1) @ values)
        sums.append(scores.logsumexp(dim=-1))
    return sum(parts)
"""
BY_QUERIES = """
def attention(query, key, value, chunk_size=64):  # (batch, length, size), causal
    outputs = []
    for start in range(0, query.shape[-2], chunk_size):
        queries = query[:, start : start + chunk_size]
        scores = queries @ key.mT / math.sqrt(query.shape[-1])
        allowed = torch.ones(scores.shape[-2:], dtype=torch.bool).tril()
        outputs.append(scores.masked_fill(~allowed, -torch.inf).softmax(dim=-1) @ value)
    return torch.cat(outputs, dim=-2)
"""

ENTRIES = (
    Entry(
        id="running-sum-not-rescaled",
        severity="error",
        title="the softmax runs over blocks of keys, and what earlier blocks gave is not rescaled when a larger score comes",
        why="Each block's exponentials are taken less the largest score so far. When that grows, both the running output and the running sum must "
        "be multiplied by exp(old - new), or the blocks count by different measures.",
        cure="rescale = (old - new).exp(); total = total * rescale + p.sum(-1); out = out * rescale + p @ v",
        invariant=SAME,
        place="where a block is added to the ones before",
        wrong=RUNNING.replace("out = out * rescale +", "out = out +"),
        right=RUNNING,
        reference=FLASH,
    ),
    Entry(
        id="softmax-of-each-block",
        severity="error",
        title="each block of keys has a softmax of its own, and their outputs are added up",
        why="Every block then counts as much as any other, however small its scores are. The blocks' outputs must be weighted by the sums of their "
        "exponentials.",
        cure="weigh each block's output by exp(its logsumexp - the logsumexp of all)",
        invariant=SAME,
        place="where the outputs of the blocks meet",
        wrong=APART,
        right=(
            "return sum(parts)",
            "share = torch.stack(sums).softmax(dim=0)\n    return (share[..., None] * torch.stack(parts)).sum(dim=0)",
        ),
        reference=FLASH,
    ),
    Entry(
        id="blocks-change-output",
        severity="error",
        what="the output depends on the size of the blocks that the computation is cut into",
        title="with {name}={size} the output differs from that with {name}={default}, on {length} tokens",
        why="Blocks are how the same sum is computed in less memory. With one block for all tokens the code is right; most texts are longer than that.",
        cure="look at what restarts in each block: the positions in a triangle or a rotary embedding, the running maximum and sum, a mask that is not cut",
        evidence="by up to {far:.2g} standard deviations",
        invariant=SAME,
        place="what each block starts from",
        wrong=BY_QUERIES,
        right=(
            "torch.ones(scores.shape[-2:], dtype=torch.bool).tril()",
            "torch.ones(scores.shape[-2:], dtype=torch.bool).tril(start)",
        ),
        reference=FLASH,
    ),
)
