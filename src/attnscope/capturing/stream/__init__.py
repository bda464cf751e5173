"""The residual stream, found by data: what is added to it is followed through torch's functions while the model runs."""
