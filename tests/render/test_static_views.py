"""ATTNSCOPE_STATIC=1: every view is drawn as a page, so that built documents need no kernel."""

import re

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


def test_the_policy_of_a_page_allows_one_script_and_one_style(trace: attnscope.Trace) -> None:
    """And no address to which a page could send anything: not by a request, a form or another base of its links."""
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]+)"', trace.show().html)
    assert policy is not None
    rules = dict(rule.strip().split(" ", 1) for rule in policy[1].split(";"))
    assert rules.pop("script-src").count("'sha256-") == 1
    assert rules.pop("style-src").count("'sha256-") == 1
    assert rules == {
        "default-src": "'none'",
        "worker-src": "blob:",
        "img-src": "data: blob:",
        "base-uri": "'none'",
        "form-action": "'none'",
    }
