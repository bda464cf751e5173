"""What is examined of a model in use, a file a check."""
