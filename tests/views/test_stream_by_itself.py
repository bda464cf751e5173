"""show() keeps the stream by itself while it is small; one rule reads targets; and a target that is named is kept."""

from dataclasses import replace
from typing import Any

import pytest
import torch

import attnscope
import tiny_models as tiny
from attnscope.api import stream_level
from attnscope.api.keeping import ByItself
from attnscope.capturing import Recorder
from attnscope.capturing.stream.room import Room
from attnscope.errors import CaptureError, InputError, NotCaptured
from attnscope.predictions.table import stream_table
from attnscope.predictions.targets import ids_of_text, notes_on
from attnscope.views.budget import BASE64, bytes_in, plan_blocks
from followed_models import inputs_of, traced

TEXT = "the cat sat on the mat"


def shown(**options: Any) -> Any:
    return attnscope.show(tiny.model("llama"), tiny.tokenizer(), TEXT, **options)


def test_every_view_of_a_short_text_has_the_level_and_the_trace_is_what_it_is_without(monkeypatch: Any) -> None:
    view = shown()
    plain = attnscope.trace(tiny.model("llama"), tiny.tokenizer(), TEXT)
    for site, other in zip(view.trace.sites, plain.sites, strict=True):
        assert all(torch.equal(value, other.kept[name]) for name, value in site.kept.items())
    assert view.trace.notes == plain.notes
    assert view.trace.source == shown(level="stream").trace.source
    assert view.trace.stream_table.positions == shown(level="stream").trace.stream_table.positions
    monkeypatch.setattr(stream_level, "LENS", 1.0)  # a lens that takes long
    last = len(plain.tokens) - 1
    assert shown().trace.stream_table.positions == (last,)
    assert shown(level="stream").trace.stream_table.positions == tuple(range(last + 1))


def test_without_a_prediction_it_opens_where_other_levels_open(demo: Any) -> None:
    text = "As the aircraft becomes lighter, it flies higher."
    view, other = attnscope.show(*demo, text, level="stream"), attnscope.show(*demo, text)
    place = ("layer", "head", "query", "key", "why")
    assert [getattr(view.state, name) for name in place] == [getattr(other.state, name) for name in place]


def test_what_you_keep_is_what_is_kept() -> None:
    assert shown(keep=()).trace.stream_table is None
    assert shown(keep=("x",)).trace.streams == ()
    assert {*ByItself("none")} == {"stream"}
    assert ByItself("all").of(10**6) == ByItself("head").of(1)
    assert ByItself("head").of(10**6) == {"stream"}


def test_a_stream_without_room_is_dropped_without_a_word(monkeypatch: Any) -> None:
    whole = traced("llama").streams[0].nbytes
    monkeypatch.setattr("attnscope.api.tracing.STREAM_MOST", whole // 3)
    view = shown()
    assert view.trace.streams == ()
    assert view.trace.stream_table is None
    assert view.trace.notes == ()
    with pytest.raises(NotCaptured, match='show\\(model, tokenizer, text, level="stream"\\)'):
        view.at(level="stream")
    assert shown(level="stream").trace.stream_table is not None
    model = tiny.model("llama")
    with Recorder(model, keep="stream", own_thread=True, room=Room(most=whole // 3)) as recorder, torch.no_grad():
        model(**inputs_of("llama"))
    assert recorder._recording.passes.kept[-1].streams[0].stream is None


def test_a_receipt_that_fails_leaves_the_level_out_and_says_why(monkeypatch: Any) -> None:
    def fails(*_: Any, **__: Any) -> Any:
        raise CaptureError("the parts do not add up.")

    monkeypatch.setattr(stream_level, "with_stream_table", fails)
    view = shown()
    assert view.trace.stream_table is None
    assert view.trace.notes[-1] == "The residual stream is not shown: the parts do not add up."
    with pytest.raises(NotCaptured, match="is not shown: the parts do not add up"):
        view.at(level="stream")
    with pytest.raises(CaptureError, match="do not add up"):
        shown(level="stream")


@pytest.mark.exactness
def test_a_named_target_is_kept_at_every_position() -> None:
    with torch.no_grad():
        logits = tiny.model("llama")(**inputs_of("llama")).logits[0]
    worst, rare = logits[5].argsort()[:2].tolist()
    table = stream_table(traced("llama"), [2, 5], named=[worst, rare])
    for row, position in enumerate((2, 5)):
        ids = [one.id for one in table.targets[row]]
        assert {worst, rare} <= {*ids}
        assert len(ids) == 10
        assert torch.allclose(table.logits[row], logits[position, ids], atol=1e-5)
        assert table.logits[row].tolist() == sorted(table.logits[row].tolist(), reverse=True)
        others = [one for one in logits[position].argsort(descending=True).tolist() if one not in (worst, rare)]
        assert [one for one in ids if one not in (worst, rare)] == others[: len({*ids} - {worst, rare})]
    view = shown(level="stream", target=worst, against=rare)
    assert (view.state.target, view.state.against) == (worst, rare)
    assert f"target={worst}" in view.code


class Spells:
    """Stands for a tokenizer: the longest entries first; `before`: what it puts in front of every text."""

    def __init__(self, entries: list[str], before: str = "") -> None:
        self.entries, self.before = entries, before

    def __call__(self, text: str, **_: Any) -> dict[str, list[int]]:
        rest, found = self.before + text.replace(" ", self.before or "Ġ"), []
        while rest:
            best = max((one for one in self.entries if rest.startswith(one)), key=len)
            found.append(self.entries.index(best))
            rest = rest[len(best) :]
        return {"input_ids": found}

    def convert_ids_to_tokens(self, ids: Any) -> Any:
        return self.entries[ids] if isinstance(ids, int) else [self.entries[int(one)] for one in ids]

    def decode(self, ids: Any, **_: Any) -> str:
        return "".join(self.convert_ids_to_tokens(list(ids))).replace("Ġ", " ").replace("▁", " ")


def test_one_rule_reads_a_target() -> None:
    words = Spells(["Ġ", "c", "a", "t", "Ġcat", "Ġdog", "dog"])
    assert ids_of_text(words, " cat", "target") == ((4,), "")
    ids, note = ids_of_text(words, "cat", "target")
    assert ids == (4,)
    assert note == "target 'cat' is 3 tokens, and ' cat' is one: that one is taken."
    assert ids_of_text(words, "dog", "target") == ((6,), "")  # as written
    assert ids_of_text(words, "act", "target") == ((2, 1, 3), "")  # neither is one
    assert ids_of_text(words, " act", "target")[0] == (0, 2, 1, 3)
    pieces = Spells(["▁", "▁cat", "c", "a", "t"], "▁")
    assert ids_of_text(pieces, " cat", "target") == ids_of_text(pieces, "cat", "target") == ((1,), "")


def test_a_word_without_its_space_is_pointed_out_where_the_other_is_more_probable() -> None:
    words = Spells(["Ġ", "Ġdog", "dog"])
    (note,) = notes_on(words, {"target": "dog", "against": " dog"}, torch.tensor([0.0, 2.0, 1.0]))
    assert note.startswith("target 'dog' is the token without a space before it")
    assert notes_on(words, {"target": "dog", "against": 1}, torch.tensor([0.0, 1.0, 2.0])) == ()


def test_a_target_that_the_view_does_not_keep() -> None:
    trace = attnscope.trace(tiny.model("llama"), tiny.tokenizer(), TEXT, keep={"stream"})
    table = stream_table(trace, top=2)
    view = attnscope.api.with_table(trace, "head").show("stream")
    missing = next(
        word for word in ("cat", "dog", "mat", "ran", "of") if word not in {t.text for r in table.targets for t in r}
    )
    kept = attnscope.show(tiny.model("llama"), tiny.tokenizer(), TEXT, level="stream", target=missing)
    assert kept.state.target in {one.id for one in kept.trace.stream_table.targets[0]}
    with pytest.raises(InputError, match="is 2 tokens"):
        view.at(target="cats")


def test_the_stream_counts_towards_the_size_of_a_page() -> None:
    text = " ".join([TEXT] * 8)

    def page(level: str, max_mb: float) -> Any:
        return attnscope.show(tiny.model("llama"), tiny.tokenizer(), text, level=level, max_mb=max_mb, static=True)

    whole = page("stream", 12)
    size = 1e-6 * whole.trace.stream_table.nbytes * BASE64  # with half of it there is no room for all positions
    part = page("stream", size)
    assert len(whole.trace.stream_table.positions) > len(part.trace.stream_table.positions) > 5
    assert part.trace.stream_table.nbytes < bytes_in(size) * 0.6
    kept = sum(value.nbytes for site in whole.trace.sites for value in site.kept.values())
    just = 1.4 * kept * (12e6 / bytes_in(12)) / 1e6
    without = plan_blocks(replace(whole.trace, stream_table=None), 0, 0, just, "none")
    assert {one.dtype for one in without.held.values()} == {None}
    assert {one.dtype for one in plan_blocks(whole.trace, 0, 0, just, "none").held.values()} == {torch.float16}
    with pytest.raises(InputError, match="max_mb is 'large'"):
        page("stream", "large")  # type: ignore[arg-type]
