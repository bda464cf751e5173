"""State: one spelling for Python, a page's address and a widget's traits."""

import pytest
from hypothesis import given, strategies as st

from attnscope.errors import InputError
from attnscope.views.state import CHOICES, State

numbers = st.integers(0, 99_999)
states = st.builds(
    State,
    level=st.sampled_from(CHOICES["level"]),
    stack=st.sampled_from([None, "encoder", "cross"]),
    layer=numbers,
    head=numbers,
    query=numbers,
    key=st.none() | numbers,
    theme=st.sampled_from(CHOICES["theme"]),
    filter=st.sampled_from(CHOICES["filter"]),
    heads=st.lists(numbers, max_size=5, unique=True).map(tuple),
    average=st.sampled_from(CHOICES["average"]),
    queries=st.lists(numbers, max_size=5, unique=True).map(tuple),
    combine=st.sampled_from(CHOICES["combine"]),
    threshold=st.sampled_from([0.0, 0.05, 0.125, 1.0, 1e-5]),
    quantity=st.sampled_from(CHOICES["quantity"]),
    log=st.booleans(),
    words=st.booleans(),
    special=st.sampled_from(CHOICES["special"]),
    sort=st.sampled_from(["layer", "entropy"]),
    thumbs=st.sampled_from(CHOICES["thumbs"]),
    side=st.sampled_from(CHOICES["side"]),
    dim=st.none() | numbers,
)


@given(states)
def test_an_address_gives_back_the_state(state):
    assert State.from_url(f"file:///tmp/a%20b.html#{state.fragment}") == state
    assert State.from_url(state.fragment) == state


def test_an_address_as_a_page_writes_it():
    state = State(layer=2, head=8, query=7, key=9, theme="dark", heads=(3, 5), threshold=0.05, log=True)
    assert state.fragment == "layer=2&head=8&query=7&key=9&theme=dark&heads=3%2C5&threshold=0.05&log=1"
    assert State().fragment == "layer=0&head=0&query=0"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"level": "atoms"}, "level 'atoms' is not one of 'stream', 'model', 'head'"),
        ({"heads": "35"}, "sequence of numbers"),
        ({"heads": [3, -1]}, "heads holds -1"),
        ({"threshold": 1.5}, "from 0 to 1"),
        ({"threshold": float("nan")}, "from 0 to 1"),
        ({"log": 1}, "True or False"),
        ({"dim": -2}, "counted from 0"),
        ({"target": -3}, "the id of a token"),
        ({"against": -1}, "the id of a token"),
        ({"lens": "yes"}, "True or False"),
    ],
)
def test_what_no_view_can_show_is_refused(change, said):
    with pytest.raises(InputError, match=said):
        State(**change)


@pytest.mark.parametrize(
    "url", ["#layer=two", "#head=-1", "#key=x", "#threshold=lots", "#log=maybe", "#heads=1;2", "#average=some"]
)
def test_an_address_that_cannot_be_read_says_so(url):
    with pytest.raises(InputError, match=url[1:].split("=")[0]):
        State.from_url(url)


@pytest.mark.parametrize(("alias", "name"), [("lines", "head"), ("grid", "matrix")])
def test_levels_have_the_page_s_names_too(alias, name):
    assert State(alias).level == name
    assert State.from_url(f"#level={alias}").level == name


def test_every_field_is_an_argument_of_show_and_a_trait_of_the_widget():
    from attnscope.api.arguments import Look
    from attnscope.render.widget import Scope

    named = {"level", "stack", "layer", "head", "query", "key", "theme", "side", "why"}
    assert set(Look.__annotations__) == {row.name for row in State.table()} - named
    traits = Scope.class_traits(sync=True)
    for row in State.table():
        default = traits[row.name].default()
        assert (tuple(default) if isinstance(default, list) else default) == row.default


def test_layers_by_name_and_values_of_no_kind(demo_trace) -> None:
    view = demo_trace.show(layer=1, head=2)
    assert view.at(layer="L3").state.layer == 3
    assert view.at(layer="4", head=5).state.head == 5
    with pytest.raises(InputError, match="expected layer as a number counted from 0, got True"):
        State(layer=True)
