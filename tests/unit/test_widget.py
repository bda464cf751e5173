"""The widget without a browser: its traits, and what it answers to the page's messages."""

import pytest
import traitlets

from attnscope.payload import read


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
    for name, value in (("layer", 6), ("head", 12), ("query", 24), ("key", -1)):
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
