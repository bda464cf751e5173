"""A finished survey, as its folder has it."""

from pathlib import Path
from typing import Any

from attnscope.errors import InputError
from attnscope.statistics.frames import need_pandas
from attnscope.surveys.arrow import parquet
from attnscope.surveys.atlas import write_headvis
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
        need_pandas()
        return self.table(name).to_pandas()

    def save_headvis(self, folder: Any) -> Path:
        """Write the survey as JSON into `folder`/data, in files with the names of HeadVis. The keys in them are the survey's own, because those of
        HeadVis are not known. Returns that folder.

        Raises OutputError where a file cannot be written, InputError for a survey without heads.
        """
        return write_headvis(self.folder, Path(folder))

    def __repr__(self) -> str:
        aside = f", {self.set_aside:,} set aside" if self.set_aside else ""
        return f"Survey({str(self.folder)!r}: {self.documents:,} texts, {self.tokens:,} tokens{aside})"
