"""Large traces: written a tensor at a time, mapped when they are read."""

import safetensors.torch
import torch

import attnscope
from attnscope.payload import codec
from attnscope.payload.pieces import in_pieces
from attnscope.tracing.trace import Trace


def test_the_bytes_are_safetensors():
    whole = torch.randn(3, 5)
    tensors = {
        "b": whole.to(torch.bfloat16),
        "turned": whole.T,
        "same": whole,
        "half": whole.half()[1:],
        "bits": torch.tensor([[1, 0, 255]], dtype=torch.uint8),
        "none": torch.zeros(0, 4),
        "long": torch.arange(3),
        "yes": torch.tensor([True, False]),
    }
    pieces = list(in_pieces(tensors, {"name": "é"}))
    assert len(pieces) == 1 + len(tensors)
    read = safetensors.torch.load(b"".join(pieces))
    assert read.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert read[name].dtype == tensor.dtype
        assert torch.equal(read[name], tensor)


def test_a_large_file_is_mapped(tmp_path, monkeypatch):
    q, k = torch.randn(2, 61, 8), torch.randn(1, 61, 8)
    trace, path = Trace.from_qkv(q, k, k, is_causal=True), tmp_path / "long.safetensors"
    trace.save(path)
    monkeypatch.setattr(codec, "MAPPED", 1000)
    monkeypatch.setattr(codec, "read_whole", None)
    read = attnscope.load_trace(path)
    trace.save(path)  # a new file takes its name: what is mapped stays
    assert torch.equal(read.sites[0].q, q)
    assert torch.equal(read.sites[0].weights(1), trace.sites[0].weights(1))
