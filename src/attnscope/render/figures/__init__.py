"""Figures through matplotlib (extra `plot`): every level of a view on paper, with the numbers and colours of the page.

Vectors are small bars about a baseline and weights grow darker in even steps of lightness, so that sign and order
survive a grey print. What a figure leaves out it says beneath the picture.
"""

from attnscope.render.figures.draw import figure, needed, plot
from attnscope.render.figures.export import KINDS, check_file, to_bytes
from attnscope.render.figures.metadata import describe

__all__ = ["KINDS", "check_file", "describe", "figure", "needed", "plot", "to_bytes"]
