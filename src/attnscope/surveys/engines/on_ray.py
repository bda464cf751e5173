"""Shards on the workers of a Ray cluster, or of a Ray in this process: each holds the model."""

import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from attnscope.errors import AttnscopeError, MissingDependency
from attnscope.surveys.media import worker_of
from attnscope.surveys.parts import Receipt
from attnscope.surveys.settings import Settings
from attnscope.surveys.shards import Shard

AHEAD = 2  # shards that a worker has in hand: it does not wait for the next one
TRIES = 3  # of a shard whose worker died
SHARE = 0.9  # of a processor core, for each thread: the rest is for Ray itself


@dataclass(frozen=True)
class RayOptions:
    """`workers`: how many; None: as many as there are cores for their threads. `address`: of a cluster; None: a Ray of this
    process, or the one that it has begun. `gpus`: of each worker."""

    workers: int | None = None
    address: str | None = None
    gpus: float = 0


class _Actor:
    """Runs in a process of Ray."""

    def __init__(self, held: tuple[Any, Any], settings: Settings, folder: Path, gpu: bool) -> None:
        model, tokenizer = held
        self._worker = worker_of(model.to("cuda") if gpu else model, tokenizer, settings, folder)

    def run(self, shard: Shard) -> Receipt:
        return self._worker.run(shard)


class OnRay:
    """An engine. `folder` is one that all workers see."""

    def __init__(self, model: nn.Module, tokenizer: Any, settings: Settings, folder: Path, options: RayOptions) -> None:
        self.model, self.tokenizer, self.settings = model, tokenizer, settings
        self.folder, self.options = folder.resolve(), options

    def __call__(self, shards: Iterable[Shard]) -> Iterator[Receipt]:
        ray = _ray()
        with _gone(ray), _connected(ray, self.options.address):
            cores = int(ray.cluster_resources().get("CPU", 1))
            count = self.options.workers or max(1, cores // self.settings.threads)
            pool = _Pool(ray, self._maker(ray, cores / count), count)
            try:
                yield from pool.run(shards)
            finally:
                pool.close()

    def _maker(self, ray: Any, cores: float) -> Any:
        held = ray.put((self.model, self.tokenizer))
        cores = min(self.settings.threads, cores)
        needs = {"num_cpus": SHARE * cores if cores <= 1 else int(cores), "num_gpus": self.options.gpus}
        actor = ray.remote(**needs, max_restarts=0)(_Actor)
        return lambda: actor.remote(held, self.settings, self.folder, self.options.gpus > 0)


class _Pool:
    """Workers, and what each has in hand. One that dies is replaced, and its shards are given out again."""

    def __init__(self, ray: Any, make: Any, count: int) -> None:
        self._ray, self._make = ray, make
        self._actors = [make() for _ in range(count)]
        self._hands: dict[Any, tuple[Shard, int, Any]] = {}  # by the receipt to come: shard, tries, its worker

    def run(self, shards: Iterable[Shard]) -> Iterator[Receipt]:
        rest, more = iter(shards), True
        while more or self._hands:
            while more and len(self._hands) < AHEAD * len(self._actors):
                shard = next(rest, None)
                more = shard is not None
                if shard is not None:
                    self._give(shard, 1)
            if self._hands:
                yield from self._next()

    def _next(self) -> Iterator[Receipt]:
        (ready, *_), _ = self._ray.wait([*self._hands], num_returns=1)
        shard, tries, actor = self._hands.pop(ready)
        try:
            receipt = self._ray.get(ready)
        except self._ray.exceptions.RayActorError as error:
            if tries >= TRIES:
                raise AttnscopeError(
                    f"the worker of shard {shard.number} ({shard.source}, from row {shard.first} on) died {tries} times, perhaps "
                    "for want of memory. What was finished stays: give workers more memory, and go on with resume=True, or --resume."
                ) from error
            if actor in self._actors:
                self._actors[self._actors.index(actor)] = self._make()
            self._give(shard, tries + 1)
        except self._ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, AttnscopeError):
                raise error.cause from None
            raise
        else:
            yield receipt

    def _give(self, shard: Shard, tries: int) -> None:
        busy = [actor for _, _, actor in self._hands.values()]
        actor = min(self._actors, key=busy.count)
        self._hands[actor.run.remote(shard)] = shard, tries, actor

    def close(self) -> None:
        for actor in self._actors:
            self._ray.kill(actor)


def _ray() -> Any:
    try:
        import ray
    except ImportError:
        raise MissingDependency("the engine 'ray' needs Ray", "ray") from None
    return ray


@contextmanager
def _connected(ray: Any, address: str | None) -> Iterator[None]:
    """A Ray of this process is taken as it is; one that was begun here is left again, and no cluster is stopped."""
    if ray.is_initialized():
        yield
        return
    local = {"include_dashboard": False} if address is None else {}
    try:
        _knock(address)
        ray.init(address=address or "local", log_to_driver=False, logging_level="ERROR", **local)
    except (OSError, ValueError, RuntimeError) as error:
        raise AttnscopeError(
            f"Ray cannot be reached at {address or 'this machine'}: {str(error).splitlines()[0]}. Give the address of a running "
            "cluster, such as auto or ray://HOST:10001, or none for a Ray of this process."
        ) from error
    try:
        yield
    finally:
        ray.shutdown()


def _knock(address: str | None) -> None:
    """Ray itself waits for minutes where nobody answers."""
    host, _, port = (address or "").removeprefix("ray://").rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host, int(port)), timeout=10).close()


@contextmanager
def _gone(ray: Any) -> Iterator[None]:
    """A cluster that goes away in mid-run."""
    try:
        yield
    except (ConnectionError, ray.exceptions.RaySystemError, ray.exceptions.NodeDiedError) as error:
        raise AttnscopeError(
            f"the Ray cluster went away ({type(error).__name__}). What was finished stays: go on with resume=True, or --resume, "
            "there or with engine='local'."
        ) from error
