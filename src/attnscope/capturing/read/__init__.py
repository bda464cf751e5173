"""What a recorded call says: masks, caches, projections."""
