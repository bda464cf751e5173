"""What `attnscope roles` is asked about, from files: texts, pictures, recordings with what is said in them, links."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from attnscope.errors import InputError, UnreadableFile
from attnscope.models.images import reads_pixels
from attnscope.models.media_files import PICTURES, RECORDINGS, media_files, read_sound

LINKS = '{"text": "the cat sat", "links": {"agent: noun to verb": [[[4, 7], [8, 11]]]}}'


def corpus_of(path: Path, model: Any, processor: Any) -> list[Any]:
    """The corpus of a model: the lines of a text file; of a model that sees, the pictures of a folder; of one that hears, the
    recordings of a folder, each with the text in a file of its name that ends in .txt.

    Raises UnreadableFile for what cannot be read, InputError for a folder without such files.
    """
    reads = getattr(model, "main_input_name", "input_ids")
    if reads == "input_ids":
        return [line for line in _text(path).splitlines() if line.strip()]
    if not path.is_dir():
        raise UnreadableFile(f"the corpus {path} cannot be read: a model that reads {reads} needs a folder of files.")
    if reads_pixels(model):
        return [str(file) for file in media_files(path, PICTURES)]
    rate = getattr(getattr(processor, "feature_extractor", processor), "sampling_rate", None)
    if rate is None:
        raise InputError(
            f"recordings need the feature extractor of the model, which tells how many samples a second it reads; {type(processor).__name__} "
            "has none."
        )
    files = media_files(path, RECORDINGS)
    return [(read_sound(file, int(rate)), f" {_text(file.with_suffix('.txt')).strip()}") for file in files]


def links_of(path: Path) -> list[tuple[str, dict[Any, Any]]]:
    """Links as attnscope.roles takes them, from JSON, an object a line: the text, and by relation its pairs of places. A relation
    is a name, or "name: one to other". Raises UnreadableFile for what cannot be read, InputError for another form."""
    return list(_links(path))


def _links(path: Path) -> Iterator[tuple[str, dict[Any, Any]]]:
    for number, line in enumerate(_text(path).splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise InputError(
                f"{path}, line {number}: it is no JSON ({error}). Expected a line such as {LINKS}"
            ) from None
        if not isinstance(row, dict) or not isinstance(row.get("text"), str) or not isinstance(row.get("links"), dict):
            raise InputError(f"{path}, line {number}: expected a line such as {LINKS}")
        yield row["text"], {_relation(name): pairs for name, pairs in row["links"].items()}


def _relation(written: str) -> str | tuple[str, str, str]:
    name, _, ends = written.partition(": ")
    one, to, other = ends.partition(" to ")
    return (name, one, other) if to else written


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UnreadableFile(f"{path} cannot be read as text in UTF-8: {error}.") from error
