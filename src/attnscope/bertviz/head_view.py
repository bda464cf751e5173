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
    """Draw the head level of attention weights: a line from each query to the keys that it attends to.

    This is BertViz's signature.

    - `attention`: weights as a model returns them, a list with one (1, H, Q, K) or (H, Q, K) per layer: torch or numpy,
      from 0 to 1. `tokens`: Q strings, the queries and keys of `attention`.
    - `sentence_b_start`: position, from 0, of the first token of the second sentence. None: there is one sentence.
    - `prettify_tokens`: accepted and without effect. Tokens never show the marks of their vocabulary, such as "##".
    - `layer`: number of the layer to open on, from 0. None chooses that of a link between two different words that
      stands out. `heads`: numbers of the heads to draw over each other, from 0; the first is the one it opens on.
      None chooses one head in the same way, and the view says why.
    - `encoder_attention`, `decoder_attention`, `cross_attention`: the weights of an encoder-decoder model, each as
      `attention`; one of them is enough. `encoder_tokens`, `decoder_tokens`: strings; the encoder needs the first, the
      decoder the second, cross attention both.
    - `include_layers`: numbers of the layers to draw, from 0; they keep their numbers. None draws all.
    - `html_action`: "view" draws here; "return" returns an IPython HTML object, whose `data` is the page.

    Raises InputError where there are no weights, or where tokens, layers or heads do not fit them.
    """
    check_choice("html_action", html_action, ACTIONS)
    stacks = {"encoder": encoder_attention, "decoder": decoder_attention, "cross": cross_attention}
    names = {"encoder": encoder_tokens, "decoder": decoder_tokens}
    trace = trace_of(attention, tokens, sentence_b_start, stacks, names, include_layers)
    return drawn(view_of(trace, "head", layer, heads, "auto"), html_action)
