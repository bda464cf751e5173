"""bertviz.neuron_view: show()."""

from typing import Any

from attnscope import api
from attnscope.bertviz.drawing import ACTIONS, MODES, check_choice, drawn
from attnscope.errors import InputError

MODEL_TYPES = ("bert", "gpt2", "roberta")


def show(
    model: Any,
    model_type: str,
    tokenizer: Any,
    sentence_a: str,
    sentence_b: str | None = None,
    display_mode: str = "dark",
    layer: int | None = None,
    head: int | None = None,
    html_action: str = "view",
) -> Any:
    """Draw the neuron view of `sentence_a` (and `sentence_b`), or return its HTML.

    BertViz's signature. The model is looked at as it is, so `model_type` decides nothing; it is "bert", "gpt2", "roberta",
    or what the model's configuration says. `html_action="return"` returns an IPython HTML object. Raises InputError for
    other values.
    """
    check_choice("display_mode", display_mode, MODES)
    check_choice("html_action", html_action, ACTIONS)
    if not isinstance(model_type, str):
        raise InputError(
            f"model_type is the second argument, as in BertViz: a string such as 'bert'; {type(model_type).__name__} came."
        )
    own = getattr(getattr(model, "config", None), "model_type", None)
    if model_type not in (*MODEL_TYPES, own):
        also = f", or this model's own {own!r}" if own and own not in MODEL_TYPES else ""
        raise InputError(f"model_type {model_type!r} is not one of {', '.join(map(repr, MODEL_TYPES))}{also}.")
    view = api.show(
        model,
        tokenizer,
        sentence_a,
        text_pair=sentence_b or None,
        layer=layer,
        head=head,
        theme=display_mode,
        static=True,
    )
    return drawn(view, html_action)
