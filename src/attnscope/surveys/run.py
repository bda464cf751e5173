"""A survey from beginning to end: settings, shards, an engine, the fold."""

from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

from attnscope.errors import InputError
from attnscope.surveys.documents import documents_of
from attnscope.surveys.fold import fold
from attnscope.surveys.manifest import Manifest, begin
from attnscope.surveys.media import Media
from attnscope.surveys.parts import Receipt, read_part, read_receipt
from attnscope.surveys.progress import Progress
from attnscope.surveys.settings import Settings
from attnscope.surveys.shards import Shard, shards_of

Engine = Callable[[Iterable[Shard]], Iterator[Receipt]]


def run_survey(
    corpus: Any, folder: Path, settings: Settings, engine: Engine, *, resume: bool, tolerate: bool, quiet: bool
) -> None:
    """Fill `folder`. Raises InputError for a corpus without a document that can be used."""
    documents = corpus.documents() if isinstance(corpus, Media) else documents_of(corpus, settings.options.field)
    first = next(documents, None)  # so that a corpus that cannot be read leaves no folder behind
    if first is None:
        raise InputError("expected a corpus of texts, got none: it is empty.")
    manifest = begin(folder, settings, resume, tolerate)
    progress = Progress(corpus, quiet)
    shards = shards_of(chain([first], documents), settings.options.shard)
    planned: dict[int, str] = {}
    try:
        for receipt in engine(_unfinished(shards, folder, manifest, planned, progress)):
            if receipt.digest != planned[receipt.number]:
                raise InputError(f"shard {receipt.number} was computed from other documents than those of the corpus.")
            manifest.add(receipt)
            progress.add(receipt)
    finally:
        progress.close()
    _check_complete(manifest, planned, folder)
    manifest.note_windows()
    if not isinstance(corpus, Media):
        manifest.note_language()
    manifest.write()
    fold(folder, manifest.in_order(), settings.options.texts)
    manifest.write(finished=True)


def _unfinished(
    shards: Iterable[Shard], folder: Path, manifest: Manifest, planned: dict[int, str], progress: Progress
) -> Iterator[Shard]:
    """The shards that have no part yet; those that have one are entered into the manifest."""
    for shard in shards:
        planned[shard.number] = shard.digest
        found = read_receipt(folder, shard.number)
        if found is None:
            yield shard
            continue
        if found.digest != shard.digest:
            raise InputError(
                f"the corpus is not the one that the survey in {folder} was begun with: shard {shard.number}, from row "
                f"{shard.first} of {shard.source} on, holds other documents. Give that corpus, or another folder."
            )
        if found.settings == manifest.settings.digest:
            manifest.receipts[found.number] = found
            progress.add(found, here=False)
        else:
            yield shard


def _check_complete(manifest: Manifest, planned: dict[int, str], folder: Path) -> None:
    """Nothing twice, nothing lost."""
    if read_receipt(folder, len(planned)) is not None:
        raise InputError(
            f"the corpus is not the one that the survey in {folder} was begun with: it has fewer documents now. Give that "
            "corpus, or another folder."
        )
    if sorted(manifest.receipts) != [*range(len(planned))]:
        missing = sorted({*planned} - {*manifest.receipts})
        raise InputError(f"shards {missing[:8]} of the survey were not computed. Go on with resume=True, or --resume.")
    receipts = manifest.in_order()
    if not any(receipt.documents for receipt in receipts):
        raise InputError(_nothing(receipts, folder))


def _nothing(receipts: list[Receipt], folder: Path) -> str:
    source, row, reason = read_part(folder, receipts[0].number).aside[0]
    count = sum(receipt.set_aside for receipt in receipts)
    return f"expected a corpus of texts, got {count} of which none can be used; the first ({source}:{row}): {reason}."
