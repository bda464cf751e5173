"""What a batch frees stays for the next, and is given back behind the last. In a process of its own: what else lies in the heap counts too."""

import subprocess
import sys

import pytest

from attnscope.surveys import allocator

PROGRAM = """
import importlib.util, os, pathlib, sys
import numpy

spec = importlib.util.spec_from_file_location("allocator", sys.argv[1])
allocator = importlib.util.module_from_spec(spec)
spec.loader.exec_module(allocator)

def megabytes():
    return int(pathlib.Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20

def batch():
    kept = [numpy.ones(7 << 20, numpy.float32) for _ in range(4)]  # 112 MB, more than glibc keeps by itself

before = megabytes()
with allocator.freed_memory_stays():
    for _ in range(3):
        batch()
        print(megabytes() - before)
print(megabytes() - before)
"""


@pytest.mark.packaging
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="of glibc")
def test_a_batch_takes_the_memory_of_the_last():
    command = [sys.executable, "-c", PROGRAM, str(allocator.__file__)]
    *within, behind = map(float, subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())
    assert all(110 < held < 130 for held in within)
    assert behind < 10, "it was given back"


def test_elsewhere_nothing_happens(monkeypatch):
    monkeypatch.setattr(allocator, "_glibc", lambda: None)
    with allocator.freed_memory_stays():
        pass
