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

    This is BertViz's signature.

    - `attention`: weights as a model returns them, a list with one (1, H, Q, K) or (H, Q, K) per layer: torch or numpy,
      from 0 to 1. `tokens`: Q strings, the queries and keys of `attention`.
    - `sentence_b_start`: position, from 0, of the first token of the second sentence. None: there is one sentence.
    - `prettify_tokens`: accepted and without effect. Tokens never show the marks of their vocabulary, such as "##".
    - `display_mode`: the theme, "dark" or "light".
    - `encoder_attention`, `decoder_attention`, `cross_attention`: the weights of an encoder-decoder model, each as
      `attention`; one of them is enough. `encoder_tokens`, `decoder_tokens`: strings; the encoder needs the first, the
      decoder the second, cross attention both.
    - `include_layers`: numbers of the layers to draw, from 0; they keep their numbers. None draws all.
    - `include_heads`: numbers of heads, from 0. All heads are drawn anyway; the view opens on the first of these, draws
      them together at the head level, and says so.
    - `html_action`: "view" draws here; "return" returns an IPython HTML object, whose `data` is the page.

    Raises InputError where there are no weights, or where tokens, layers or heads do not fit them.
    """
    check_choice("html_action", html_action, ACTIONS)
    check_choice("display_mode", display_mode, MODES)
    stacks = {"encoder": encoder_attention, "decoder": decoder_attention, "cross": cross_attention}
    names = {"encoder": encoder_tokens, "decoder": decoder_tokens}
    trace = trace_of(attention, tokens, sentence_b_start, stacks, names, include_layers)
    if include_heads is not None:
        wanted = ", ".join(map(str, numbers("include_heads", include_heads)))
        note = f"include_heads=[{wanted}]: the model level draws all heads; the head level draws these together."
        trace = replace(trace, notes=(*trace.notes, note))
    return drawn(view_of(trace, "model", None, include_heads, display_mode), html_action)
