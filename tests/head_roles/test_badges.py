"""Roles at the model level: what the payload carries, what files keep, what is refused."""

import json

import pytest

import attnscope
from attnscope.errors import InputError, PayloadError, UnreadableFile
from attnscope.head_roles.badges import badges_of
from attnscope.head_roles.cases import TO_DEPENDENT, TO_HEAD
from attnscope.head_roles.relations import relation_task
from attnscope.head_roles.rows import RoleRow
from attnscope.head_roles.tasks import PLACES, SINK
from attnscope.payload.codec import decode, encode, read
from attnscope.statistics.thumbnails import thumbnails_of


def row(layer, head, task, accuracy, **more):
    """A row that carries a claim."""
    given = {"n": 100, "low": 0.1, "high": 0.9, "weight": 0.5, "p_adjusted": 0.001, "baseline_accuracy": 0.1}
    return RoleRow(layer=layer, head=head, task=task, accuracy=accuracy, baseline_offset=1, **{**given, **more})


@pytest.fixture
def table():
    return attnscope.RoleTable(
        (
            row(2, 0, relation_task("obj", TO_HEAD), 0.75),
            row(2, 0, relation_task("case", TO_DEPENDENT), 0.5),
            row(2, 0, SINK, 0.2, weight=0.4),
            row(0, 2, PLACES[-1], 0.99),
            row(1, 1, SINK, 0.9, weight=0.6),
            row(3, 3, relation_task("nsubj", TO_HEAD), 0.11),  # not above its baseline by enough
        ),
        model="all-MiniLM-L6-v2",
    )


def test_claims_become_badges_the_best_first_and_sinks_last(table):
    assert [(b.layer, b.head, b.name, b.value, b.rests) for b in badges_of(table, None)] == [
        (0, 2, "previous", 0.99, False),
        (1, 1, "first token", 0.6, True),
        (2, 0, "obj ↑", 0.75, False),
        (2, 0, "case ↓", 0.5, False),
        (2, 0, "first token", 0.4, True),
    ]


def test_the_payload_has_them_and_their_statistic(demo_trace, table):
    view = demo_trace.show("model", roles=table, sort="role")
    meta, _ = read(view.blocks[0].data)
    assert [one["name"] for one in meta["sites"][2]["roles"][0]] == ["obj ↑", "case ↓", "first token"]
    assert meta["sites"][2]["stats"]["role"][:2] == [0.75, None]
    assert meta["sites"][1]["stats"]["role"] == [None] * 12  # a sink finds nothing
    assert "role" in meta["stat_words"]
    assert meta["stat_units"]["role"] == "part"
    assert "roles=table" in view.code
    bare, _ = read(demo_trace.show("model").blocks[0].data)
    assert "roles" not in bare["sites"][2]
    assert "role" not in bare["stat_words"]


def test_what_was_computed_of_the_trace_is_not_computed_again(demo_trace, table):
    before = thumbnails_of(demo_trace)
    after = thumbnails_of(demo_trace.show("model", roles=table).trace)
    assert all(a.pixels is b.pixels for a, b in zip(before, after, strict=True))


def test_a_saved_trace_keeps_them(demo_trace, table, tmp_path):
    shown = demo_trace.show("model", roles=table).trace
    shown.save(tmp_path / "trace.safetensors")
    again = attnscope.load_trace(tmp_path / "trace.safetensors")
    assert again.badges == shown.badges
    assert again.show("model", sort="role").state.sort == "role"


def test_a_damaged_badge_is_refused(demo_trace, table):
    shown = demo_trace.show("model", roles=table).trace
    data = encode(shown)
    for bad in (b"7.5 ", b"null"):
        with pytest.raises(PayloadError, match="value of a role"):
            decode(data.replace(b":0.75", b":" + bad))


def test_a_table_comes_back_from_its_json(table, tmp_path):
    again = attnscope.RoleTable.load(table.save(tmp_path / "roles.json"))
    assert again.records() == table.records()
    assert badges_of(again, None) == badges_of(table, None)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "no JSON"),
        ("{}", "expected a list of rows"),
        ("[3]", "expected a mapping"),
        ('[{"layer": 1.5, "head": 0, "n": 3}]', "whole numbers"),
        ('[{"layer": 1, "head": 0, "n": 3, "relation": "x", "direction": "y"}]', "no rule"),
        ('[{"layer": 1, "head": 0, "n": 3, "relation": "obj", "direction": "dependent to head", "accuracy": "1"}]', "accuracy"),
    ],
)  # fmt: skip
def test_a_file_that_holds_no_rows(tmp_path, text, says):
    path = tmp_path / "roles.json"
    path.write_text(text)
    with pytest.raises(InputError, match=says):
        attnscope.RoleTable.load(path)
    with pytest.raises(UnreadableFile):
        attnscope.RoleTable.load(tmp_path / "none.json")


def test_what_is_refused(demo_trace, table):
    with pytest.raises(InputError, match="RoleTable"):
        demo_trace.show(roles=json.loads(table.to_json()))
    with pytest.raises(InputError, match="of another model"):
        demo_trace.show(roles=attnscope.RoleTable((row(9, 0, SINK, 0.9),)))
    with pytest.raises(InputError, match="has no roles"):
        demo_trace.show("model", sort="role")
