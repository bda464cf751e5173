"""The doctor for a model in use: is this model, with this tokenizer, reading this text as it should?

    assert attnscope.check(model, tokenizer, "The cat sat.")

It looks at the ids that the model would read (`texts`, `markers`), runs the model on them and on small variations of them, and
compares: hidden tokens against other hidden tokens, a padded row against the row alone, one seed against another
(`masks`, `padding`, `numbers`, `adapters`). What it claims, it has measured. It imports neither transformers nor peft.
"""

from attnscope.doctor.model_check.examine import check_model

__all__ = ["check_model"]
