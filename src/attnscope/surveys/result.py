"""A finished survey, as its folder has it."""

from pathlib import Path
from typing import Any

from attnscope.errors import InputError, MissingDependency
from attnscope.surveys.arrow import parquet
from attnscope.surveys.manifest import read

TABLES = ("heads", "distributions", "examples", "documents", "set_aside")


class Survey:
    """The tables of a survey in a folder: `attnscope.survey` makes one, `Survey(folder)` opens it again.

    `folder`: where it is. `manifest`: its configuration, counts and shards. Raises UnreadableFile for a folder without one.
    """

    def __init__(self, folder: Any) -> None:
        self.folder = Path(folder)
        self.manifest = read(self.folder)

    @property
    def documents(self) -> int:
        """How many texts were read; windows of a long document count each."""
        return self.manifest["documents"]

    @property
    def set_aside(self) -> int:
        """How many could not be used; the table says why."""
        return self.manifest["set_aside"]

    @property
    def tokens(self) -> int:
        return self.manifest["tokens"]

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader must know."""
        return tuple(self.manifest["notes"])

    def table(self, name: str = "heads") -> Any:
        """A table of pyarrow by its `name`: "heads", "distributions", "examples", "documents" or "set_aside"."""
        if name not in TABLES:
            raise InputError(f"a survey has no table {name!r}: it has {', '.join(TABLES)}.")
        return parquet().read_table(self.folder / "tables" / f"{name}.parquet")

    def to_frame(self, name: str = "heads") -> Any:
        """The table of this `name` as a pandas DataFrame. Raises MissingDependency without pandas."""
        try:
            import pandas  # noqa: F401
        except ImportError:
            raise MissingDependency("data frames need pandas", "roles") from None
        return self.table(name).to_pandas()

    def __repr__(self) -> str:
        aside = f", {self.set_aside:,} set aside" if self.set_aside else ""
        return f"Survey({str(self.folder)!r}: {self.documents:,} texts, {self.tokens:,} tokens{aside})"
