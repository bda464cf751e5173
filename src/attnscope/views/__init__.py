"""Where to look: a View, its state and what is said about it."""
