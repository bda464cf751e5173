"""BertViz's module paths and signatures over attnscope: replace `bertviz` by `attnscope.bertviz` in an import.

neuron_view.show draws the neuron level of any Hugging Face model; transformers_neuron_view holds the model classes that
notebooks import from there, which are transformers' own. `display_mode` lives only here; elsewhere it is `theme`.
"""
