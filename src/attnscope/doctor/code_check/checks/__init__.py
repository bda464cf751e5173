"""What is examined beside the search, a file a check."""
