"""Figures through matplotlib (extra `plot`): every level of a view on paper, with the numbers and colours of the page.

Vectors are small bars on a baseline, and larger weights are darker in even steps of lightness, so that a grey print keeps
sign and order. A note below the picture says what it leaves out.
"""

from attnscope.render.figures.draw import figure, needed, plot
from attnscope.render.figures.export import KINDS, check_file, to_bytes
from attnscope.render.figures.metadata import describe

__all__ = ["KINDS", "check_file", "describe", "figure", "needed", "plot", "to_bytes"]
