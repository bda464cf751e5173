"""How numbers and tokens are written, everywhere."""
