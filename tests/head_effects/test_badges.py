"""Effects at the model level: what the payload and files carry, how heads are sorted, what is refused."""

import dataclasses
import math
from typing import Any

import pytest

import attnscope
from attnscope.errors import InputError, PayloadError
from attnscope.head_effects.units import Unit
from attnscope.payload.badges import badges_to_json
from attnscope.payload.codec import decode, encode, read


@pytest.fixture
def table() -> attnscope.EffectTable:
    totals = {Unit("", layer, (head,)): [0.01 * layer, 0.02 * head] for layer in range(3) for head in range(12)}
    totals[Unit("", 2, (5,))] = [2.0, 2.5]
    totals[Unit("", 1, (7,))] = [-1.0, -1.5]
    more: Any = {"measure": "logit difference", "reference": "zero", "asked": "' Mary' against ' John'"}
    return attnscope.EffectTable.of(totals, model="all-MiniLM-L6-v2", clean=(3.0, 4.0), **more)


def test_the_payload_has_them_and_their_statistic(demo_trace, table):
    view = demo_trace.show("model", effects=table, sort="effect")
    meta, _ = read(view.blocks[0].data)
    badge = meta["sites"][2]["roles"][5][0]
    assert (badge["name"], badge["value"], badge["rests"], badge["kind"]) == ("effect +2.25", 2.25, False, "effect")
    assert "Outside of the band" in badge["sentence"]
    assert "in 2 texts" in badge["sentence"]
    assert meta["sites"][1]["roles"][7][0]["name"] == "effect −1.25"
    assert meta["sites"][1]["roles"][3][0]["rests"]
    assert meta["sites"][2]["stats"]["effect"][5] == 2.25
    assert meta["sites"][4]["stats"]["effect"] == [None] * 12
    assert "effect" in meta["stat_words"]
    assert "role" not in meta["stat_words"]
    assert "effects=effects" in view.code
    assert "roles=table" not in view.code


def test_a_saved_trace_keeps_them(demo_trace, table, tmp_path):
    shown = demo_trace.show("model", effects=table).trace
    shown.save(tmp_path / "trace.safetensors")
    again = attnscope.load_trace(tmp_path / "trace.safetensors")
    assert [(b.layer, b.head, b.name, b.sentence, b.rests, b.kind) for b in again.badges] == [
        (b.layer, b.head, b.name, b.sentence, b.rests, b.kind)
        for b in sorted(shown.badges, key=lambda b: (b.layer, b.head))
    ]
    assert again.show("model", sort="effect").state.sort == "effect"


def test_roles_stand_before_effects(demo_trace, table):
    from attnscope.head_roles.rows import RoleRow
    from attnscope.head_roles.tasks import PLACES

    row = RoleRow(2, 5, PLACES[-1], 0.99, 0.9, 1.0, 100, 1, 0.1, p_adjusted=0.001, weight=0.5)
    roles = attnscope.RoleTable((row,), model="all-MiniLM-L6-v2")
    shown = demo_trace.show("model", effects=table, roles=roles, sort="role").trace
    names = [badge["name"] for badge in badges_to_json(shown, shown.sites[2])[5]]
    assert names == ["previous", "effect +2.25"]
    assert {"role", "effect"} <= {*read(shown.show("model").blocks[0].data)[0]["stat_words"]}


def test_a_figure_and_a_page_show_them(demo_trace, table, tmp_path):
    view = demo_trace.show("model", effects=table, sort="effect")
    svg = view.save(tmp_path / "f.svg").read_text()
    assert "effect" in svg
    assert view.save(tmp_path / "f.html").stat().st_size > 300_000


def test_what_does_not_fit_is_refused(demo_trace, table):
    with pytest.raises(InputError, match="expected effects as an EffectTable"):
        demo_trace.show("model", effects=3)
    with pytest.raises(InputError, match="this view has no effects"):
        demo_trace.show("model", sort="effect")
    other = attnscope.EffectTable.of(
        {Unit("", 9, (0,)): [1.0]}, model="x", clean=(0.0,), measure="", reference="", asked=""
    )
    with pytest.raises(InputError, match="these effects are of another model"):
        demo_trace.show("model", effects=other)
    named = dataclasses.replace(table, model="another")
    assert any(
        "The effects are those of another" in note for note in demo_trace.show("model", effects=named).trace.notes
    )


def test_a_damaged_badge_is_refused(demo_trace, table):
    data = encode(demo_trace.show("model", effects=table).trace)
    with pytest.raises(PayloadError, match="not a role or an effect"):
        decode(data.replace(b'kind\\":\\"effect', b'kind\\":\\"effort'))
    assert math.isclose(max(badge.value for badge in decode(data).badges), 2.25)
