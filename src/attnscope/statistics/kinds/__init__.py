"""What is no single number of a head from one pass over its weights: rollout, distances between heads, the strongest pairs,
and the retrieval score. `definitions.py` says what each is."""
