"""Statistics of heads that are computed when somebody asks for them. `entries.py` lists them.

Each is an Entry: what it is, and sums that are started, updated with the weights of a block of queries, merged with the
sums of other queries, and finished. The sums are fp64, so neither the size nor the order of the blocks shows.
"""
