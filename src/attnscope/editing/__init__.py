"""Edits of a running model: switch heads off, cut, patch, and measure what changes.

`attnscope.edit` opens an `Edit`; its verbs are rules (rules.py); while the model runs, the desk (desk.py) finds the rules that hold
for a call, and apply.py changes one link of the chain. effect.py measures what that does to a prediction.
"""

from attnscope.editing.edit import Edit as Edit, edit as edit
from attnscope.editing.effect import Effect as Effect
