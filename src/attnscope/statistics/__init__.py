"""Numbers about a head."""
