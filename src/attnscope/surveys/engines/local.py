"""One shard after another, in this process."""

from collections.abc import Iterable, Iterator

from attnscope.surveys.parts import Receipt
from attnscope.surveys.shards import Shard
from attnscope.surveys.worker import Worker


def local(worker: Worker, shards: Iterable[Shard]) -> Iterator[Receipt]:
    return (worker.run(shard) for shard in shards)
