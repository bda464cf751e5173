"""The statistics of a head in one compiled pass, with numba; see `use` for when."""
