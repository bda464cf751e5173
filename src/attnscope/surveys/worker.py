"""A worker computes shards: documents in, a part on the disk, a receipt back."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from attnscope.errors import AttnscopeError
from attnscope.head_roles.batches import Head, batches_of, reader_of
from attnscope.models.language import unknown_in
from attnscope.surveys.allocator import freed_memory_stays
from attnscope.surveys.batch_numbers import NAMES, Numbers
from attnscope.surveys.bins import LINK, WIDEST, counted
from attnscope.surveys.documents import Document
from attnscope.surveys.encode import Encoder, Text
from attnscope.surveys.examples import FIELDS, Examples, hash_of
from attnscope.surveys.model_batch import numbers_of
from attnscope.surveys.parts import Part, Receipt, write_part
from attnscope.surveys.settings import Settings, pinned
from attnscope.surveys.shards import Shard
from attnscope.tracing.modules import in_eval
from attnscope.tracing.tokens import Tokens


class Worker:
    """`folder`: of the survey; parts go there. `level`: the statistics that are always there."""

    level = NAMES

    def __init__(self, model: nn.Module, tokenizer: Any, settings: Settings, folder: Path) -> None:
        self.model, self.settings, self.folder = reader_of(model), settings, folder
        self.tokenizer, self.encoder = tokenizer, Encoder(tokenizer, settings.options.window, settings.options.texts)
        self.further = settings.options.statistics
        self.names = (*self.level, *self.further)

    def run(self, shard: Shard) -> Receipt:
        """Compute a shard and write its part."""
        with pinned(self.settings), freed_memory_stays(), in_eval(self.model), torch.no_grad():
            part = self._part(shard)
        write_part(self.folder, part)
        return part.receipt

    def _part(self, shard: Shard) -> Part:
        texts, aside = self._texts(shard.documents)
        sums, failed = _ShardSums(texts, self.names), dict[int, str]()
        for batch in self._batches(texts):
            for numbers, heads, found in self._tried(texts, batch, shard.number, failed):
                sums.add(numbers, heads, found)
        aside = [(one.source, one.row, reason) for one, reason in aside]
        aside += [(texts[n].source, texts[n].row, reason) for n, reason in sorted(failed.items())]
        kept = [number for number in range(len(texts)) if number not in failed]
        place = np.full(len(texts), -1)
        place[kept] = np.arange(len(kept))
        examples = sums.examples.renumbered(place)
        words, read = self.settings.options.texts, [texts[number] for number in kept]
        documents = [(t.name, t.source, t.row, len(t), t.text if words else "") for t in read]
        shown = np.unique(sums.examples.columns["document"]).tolist() if words else []
        pieces = dict(zip(place[shown].tolist(), self._pieces([texts[number] for number in shown]), strict=True))
        receipt = Receipt(
            **shard.described(),  # pyright: ignore[reportArgumentType]
            settings=self.settings.digest,
            documents=len(documents),
            set_aside=len(aside),
            tokens=sum(row[3] for row in documents),
            characters=sum(len(one.text) for one in shard.documents),
            special=sum(sum(one.special) for one in read),
            unknown=self._unknown(read),
            windowed=len({(t.source, t.row) for t in texts if t.name.startswith(f"{t.source}:{t.row}#")}),
        )
        columns = [examples.columns[name] for name in FIELDS]
        return Part(receipt, self.names, *sums.finished(), columns, documents, pieces, aside)

    def _tried(
        self, texts: list[Any], batch: list[int], shard: int, failed: dict[int, str]
    ) -> Iterator[tuple[list[int], tuple[Head, ...], Numbers]]:
        """The numbers of a batch; where it fails, of each of its texts, and the reasons of those that fail alone."""
        try:
            checked = (shard + batch[0]) % len(batch)
            yield batch, *self._numbers([texts[number] for number in batch], checked)
        except Exception as error:  # of the model's own code, or a receipt
            if len(batch) > 1:
                for number in batch:
                    yield from self._tried(texts, [number], shard, failed)
                return
            failed[batch[0]] = self._reason(error)

    def _reason(self, error: Exception) -> str:
        """Why a text fails; without the model's own words, in which the text may stand, where no text is written."""
        said = str(error).strip().splitlines() or [""]
        if isinstance(error, AttnscopeError):
            return said[0][:300]
        return f"{type(error).__name__}: {said[0][:200]}" if self.settings.options.texts else type(error).__name__

    def _texts(self, documents: Sequence[Document]) -> tuple[list[Any], list[tuple[Document, str]]]:
        """What the model can read, and what cannot be used, with the reason."""
        return self.encoder.texts(documents)

    def _unknown(self, texts: Sequence[Any]) -> int:
        """How many tokens stand for what the tokenizer does not know."""
        return unknown_in(self.tokenizer, (text.ids for text in texts))

    def _batches(self, texts: list[Any]) -> Iterator[list[int]]:
        return batches_of(texts)

    def _numbers(self, texts: list[Any], checked: int) -> tuple[tuple[Head, ...], Numbers]:
        """Of a batch. `checked`: whose receipt is looked at."""
        return numbers_of(self.model, texts, checked, self.further, self._tokens)

    def _tokens(self, text: Text) -> Tokens:
        """Named by their pieces, which some statistics ask for."""
        return Tokens(tuple(map(str, self.tokenizer.convert_ids_to_tokens(text.ids))), tuple(text.ids), text.special)

    def _pieces(self, texts: list[Any]) -> list[tuple[list[str], list[bool]]]:
        """Of each text its tokens, and which are special. Some tokenizers are slow at each call: one for all of them."""
        ids = sorted({one for text in texts for one in text.ids})
        known = dict(zip(ids, map(str, self.tokenizer.convert_ids_to_tokens(ids)), strict=True))
        return [([known[one] for one in text.ids], [*text.special]) for text in texts]


class _ShardSums:
    """What the texts of a shard come to, batch by batch."""

    def __init__(self, texts: Sequence[Any], names: tuple[str, ...]) -> None:
        self.names = names
        self.heads: tuple[Head, ...] = ()
        self.hashes = np.array([hash_of(text.name) for text in texts], dtype=np.uint64)
        self.examples = Examples()
        self._start(0)

    def _start(self, heads: int) -> None:
        self.values, self.counts = (np.zeros((heads, len(self.names))) for _ in range(2))
        self.bins = np.zeros((len(self.names) + 1, heads, WIDEST), dtype=np.int64)
        self.link = np.zeros((3, heads))

    def add(self, numbers: list[int], heads: tuple[Head, ...], found: Numbers) -> None:
        """A batch: `numbers` of its texts."""
        if not self.heads:
            self.heads = heads
            self._start(len(heads))
        if heads != self.heads:
            raise AttnscopeError("the model has other heads in one text than in another, so they cannot be added up.")
        values, counts, link = found.values.numpy(), found.counts.numpy(), found.link.numpy()
        self.values += values.sum(0)
        self.counts += counts.sum(0)
        with np.errstate(invalid="ignore", divide="ignore"):
            means = np.where(counts > 0, values / counts, np.nan)
        strongest = np.where(link > 0, link, np.nan).astype(np.float64)
        for place, name in enumerate(self.names):
            self.bins[place] += counted(name, means[:, :, place])
        self.bins[-1] += counted(LINK, strongest)
        self.link[0] = np.maximum(self.link[0], link.max(0))
        self.link[1] += np.nansum(strongest, 0)
        self.link[2] += (link > 0).sum(0)
        place = np.array(numbers)
        self.examples.add_batch(self.hashes[place], place, link, found.query.numpy(), found.key.numpy())

    def finished(self) -> tuple[tuple[Head, ...], "np.ndarray", "np.ndarray", "np.ndarray", "np.ndarray"]:
        return self.heads, self.values, self.counts, self.bins, self.link
