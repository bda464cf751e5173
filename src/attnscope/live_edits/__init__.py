"""Edits while you look: predictions before and after, recomputed from the edited layer on, for a page that asks.

kept_text.py: a text that the model has read, and what its layers returned. live.py: what a server and a widget ask. answers.py: the answers as
plain values.
"""

from attnscope.live_edits.live import LiveEdits as LiveEdits
