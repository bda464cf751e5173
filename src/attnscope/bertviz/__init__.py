"""BertViz's module paths and signatures over attnscope: replace `bertviz` by `attnscope.bertviz` in an import.

head_view and model_view draw attention weights that a model returned; they need no model. neuron_view.show draws the
neuron level of any Hugging Face model. transformers_neuron_view has the model classes that BertViz's notebooks import
from there; they are transformers' own classes. What is `display_mode` here is `theme` everywhere else.
"""

from attnscope.bertviz.head_view import head_view
from attnscope.bertviz.model_view import model_view

__all__ = ["head_view", "model_view"]
