import torch


def autoregressive_attention(queries, keys, values):
    """All inputs are (batch, time, features)."""
    time, features = queries.shape[-2:]
    logits = torch.baddbmm(
        torch.full((time, time), float("-inf"), dtype=queries.dtype, device=queries.device).triu(),
        queries,
        keys.transpose(1, 2),
        alpha=features ** -0.5,
    )
    weights = torch.softmax(logits, dim=-1)
    return weights.bmm(values), weights
