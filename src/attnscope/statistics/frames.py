"""Tables as data frames of pandas, which is an extra."""

from typing import Any

from attnscope.errors import MissingDependency


def need_pandas() -> Any:
    """The package. Raises MissingDependency without it."""
    try:
        import pandas
    except ImportError:
        raise MissingDependency("to_frame() needs pandas", "roles") from None
    return pandas


def data_frame(data: Any, **named: Any) -> Any:
    """pandas.DataFrame(data, …). Raises MissingDependency without pandas."""
    return need_pandas().DataFrame(data, **named)
