"""bertviz.neuron_view: show()."""

from typing import Any

from attnscope import api
from attnscope.errors import InputError

_ACTIONS = ("view", "return")


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

    BertViz's signature. `model_type` ("bert", "gpt2", "roberta") is not needed any more: the model is looked at as it is.
    `html_action="return"` returns an IPython HTML object. Raises InputError for other values.
    """
    if display_mode not in ("dark", "light"):
        raise InputError(f'display_mode {display_mode!r} is not one of "dark", "light".')
    if html_action not in _ACTIONS:
        raise InputError(f"html_action {html_action!r} is not one of {', '.join(map(repr, _ACTIONS))}.")
    if not isinstance(model_type, str):
        raise InputError(
            f"model_type is the second argument, as in BertViz: a string such as 'bert'; {type(model_type).__name__} came."
        )
    view = api.show(
        model, tokenizer, sentence_a, text_pair=sentence_b, layer=layer, head=head, theme=display_mode, static=True
    )  # fmt: skip
    if html_action == "return":
        from IPython.display import HTML

        return HTML(view._repr_mimebundle_()["text/html"])
    view.display()
    return None
