"""Two traces: what belongs together, and how much each head changed."""
