"""bertviz.model_view: model_view()."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from attnscope.bertviz.drawing import ACTIONS, MODES, check_choice, drawn, view_of
from attnscope.bertviz.given import numbers, trace_of


def model_view(
    attention: Any = None,
    tokens: Sequence[str] | None = None,
    sentence_b_start: int | None = None,
    prettify_tokens: bool = True,
    display_mode: str = "dark",
    encoder_attention: Any = None,
    decoder_attention: Any = None,
    cross_attention: Any = None,
    encoder_tokens: Sequence[str] | None = None,
    decoder_tokens: Sequence[str] | None = None,
    include_layers: Sequence[int] | None = None,
    include_heads: Sequence[int] | None = None,
    html_action: str = "view",
) -> Any:
    """Draw the model level of attention weights: every head of every layer as a thumbnail.

    BertViz's signature; arguments and errors as of head_view. `display_mode` is "dark" or "light". `include_heads` does
    not leave heads out: all of them are drawn, it opens on the first of these, and the view says so.
    """
    check_choice("html_action", html_action, ACTIONS)
    check_choice("display_mode", display_mode, MODES)
    stacks = {"encoder": encoder_attention, "decoder": decoder_attention, "cross": cross_attention}
    names = {"encoder": encoder_tokens, "decoder": decoder_tokens}
    trace = trace_of(attention, tokens, sentence_b_start, stacks, names, include_layers)
    if include_heads is not None:
        wanted = ", ".join(map(str, numbers("include_heads", include_heads)))
        note = f"include_heads=[{wanted}]: the model level draws the other heads too; at the head level these are drawn together."
        trace = replace(trace, notes=(*trace.notes, note))
    return drawn(view_of(trace, "model", None, include_heads, display_mode), html_action)
