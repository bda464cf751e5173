"""Where to look: a View, the table of its state, the levels, and the sentences about a query."""

from attnscope.views.earlier import with_state as with_state
