"""A corpus through a model: the statistics of every head over all of it, as tables. docs/scale.md."""
