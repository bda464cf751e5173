"""What each head of a model does to its predictions, one head after another: `attnscope.effects`; and by which later head: `attnscope.path_effects`."""

from attnscope.head_effects.measure import effects as effects
from attnscope.head_effects.paths import path_effects as path_effects
from attnscope.head_effects.table import EffectTable as EffectTable
