"""Where q, k and v are kept: the same numbers everywhere, and nothing left on the disk."""

import gc
import os
import tempfile
import weakref
from pathlib import Path

import pytest
import torch

import attnscope
import tiny_models as tiny
from attnscope.capturing.store import STORES, Store
from attnscope.errors import InputError, OutputError


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


class Box:
    """Something that a weak reference can point to."""

    def __init__(self, inside):
        self.inside = inside


def mapped_bytes() -> int:
    """Of files of a store that this process has mapped."""
    lines = Path("/proc/self/maps").read_text().splitlines()
    spans = [line.split()[0].split("-") for line in lines if "attnscope-" in line]
    return sum(int(stop, 16) - int(start, 16) for start, stop in spans)


@pytest.mark.parametrize("kept", STORES)
def test_the_same_numbers_wherever_they_are_kept(kept, folder):
    model = tiny.model("llama", "sdpa")
    plain = attnscope.trace(model, inputs={"input_ids": tiny.ids()})
    trace = attnscope.trace(model, inputs={"input_ids": tiny.ids()}, store=kept)
    assert trace.verify().passed
    for mine, theirs in zip(trace.sites, plain.sites, strict=True):
        for name in ("q", "k", "v", "z"):
            assert torch.equal(getattr(mine, name), getattr(theirs, name))
        assert torch.equal(mine.write(1), theirs.write(1))
    with attnscope.capture(model, store=kept) as recorder:
        model(tiny.ids(2))
        model.generate(tiny.ids(), max_new_tokens=3, do_sample=False)
    assert recorder.trace().verify().passed  # a step with a cache
    assert os.listdir(folder) == []


@pytest.mark.parametrize("kept", STORES)
def test_a_recorder_does_not_hold_the_graph_of_the_caller(kept, folder):
    """What autograd saved goes away with the caller's output, while the recorder is still there."""
    saved: list[weakref.ref] = []

    def pack(tensor):
        holder = Box(tensor.detach())  # else an output that is saved holds its own graph
        saved.append(weakref.ref(holder))
        return holder

    model = tiny.fresh_model("llama", attn_implementation="sdpa")
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda holder: holder.inside):
        with attnscope.capture(model, store=kept) as recorder:
            out = model(tiny.ids()).logits
    assert any(one() is not None for one in saved)
    del out
    gc.collect()
    assert not [one for one in saved if one() is not None]
    assert recorder.trace().verify().passed


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="the system does not say what is mapped")
def test_files_are_mapped_and_go_with_the_last_tensor(folder):
    store = Store("disk")
    kept = store.keep(torch.randn(300, 1000))
    part = kept[7]
    assert os.listdir(folder) == []  # nobody can delete or change what has no name
    assert mapped_bytes() >= 1_200_000
    total = float(kept.sum())
    del kept, store
    assert float(part.sum()) == pytest.approx(float(part.double().sum()), rel=1e-3)
    assert total == total
    del part
    assert mapped_bytes() == 0


def test_what_is_no_store():
    model = tiny.model("llama", "sdpa")
    with pytest.raises(InputError, match=r"store is 'ram'; it is one of 'device', 'cpu', 'disk'"):
        attnscope.trace(model, inputs={"input_ids": tiny.ids()}, store="ram")
    with pytest.raises(InputError, match=r"store is 'tape'"), attnscope.capture(model, store="tape"):
        pass


def test_a_disk_that_takes_nothing(folder, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(folder / "missing"))
    with pytest.raises(OutputError, match=r"cannot keep 0\.0 MB of q, k and v in .*Set TMPDIR"):
        Store("disk").keep(torch.ones(3))
