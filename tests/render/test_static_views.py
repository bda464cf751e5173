"""ATTNSCOPE_STATIC=1: every view is drawn as a page, so that built documents need no kernel."""

import pytest
import torch

import attnscope


@pytest.fixture
def trace() -> attnscope.Trace:
    return attnscope.Trace.from_qkv(*torch.randn(3, 2, 5, 7))


def test_environment_makes_views_static(trace: attnscope.Trace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ATTNSCOPE_STATIC", "1")
    for drawn in (trace.show(), trace):
        bundle = drawn._repr_mimebundle_()
        assert "<iframe" in bundle["text/html"]


@pytest.mark.parametrize("value", [None, "", "0"])
def test_otherwise_they_are_live(trace: attnscope.Trace, monkeypatch: pytest.MonkeyPatch, value: str | None) -> None:
    monkeypatch.delenv("ATTNSCOPE_STATIC", raising=False)
    if value is not None:
        monkeypatch.setenv("ATTNSCOPE_STATIC", value)
    assert not trace.show().static
    assert trace.show(static=True).static
