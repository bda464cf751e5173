"""What the doctor checks in a model in use, one file a check."""
