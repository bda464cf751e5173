"""From the residual stream to what the model predicts: its own predictions, the lens, and what each part contributed.

Two norms, never confused: the *lens* computes the final norm anew at each layer; *direct attribution* freezes it at the value that
it had (`attnscope.tracing.frozen`). Methods of a Trace reach these functions through `attnscope.api`.
"""
