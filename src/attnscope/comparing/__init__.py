"""Two traces: what belongs together, and how much each head changed."""

from attnscope.comparing.comparison import Comparison

__all__ = ["Comparison"]
