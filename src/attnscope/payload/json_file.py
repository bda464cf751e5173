"""A table that was saved as JSON, read back."""

import json
import os
from typing import Any

from attnscope.errors import InputError, UnreadableFile


def read_json(path: str | os.PathLike[str], what: str, saved_by: str) -> Any:
    """What the JSON at `path` holds. `what`: the table's name in errors; `saved_by`: what writes such files.

    Raises UnreadableFile for a file that cannot be read, InputError for one that is no JSON.
    """
    where = os.fspath(path)
    try:
        with open(path, encoding="utf-8") as file:
            return json.load(file)
    except (OSError, UnicodeDecodeError) as error:
        raise UnreadableFile(f"the {what} in {where} cannot be read: {error}.") from error
    except json.JSONDecodeError as error:
        raise InputError(f"{where} is no JSON ({error}); expected a file that {saved_by} wrote.") from error
