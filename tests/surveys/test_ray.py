"""Ray gives the bits of one process, also where a worker is killed."""

import os
import signal
from pathlib import Path

import pytest

import attnscope
from attnscope.errors import AttnscopeError
from attnscope.surveys.documents import Document
from attnscope.surveys.engines.on_ray import _Pool
from attnscope.surveys.result import TABLES
from attnscope.surveys.shards import Shard
from tiny_models import model as tiny, tokenizer

ray = pytest.importorskip("ray")
WORDS = "the cat sat on mat dog ran to a of in it air plane flies high low".split()


def corpus(count=240):
    for number in range(count):
        yield " ".join(WORDS[(number * 7 + place * (number % 5 + 1)) % len(WORDS)] for place in range(3 + number % 9))


def run(out, documents=None, **options):
    options = {"shard": 20, "threads": 1, "examples": 0, "quiet": True} | options
    return attnscope.survey(tiny("bert"), tokenizer(), documents or corpus(), out, **options)


@pytest.fixture(scope="module")
def cluster():
    # Ray gives itself 30 seconds to start, which a busy machine exceeds: these tests run alone
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    yield
    ray.shutdown()


def same(one, other):
    return all(one.table(name).equals(other.table(name)) for name in TABLES)


def workers():
    """Processes of this Ray that run an actor of a survey."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if b"ray::_Actor" in (folder / "cmdline").read_bytes() and os.getpid() in ancestors(int(folder.name)):
                found.append(int(folder.name))
        except OSError:
            continue
    return found


def ancestors(pid):
    while pid > 1:
        pid = int((Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[1])
        yield pid


@pytest.mark.slow
@pytest.mark.alone
@pytest.mark.skipif(not Path("/proc").exists(), reason="finds the workers in /proc")
def test_two_workers_give_the_same_bits_and_one_may_die(tmp_path, cluster):
    alone = run(tmp_path / "alone")
    killed = []

    def deadly():
        for number, text in enumerate(corpus()):
            if number == 130:
                killed.extend(workers()[:1])
                os.kill(killed[0], signal.SIGKILL)
            yield text

    together = run(tmp_path / "ray", deadly(), engine="ray", workers=2)
    assert killed
    assert same(together, alone)
    assert together.manifest["shards"] == alone.manifest["shards"]
    assert ray.is_initialized()  # a Ray that was there stays
    for part in sorted((together.folder / "parts").iterdir())[1::3]:
        part.unlink()
    assert same(run(tmp_path / "ray", resume=True), alone)  # what was begun on Ray goes on here


@pytest.mark.slow
@pytest.mark.alone
def test_a_worker_that_dies_again_and_again_is_told(cluster):
    """Of the pool alone: a worker that holds no model is quick to start."""

    class Dying:  # local, so that Ray sends it as it is, and the worker need not import this file
        def run(self, shard):
            import os

            os._exit(1)

    pool = _Pool(ray, ray.remote(num_cpus=0.5, max_restarts=0)(Dying).remote, 1)
    light = Shard(0, (Document("given", 0, "A text."),))
    with pytest.raises(AttnscopeError, match=r"the worker of shard 0 \(given, from row 0 on\) died 3 times"):
        [*pool.run([light])]
    pool.close()


def test_a_cluster_that_is_not_there(tmp_path):
    if ray.is_initialized():
        ray.shutdown()
    with pytest.raises(AttnscopeError, match="Ray cannot be reached at 127"):
        run(tmp_path / "out", engine="ray", ray_address="127.0.0.1:1")
