"""A corpus cut into shards: runs of documents that are computed, written and counted as one."""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from attnscope.surveys.documents import Document

MOST_CHARACTERS = 1 << 20  # of a shard: what is in memory at a time stays small, whatever the corpus
MOST_BYTES = 1 << 26  # of the pictures and recordings of a shard, where they are in memory


@dataclass(frozen=True)
class Shard:
    """`source`, `first`: of its first document. `digest`: a hash of all its documents."""

    number: int
    documents: tuple[Document, ...]

    @property
    def source(self) -> str:
        return self.documents[0].source

    @property
    def first(self) -> int:
        return self.documents[0].row

    @property
    def digest(self) -> str:
        found = hashlib.sha256()
        for one in self.documents:
            for part in (one.name, one.text, one.reason):
                data = part.encode("utf-8", "surrogatepass")
                found.update(len(data).to_bytes(8, "little") + data)
        return found.hexdigest()[:32]

    def described(self) -> dict[str, str | int]:
        """As the manifest has it."""
        return {
            "number": self.number,
            "source": self.source,
            "first": self.first,
            "count": len(self.documents),
            "digest": self.digest,
        }


def shards_of(documents: Iterable[Document], most: int) -> Iterator[Shard]:
    """Shards of `most` documents, or fewer where they are large."""
    held: list[Document] = []
    part, number = 0.0, 0  # of what a shard may hold
    for document in documents:
        large = len(document.text) / MOST_CHARACTERS + document.size / MOST_BYTES
        if held and (len(held) >= most or part + large > 1):
            yield Shard(number, tuple(held))
            held, part, number = [], 0.0, number + 1
        held.append(document)
        part += large
    if held:
        yield Shard(number, tuple(held))
