"""The widget without a browser: its traits, and what it answers to the page's messages."""

import pytest
import traitlets

from attnscope.payload.codec import read


@pytest.fixture
def scope(demo_trace, monkeypatch):
    widget = demo_trace.show(layer=2, head=8, query="it").widget
    sent = []
    monkeypatch.setattr(widget, "send", lambda content, buffers=None: sent.append((content, buffers)))
    widget.sent = sent
    return widget


def test_traits_hold_the_place_and_refuse_others(scope):
    assert (scope.layer, scope.head, scope.query, scope.key) == (2, 8, 7, 8)
    scope.layer, scope.head = 5, 11
    for name, value in (("layer", 6), ("layer", -1), ("head", 12), ("query", 24), ("key", -1)):
        with pytest.raises(traitlets.TraitError, match="out of range"):
            setattr(scope, name, value)
    assert (scope.layer, scope.head, scope.query, scope.key) == (5, 11, 7, 8)


def test_every_request_gets_a_reply_or_an_error(scope):
    scope._on_message(scope, {"id": 1, "kind": "site", "site": 4, "head": 0}, [])
    content, buffers = scope.sent.pop()
    assert content == {"id": 1, "kind": "reply"}
    meta, tensors = read(buffers[0])
    assert [site["index"] for site in meta["sites"] if site["held"]] == [4]
    assert "s4.q" in tensors
    for bad in ({"id": 2, "kind": "site", "site": 99}, {"id": 3, "kind": "site"}, {"id": 4, "kind": "nonsense"}):
        scope._on_message(scope, bad, [])
        content, _ = scope.sent.pop()
        assert content["id"] == bad["id"]
        assert content["kind"] == "error"
        assert len(content["message"]) > 20
    scope._on_message(scope, {"id": 5, "kind": "cancel"}, [])
    scope._on_message(scope, "noise", [])
    assert scope.sent == []


def test_traits_refuse_what_no_view_can_be_asked(scope):
    bad = {
        "level": ("atoms", "'model', 'head' or 'lines', 'matrix' or 'grid', 'neuron', 'steps'"),
        "theme": ("pink", "'auto'"),
        "filter": ("ac", "'ab'"),
        "average": ("rows", "'layers'"),
        "combine": ("max", "'sum'"),
        "quantity": ("logits", "'scores'"),
        "special": ("dim", "'hide'"),
        "thumbs": ("bars", "'lines'"),
        "threshold": (1.5, "from 0 to 1"),
        "heads": ([3, 12], "heads 0 to 11"),
        "queries": ([24], "queries 0 to 23"),
        "dim": (-1, "counted from 0"),
    }
    before = {name: getattr(scope, name) for name in bad}
    for name, (value, said) in bad.items():
        with pytest.raises(traitlets.TraitError, match=said):
            setattr(scope, name, value)
    assert {name: getattr(scope, name) for name in bad} == before


def test_traits_take_every_level_and_can_be_observed(scope):
    from attnscope.views.state import LEVELS

    seen = []
    scope.observe(lambda change: seen.append(change["new"]), "level")
    for level in LEVELS:
        scope.level = level
    assert seen == list(LEVELS)
    scope.heads, scope.queries, scope.threshold = [3, 5, 3], [1, 2], 0.25
    assert (scope.heads, scope.queries, scope.threshold) == ([3, 5], [1, 2], 0.25)
