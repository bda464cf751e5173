"""The rows of a dataset of the package `datasets`, by its name or its folder."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from attnscope.errors import MissingDependency, UnreadableFile


def dataset_at(path: Path, given: str) -> Iterator[Any] | None:
    """The rows of what `datasets` saved in this folder, or of the dataset of this name; None where it is neither.

    They are of the split "train", or of the first. Raises MissingDependency without datasets, UnreadableFile for what it
    cannot read.
    """
    saved = any((path / name).exists() for name in ("dataset_info.json", "dataset_dict.json"))
    named = not (path.exists() or path.suffix or given.startswith((".", "~", "/")) or given.count("/") > 1)
    return _rows(str(path) if saved else given, saved) if saved or named else None


def _rows(name: str, saved: bool) -> Iterator[Any]:
    try:
        import datasets  # pyright: ignore[reportMissingImports]
    except ImportError:
        what = (
            "it was saved by datasets"
            if saved
            else "there is no such file or folder, so it is taken for a dataset's name"
        )
        raise MissingDependency(f"the corpus {name!r} needs datasets ({what})", "datasets") from None
    row = 0
    try:
        found = datasets.load_from_disk(name) if saved else datasets.load_dataset(name, streaming=True)
        if isinstance(found, Mapping):  # by split
            found = found.get("train", next(iter(found.values())))
        for values in found:
            yield values
            row += 1
    except Exception as error:  # of the hub, of its files, of their code
        where = f" from row {row} on" if row else ""
        raise UnreadableFile(
            f"the dataset {name!r} cannot be read{where}: {(str(error).splitlines() or [type(error).__name__])[0]}. For a configuration or a "
            "split of your own, give its rows in Python: corpus=datasets.load_dataset(name, configuration, split=…, streaming=True)."
        ) from error
