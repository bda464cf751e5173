"""Pictures and recordings as the documents of a survey, which the model reads one at a time."""

import hashlib
import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from operator import length_hint
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from attnscope.capturing import Recorder
from attnscope.errors import CaptureError, InputError
from attnscope.head_roles.batches import Head, heads_of, sites_of_text, vouch
from attnscope.models.images import image_inputs, is_image, reads_pixels
from attnscope.models.inputs import prepare
from attnscope.models.media_files import PICTURES, RECORDINGS, media_files, read_sound, waveform
from attnscope.statistics.definitions import STATISTICS
from attnscope.surveys.batch_numbers import Numbers, numbers_of_text
from attnscope.surveys.datasets_rows import dataset_at
from attnscope.surveys.documents import Document
from attnscope.surveys.further_numbers import further_numbers
from attnscope.surveys.worker import Worker
from attnscope.tracing.tokens import Tokens

ENDINGS = {"pixel_values": PICTURES, "input_features": RECORDINGS, "input_values": RECORDINGS}
WHAT = {"pixel_values": "pictures", "input_features": "waveforms", "input_values": "waveforms"}
_NOT = ("link", "in_order", "time_spread")  # apart, and those of text that looks at a sound
NAMES = tuple(one.name for one in STATISTICS if one.name not in _NOT)


class _Unusable(Exception):
    """Why a picture or a recording is set aside."""


class Media:
    """The pictures or recordings of a corpus: a folder of files, a dataset's name or folder, or an iterable of them, as paths
    or as they are in memory; `field` names them in a mapping. `reads`: the model's main input.

    Raises InputError for anything else, and for a folder without such a file.
    """

    def __init__(self, corpus: Any, reads: str, field: str) -> None:
        self.field, self.folder = field, None
        if isinstance(corpus, (str, os.PathLike)):
            path = Path(corpus).expanduser()
            rows = dataset_at(path, str(corpus))
            if rows is None and not path.is_dir():
                raise InputError(f"expected corpus as a folder of files that the model can read, got {corpus!r:.80}.")
            self.folder = path if rows is None else None
            corpus = media_files(path, ENDINGS[reads]) if rows is None else rows
        elif isinstance(corpus, (bytes, Mapping)) or not isinstance(corpus, Iterable) or hasattr(corpus, "shape"):
            raise InputError(f"expected corpus as a folder, or a list of {WHAT[reads]}, got {type(corpus).__name__}.")
        self.corpus: Iterable[Any] = corpus

    def __length_hint__(self) -> int:
        return length_hint(self.corpus)

    def documents(self) -> Iterator[Document]:
        """One a picture or recording; a hash of it stands where a text has its words."""
        for source, row, given in self._rows():
            medium = given.get(self.field) if isinstance(given, Mapping) else given
            try:
                if isinstance(given, Mapping) and self.field not in given:
                    raise _Unusable(
                        f"it has nothing in {self.field!r}; name the key of the picture or waveform: field=…"
                    )
                digest, size = _described(medium)
            except _Unusable as reason:
                yield Document(source, row, "", str(reason))
            else:
                yield Document(source, row, digest, medium=medium, size=size)

    def again(self, names: Collection[str]) -> dict[str, Any]:
        """The media of the documents with these names, by name; empty where the corpus can be read once alone."""
        if isinstance(self.corpus, Iterator):
            return {}
        found = ((Document(source, row, "").name, given) for source, row, given in self._rows())
        return {
            name: given.get(self.field) if isinstance(given, Mapping) else given
            for name, given in found
            if name in names
        }

    def _rows(self) -> Iterator[tuple[str, int, Any]]:
        """Source, row, and what is there; a path as text, which a worker elsewhere understands."""
        for number, given in enumerate(self.corpus):
            path = str(Path(given).expanduser().resolve()) if isinstance(given, (str, os.PathLike)) else given
            if self.folder is None:
                yield "given", number, path
            else:
                yield Path(given).relative_to(self.folder).as_posix(), 0, path


def _described(medium: Any) -> tuple[str, int]:
    """A hash of a medium, and the bytes that it takes in memory."""
    if isinstance(medium, str):
        try:
            return hashlib.sha256(Path(medium).read_bytes()).hexdigest(), 0
        except OSError as error:
            raise _Unusable(f"{medium} cannot be read: {error.strerror or error}") from error
    if not is_image(medium):
        raise _Unusable(f"it is no picture, recording or path but {type(medium).__name__}")
    pixels = np.asarray(medium.detach().cpu() if isinstance(medium, Tensor) else medium)
    found = hashlib.sha256(f"{getattr(medium, 'mode', '')} {pixels.dtype} {pixels.shape}".encode())
    found.update(np.ascontiguousarray(pixels).data)
    return found.hexdigest(), pixels.nbytes


@dataclass(eq=False)
class Medium:
    """A picture or a recording, as the model reads it. `tokens`: its positions, once they are known."""

    name: str
    source: str
    row: int
    medium: Any
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
        return [Medium(one.name, one.source, one.row, one.medium) for one in documents if not one.reason], aside

    def _unknown(self, texts: Sequence[Any]) -> int:
        return 0

    def _batches(self, texts: list[Any]) -> Iterator[list[int]]:
        return ([number] for number in range(len(texts)))

    def _numbers(self, texts: list[Any], checked: int) -> tuple[tuple[Head, ...], Numbers]:
        (medium,) = texts
        inputs = inputs_of(self.model, self.tokenizer, medium.medium)
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


def inputs_of(model: nn.Module, processor: Any, medium: Any) -> dict[str, Any]:
    """What the processor makes of a picture or a recording, or of its path. Raises InputError for one that cannot be read."""
    if reads_pixels(model):
        return image_inputs(processor, medium)
    extractor = getattr(processor, "feature_extractor", processor)
    rate = getattr(extractor, "sampling_rate", None)
    if rate is None:
        raise InputError(f"recordings need the feature extractor of the model; {type(processor).__name__} has none.")
    sound = read_sound(Path(medium), int(rate)) if isinstance(medium, str) else waveform(medium)
    return dict(extractor(sound, sampling_rate=rate, return_tensors="pt"))


def worker_of(model: nn.Module, reader: Any, settings: Any, folder: Path) -> Worker:
    """The worker for what the model reads."""
    reads = getattr(model, "main_input_name", "input_ids")
    return (MediaWorker if reads in ENDINGS else Worker)(model, reader, settings, folder)
