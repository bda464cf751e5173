"""Tables as data frames of pandas, which is an extra."""

from typing import Any

from attnscope.errors import MissingDependency


def data_frame(data: Any, **named: Any) -> Any:
    """pandas.DataFrame(data, …). Raises MissingDependency without pandas."""
    try:
        import pandas as pd
    except ImportError:
        raise MissingDependency("to_frame() needs pandas", "roles") from None
    return pd.DataFrame(data, **named)
