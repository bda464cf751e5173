"""Scores of heads that are read off the model's weights, with no text: copying, and what looks at its like.

They are shown and decide nothing: of SmolLM2's heads 47 % copy by this score, and four of its best six induction heads do not.
"""
