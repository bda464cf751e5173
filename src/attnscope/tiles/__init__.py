"""A head of any length as tiles of 256 × 256 cells, made from q and k when they are asked for."""
