"""The widget without a browser: its traits, and what it answers to the page's messages."""

from threading import Event

import pytest
import safetensors.torch
import traitlets

import attnscope
from attnscope.payload.codec import read
from attnscope.render import tile_work
from attnscope.tiles.pyramid import Cancelled
from closeness import close


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


def test_edits_are_answered_by_the_model_that_was_shown(demo, demo_trace, monkeypatch):
    model, tokenizer = demo
    widget = demo_trace.show(layer=2, head=8, query="it", model=model, tokenizer=tokenizer).widget
    sent = []
    monkeypatch.setattr(widget, "send", lambda content, buffers=None: sent.append(content))
    assert widget.editable
    widget._on_message(widget, {"id": 1, "kind": "edits", "edits": ["off_L2H8"]}, [])
    with attnscope.edit(model, tokenizer) as edit:
        edit.head("L2H8").off()
        effect = edit.effect(inputs=demo_trace.inputs)
    (reply,) = sent
    assert (reply["id"], reply["kind"]) == (1, "reply")
    assert reply["answer"]["score"] == pytest.approx([1, effect.edited], abs=1e-6)
    widget._on_message(widget, {"id": 2, "kind": "edits", "edits": ["off_L9H8"]}, [])
    assert sent[1]["kind"] == "error"
    assert "there is no layer 9 to edit" in sent[1]["message"]


def test_a_view_without_a_model_says_how_to_get_one(scope):
    assert not scope.editable
    assert "attnscopeEdits=" not in scope._esm
    scope._on_message(scope, {"id": 1, "kind": "edits", "edits": ["off_L2H8"]}, [])
    content, _ = scope.sent.pop()
    assert content["kind"] == "error"
    assert "this view has no model to run: attnscope.show(model, tokenizer, text)" in content["message"]
    scope.edits = ["off_L2H8", "off_L2H8"]
    assert scope.edits == ["off_L2H8"]
    with pytest.raises(traitlets.TraitError, match="expected an edit such as"):
        scope.edits = ["off"]


def test_a_comparison_patches_from_its_other_side(demo, monkeypatch):
    model, tokenizer = demo
    texts = ("The cat sat on the mat.", "The black dog sat on the mat.")
    a, b = (attnscope.trace(model, tokenizer, text) for text in texts)
    comparison = attnscope.compare(a, b)
    align = dict(comparison.alignment.pairs)
    widget = comparison.show(model=model, tokenizer=tokenizer, edits=["patch_L2H8"]).widget
    sent = []
    monkeypatch.setattr(widget, "send", lambda content, buffers=None: sent.append(content))
    for side, trace, other, of in (("a", a, b, align), ("b", b, a, {j: i for i, j in align.items()})):
        widget._on_message(widget, {"id": 1, "kind": "edits", "edits": ["patch_L2H8"], "side": side}, [])
        with attnscope.edit(model, tokenizer) as edit:
            edit.head("L2H8").patch(other, align=of)
            effect = edit.effect(inputs=trace.inputs)
        assert sent.pop()["answer"]["score"] == pytest.approx([1, effect.edited], abs=1e-6)
        assert effect.edited < 0.999999


def drained():
    """What the thread of tiles was given has been done."""
    tile_work._thread().submit(lambda: None).result(60)


def test_tiles_come_from_a_thread_of_their_own(scope):
    """A coarse one at once; an exact one, or an error, from the thread; nothing after a cancel."""
    ask = {"kind": "tiles", "site": 2, "head": 8, "tiles": [[0, 0, 0]]}
    scope._on_message(scope, {"id": 1, "coarse": True, **ask}, [])
    content, buffers = scope.sent.pop()
    assert content == {"id": 1, "kind": "reply"}
    site = scope._trace.sites[2]
    assert close(safetensors.torch.load(buffers[0])["0"], site.weights(8))
    hold = Event()
    tile_work._thread().submit(hold.wait, 60)
    for identity, change in enumerate(({}, {"head": 99}, {"tiles": 3}, {}), 2):
        scope._on_message(scope, {"id": identity, **ask, **change}, [])
    assert scope.sent == []  # the kernel is free while they are made
    scope._on_message(scope, {"id": 5, "kind": "cancel"}, [])
    hold.set()
    drained()
    assert [(content["id"], content["kind"]) for content, _ in scope.sent] == [(2, "reply"), (3, "error"), (4, "error")]
    assert "head 99 of a tile is out of range" in scope.sent[1][0]["message"]
    scope.sent.clear()


def test_a_pass_says_how_far_it_is_and_ends_when_nobody_waits(scope, monkeypatch):
    monkeypatch.setattr(tile_work, "NOW_AND_THEN", 0)
    ended = []

    def slow(trace, request, progress):
        try:
            for part in range(5):
                progress(part / 5)
                if part == 2:
                    scope._on_message(scope, {"id": 7, "kind": "cancel"}, [])
        except BaseException as error:
            ended.append((part, type(error)))
            raise

    monkeypatch.setattr(tile_work, "answer_tiles", slow)
    scope._on_message(scope, {"id": 7, "kind": "tiles", "site": 0, "head": 0, "tiles": [[0, 0, 0]]}, [])
    drained()
    assert ended == [(3, Cancelled)]
    assert {content["kind"] for content, _ in scope.sent} == {"progress"}
    assert scope.sent[-1][0] == {"id": 7, "kind": "progress", "part": 0.4}
    scope.sent.clear()


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
