from math import sqrt

import torch


def set_attention(query, key, value, ignore=None):
    # ignore: True for the pairs that take no part, shape (batch, n, m)
    n_features = query.shape[2]
    affinity = torch.bmm(query, key.transpose(1, 2)) / sqrt(n_features)
    if ignore is not None:
        affinity.masked_fill_(ignore.bool(), float('-inf'))
    coefficients = torch.softmax(affinity, dim=2)
    return torch.bmm(coefficients, value)
