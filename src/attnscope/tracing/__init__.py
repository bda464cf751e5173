"""What a forward pass left behind, as data."""
