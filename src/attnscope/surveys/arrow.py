"""pyarrow, where it is installed."""

from typing import Any

from attnscope.errors import MissingDependency


def arrow() -> Any:
    """The package. Raises MissingDependency without it."""
    try:
        import pyarrow
    except ImportError:
        raise MissingDependency("surveys write Parquet, which needs pyarrow", "survey") from None
    return pyarrow


def parquet() -> Any:
    """Its module for Parquet."""
    arrow()
    import pyarrow.parquet

    return pyarrow.parquet
