"""Pictures and recordings as the documents of a survey: files of a folder, which the model reads one at a time."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from attnscope.capturing import Recorder
from attnscope.errors import CaptureError, InputError
from attnscope.head_roles.batches import Head, heads_of, sites_of_text, vouch
from attnscope.models.images import image_inputs
from attnscope.models.inputs import prepare
from attnscope.models.media_files import PICTURES, RECORDINGS, media_files, read_sound
from attnscope.statistics.definitions import STATISTICS
from attnscope.surveys.batch_numbers import Numbers, numbers_of_text
from attnscope.surveys.documents import Document
from attnscope.surveys.further_numbers import further_numbers
from attnscope.surveys.worker import Worker
from attnscope.tracing.tokens import Tokens

ENDINGS = {"pixel_values": PICTURES, "input_features": RECORDINGS, "input_values": RECORDINGS}
_NOT = ("link", "in_order", "time_spread")  # apart, and those of text that looks at a sound
NAMES = tuple(one.name for one in STATISTICS if one.name not in _NOT)


class MediaFolder:
    """The files of a folder that a model can read. `reads`: its main input. Raises InputError where there is none."""

    def __init__(self, folder: Path, reads: str) -> None:
        self.folder, self.files = folder, media_files(folder, ENDINGS[reads])

    def __len__(self) -> int:
        return len(self.files)

    def documents(self) -> Iterator[Document]:
        """One a file; a hash of the file stands where a text has its words."""
        for file in self.files:
            name = file.relative_to(self.folder).as_posix()
            try:
                digest = hashlib.sha256(file.read_bytes()).hexdigest()
            except OSError as error:
                yield Document(name, 0, "", f"it cannot be read: {error.strerror or error}")
            else:
                yield Document(name, 0, digest, path=str(file.resolve()))


@dataclass(eq=False)
class Medium:
    """A file, as the model reads it. `tokens`: its positions, once they are known."""

    name: str
    source: str
    row: int
    path: str
    tokens: Tokens | None = None
    text: str = ""

    @property
    def special(self) -> Sequence[bool]:
        return () if self.tokens is None else self.tokens.special

    def __len__(self) -> int:
        return len(self.special)


class MediaWorker(Worker):
    """A worker whose documents are files. `tokenizer`: the processor."""

    level = NAMES

    def _texts(self, documents: Sequence[Document]) -> tuple[list[Any], list[tuple[Document, str]]]:
        aside = [(one, one.reason) for one in documents if one.reason]
        return [Medium(one.name, one.source, one.row, one.path) for one in documents if not one.reason], aside

    def _batches(self, texts: list[Any]) -> Iterator[list[int]]:
        return ([number] for number in range(len(texts)))

    def _numbers(self, texts: list[Any], checked: int) -> tuple[tuple[Head, ...], Numbers]:
        (medium,) = texts
        inputs = inputs_of(self.model, self.tokenizer, Path(medium.path))
        ready = prepare(self.model, None, inputs=inputs, reader=self.tokenizer)
        with Recorder(self.model, own_thread=True) as recorder:
            self.model(**ready.inputs)
        sites = sites_of_text(recorder.trace(tokens=ready.tokens), len(ready.tokens))
        if not sites:
            raise CaptureError(f"{type(self.model).__name__} has no self-attention over all of its positions.")
        vouch(sites)
        medium.tokens = ready.tokens
        numbers = numbers_of_text(sites, ready.tokens, NAMES)
        if self.further:
            values, counts = further_numbers(sites, ready.tokens, self.further)
            more = {"values": torch.cat([numbers.values, values[None]], -1), "counts": torch.cat([numbers.counts, counts[None]], -1)}  # fmt: skip
            numbers = replace(numbers, **more)
        return heads_of(sites), numbers

    def _pieces(self, texts: list[Any]) -> list[tuple[list[str], list[bool]]]:
        return [([*text.tokens.strings], [*text.special]) for text in texts]


def inputs_of(model: nn.Module, processor: Any, path: Path) -> dict[str, Any]:
    """What the processor makes of a file. Raises InputError for a file that cannot be read."""
    if path.suffix.lower() in PICTURES:
        return image_inputs(processor, str(path))
    extractor = getattr(processor, "feature_extractor", processor)
    rate = getattr(extractor, "sampling_rate", None)
    if rate is None:
        raise InputError(f"recordings need the feature extractor of the model; {type(processor).__name__} has none.")
    return dict(extractor(read_sound(path, int(rate)), sampling_rate=rate, return_tensors="pt"))


def worker_of(model: nn.Module, reader: Any, settings: Any, folder: Path) -> Worker:
    """The worker for what the model reads."""
    reads = getattr(model, "main_input_name", "input_ids")
    return (MediaWorker if reads in ENDINGS else Worker)(model, reader, settings, folder)
