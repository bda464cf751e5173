"""bertviz.transformers_neuron_view: BertViz has changed copies of model classes of 2019 here. attnscope reads the real
classes, so every name here is the class of transformers."""

from typing import Any

_NAMES = tuple(family + part for family in ("Bert", "GPT2", "Roberta") for part in ("Config", "Model", "Tokenizer"))

__all__ = list(_NAMES)  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    import transformers

    try:
        return getattr(transformers, name)
    except AttributeError:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}, and neither has transformers") from None


def __dir__() -> list[str]:
    return sorted(_NAMES)
