"""SIGKILL at random moments, and --resume: the same bits, nothing twice, nothing lost."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import attnscope
from attnscope.surveys.result import TABLES
from patience import PATIENCE

HERE = Path(__file__).parent
KILLS = 20


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_killed_at_random_moments_it_comes_to_the_same_bits(tmp_path):
    path = os.pathsep.join([str(HERE.parent / "helpers"), str(Path(attnscope.__file__).parents[1])])
    environment = os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1", "TRANSFORMERS_VERBOSITY": "error"}
    command = [sys.executable, HERE / "killed.py", tmp_path, str(KILLS), "7"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr[-3000:]
    rounds, *moments = map(int, done.stdout.split())
    assert len(moments) == KILLS
    assert len(set(moments)) > 3  # early and late
    whole = attnscope.Survey(tmp_path / "whole")
    for number in range(rounds):
        found = attnscope.Survey(tmp_path / f"killed-{number}")
        for name in TABLES:
            assert found.table(name).equals(whole.table(name)), name
        assert found.manifest["shards"] == whole.manifest["shards"]
        documents = found.to_frame("documents").document
        assert documents.is_unique
        assert len(documents) + found.set_aside == 240
        assert len([*(found.folder / "parts").iterdir()]) == 24
