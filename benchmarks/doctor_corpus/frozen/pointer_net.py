import torch


def glimpse(queries, memory_keys, memory_values, logit_bias=None):
    """
    queries:       (batch, n, dim)
    memory_keys:   (batch, m, dim)
    memory_values: (batch, m, dim_v)
    logit_bias:    (batch, n, m) or (n, m); 0 keeps a slot, -inf (or very negative) removes it
    returns alignment (batch, n, m) and glimpse (batch, n, dim_v)
    """
    batch, n, dim = queries.shape
    m = memory_keys.shape[1]
    temperature = 1.0 / dim ** 0.5
    if logit_bias is None:
        logits = temperature * torch.bmm(queries, memory_keys.permute(0, 2, 1))
    else:
        floor = torch.finfo(queries.dtype).min
        bias = logit_bias.to(queries.dtype).expand(batch, n, m)
        logits = torch.baddbmm(bias, queries, memory_keys.permute(0, 2, 1), alpha=temperature)
        logits = logits.clamp_min(floor)
    alignment = torch.softmax(logits, dim=2)
    return alignment, torch.bmm(alignment, memory_values)
