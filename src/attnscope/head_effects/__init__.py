"""What each head of a model does to its predictions, one head after another: `attnscope.effects`."""

from attnscope.head_effects.measure import effects as effects
from attnscope.head_effects.table import EffectTable as EffectTable
