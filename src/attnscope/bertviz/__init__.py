"""BertViz's module paths and signatures over attnscope: replace `bertviz` by `attnscope.bertviz` in an import.

head_view and model_view draw attention weights that a model returned, without the model; neuron_view.show draws the
neuron level of any Hugging Face model; transformers_neuron_view holds the model classes that notebooks import from
there, which are transformers' own. `display_mode` lives only here; elsewhere it is `theme`.
"""

from attnscope.bertviz.head_view import head_view
from attnscope.bertviz.model_view import model_view

__all__ = ["head_view", "model_view"]
