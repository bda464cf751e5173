"""Hypothesis: few enough examples to stay quick, and no deadline on a busy machine."""

from hypothesis import settings

settings.register_profile("quick", max_examples=60, deadline=None)
settings.load_profile("quick")
