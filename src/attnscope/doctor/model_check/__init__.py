"""The doctor for a model in use: is this model, with this tokenizer, reading this text as it should?

    attnscope.check(model, tokenizer, "The cat sat.").raise_for_errors()

`arguments` turns what you give into a `case`. `examine` runs the checks on it, one file each: those of the ids
(`token_ids`, `special_tokens`), and those that run the model on the ids and on small variations of them and compare
outputs (`numerics`, `length`, `masks`, `padding`, `adapters`). Every finding has been measured on this model. The texts
of the findings are in `doctor/findings/`. Nothing here imports transformers or peft.
"""

from attnscope.doctor.model_check.examine import check_model

__all__ = ["check_model"]
