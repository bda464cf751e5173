"""How probable was each token that a model generated, at which rank, and what would have come second?"""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from attnscope.tracing.tokens import Tokens, tokens_of


def with_chances(tokens: Tokens | None, outputs: Any, tokenizer: Any) -> Tokens | None:
    """The tokens with the probability, the rank and the runner-up of those behind the border, from the outputs of the pass that read
    them; as they were where these hold no logits [1, T, V] for them."""
    logits = getattr(outputs, "logits", None)
    if tokens is None or not tokens.border or not tokens.ids or tokens.border >= len(tokens):
        return tokens
    if not isinstance(logits, Tensor) or logits.ndim != 3 or logits.shape[:2] != (1, len(tokens)):
        return tokens
    made = logits[0, tokens.border - 1 : -1].float()
    rows = made.softmax(-1)
    written = torch.tensor(tokens.ids[tokens.border :], device=rows.device)
    if int(written.max()) >= rows.shape[1]:
        return tokens
    own = rows.gather(1, written[:, None])[:, 0].tolist()
    rank = (made > made.gather(1, written[:, None])).sum(1) + 1  # of logits: small probabilities round to the same
    value, other = rows.scatter(1, written[:, None], -1.0).max(-1)
    names = [tokens_of(tokenizer, [i]).shown[0] for i in other.tolist()]  # each by itself: they are no text
    before = (None,) * tokens.border
    second = tuple(zip(names, value.tolist(), strict=True))
    return replace(tokens, probability=(*before, *own), runner_up=(*before, *second), rank=(*before, *rank.tolist()))
