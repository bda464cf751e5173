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
    """Draw the neuron level of a text: q, k and their products, number by number.

    This is BertViz's signature, for any Hugging Face model.

    - `model`: the model, a torch module. `tokenizer`: its tokenizer.
    - `model_type`: "bert", "gpt2", "roberta", or the model type of the model's configuration. It changes nothing, because
      attnscope reads the model itself.
    - `sentence_a`: the text. `sentence_b`: a second sentence, or None.
    - `display_mode`: the theme, "dark" or "light".
    - `layer`, `head`: the numbers to open on, from 0. None chooses those of a link between two different words that
      stands out, and the view says why.
    - `html_action`: "view" draws here; "return" returns an IPython HTML object, whose `data` is the page.

    Raises InputError for arguments that do not fit, and CaptureError for a model that attnscope cannot trace.
    """
    check_choice("display_mode", display_mode, MODES)
    check_choice("html_action", html_action, ACTIONS)
    if not isinstance(model_type, str):
        raise InputError(
            "model_type, the second argument as in BertViz, must be a string such as 'bert'; "
            f"got {type(model_type).__name__}."
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
        level="neuron",
        theme=display_mode,
        static=True,
    )
    return drawn(view, html_action)
