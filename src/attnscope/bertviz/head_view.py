"""bertviz.head_view: head_view()."""

from collections.abc import Sequence
from typing import Any

from attnscope.bertviz.drawing import ACTIONS, check_choice, drawn, view_of
from attnscope.bertviz.given import trace_of


def head_view(
    attention: Any = None,
    tokens: Sequence[str] | None = None,
    sentence_b_start: int | None = None,
    prettify_tokens: bool = True,
    layer: int | None = None,
    heads: Sequence[int] | None = None,
    encoder_attention: Any = None,
    decoder_attention: Any = None,
    cross_attention: Any = None,
    encoder_tokens: Sequence[str] | None = None,
    decoder_tokens: Sequence[str] | None = None,
    include_layers: Sequence[int] | None = None,
    html_action: str = "view",
) -> Any:
    """Draw the head level of attention weights: lines from each query to the keys it looks at.

    BertViz's signature. `attention` is what a model returns as attentions: one (1, H, Q, K) per layer, with `tokens`;
    `sentence_b_start` is where the second sentence of a pair begins. An encoder-decoder model has three stacks of them,
    of which any may come. `include_layers` leaves the other layers out. It opens on `layer` and `heads`, drawn over each
    other; without them on one head, that of the strongest link, and says so. `prettify_tokens` changes nothing: tokens
    are always shown without the marks of their vocabulary. `html_action="return"` returns an IPython HTML object instead
    of drawing. Raises InputError where tokens and weights do not fit, or where there are no weights.
    """
    check_choice("html_action", html_action, ACTIONS)
    stacks = {"encoder": encoder_attention, "decoder": decoder_attention, "cross": cross_attention}
    names = {"encoder": encoder_tokens, "decoder": decoder_tokens}
    trace = trace_of(attention, tokens, sentence_b_start, stacks, names, include_layers)
    return drawn(view_of(trace, "head", layer, heads, "auto"), html_action)
