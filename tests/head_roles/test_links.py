"""Links of the user's own, on a model whose heads are known."""

import pytest

import attnscope
import known_heads
from attnscope.errors import InputError
from attnscope.head_roles.treebank import read_treebank

NAME = ("deed", "what is done", "the deed")


@pytest.fixture(scope="module")
def shipped():
    return attnscope.load(str(known_heads.FOLDER), task="text-generation")


@pytest.fixture(scope="module")
def treebank(tmp_path_factory):
    path = tmp_path_factory.mktemp("known") / "toy.conllu"
    path.write_text(known_heads.treebank(120), encoding="utf-8")
    return read_treebank(path)


def links_of(treebank, by_token):
    """Objects and their verbs, as characters or as numbers of tokens: here each word is one."""
    for sentence in treebank.sentences:
        yield (
            sentence.text,
            {
                NAME: [
                    (a, b) if by_token else (sentence.spans[a], sentence.spans[b])
                    for a, b, relation in sentence.arcs
                    if relation == "obj"
                ]
            },
        )


@pytest.mark.parametrize("by_token", [True, False])
def test_links_are_found_as_the_relation_of_a_treebank_is(shipped, treebank, by_token):
    table = attnscope.roles(*shipped, links=list(links_of(treebank, by_token)))
    row, back = (r for r in table if r.relation == "deed")
    assert (back.n, back.layer) == (0, None), "the other direction looks ahead, which no head can"
    assert (row.name, row.direction, row.accuracy, row.n) == ("L1H1", "what is done to the deed", 1.0, 60)
    assert row.claimed
    assert table.badges[1, 1] == ("deed, what is done to the deed", "content")
    assert "links what is done to the deed (deed): 100.0 %" in table.sentences()[0]


def test_a_place_of_several_tokens_counts_as_one(demo):
    texts = [f"The {word} slept." for word in ("hippopotamus", "archaeopteryx", "schoolteacher")]
    table = attnscope.roles(
        *demo, links=[(text, {"who": [((4, len(text) - 7), (len(text) - 6, -1 + len(text)))]}) for text in texts]
    )
    there, back = (r for r in table if r.relation == "who")
    assert (there.direction, back.direction) == ("one end to the other", "the other to one end")
    assert there.n + there.chosen_n == 3
    assert not there.claimed


@pytest.mark.parametrize(
    ("links", "message"),
    [
        ("a text", "got str"),
        ([("a text", [(0, 1)])], "expected links"),
        ([("the cat sat", {"x": [(1, 99)]})], "token 99 is none of its 5 tokens"),
        ([("the cat sat", {"x": [(0, 1)]})], "token 0 is special"),
        ([("the cat sat", {"x": [((4, 70), 1)]})], "no characters of it; it has 11"),
        ([("the cat sat", {"x": [(1, 2, 3)]})], "as a pair"),
        ([("the cat sat", {("x", "a", "b"): [(1, 2)]}), ("the cat sat", {"x": [(1, 2)]})], "two pairs of ends"),
        ([], "an empty list"),
    ],
)
def test_links_that_are_none_are_refused(demo, links, message):
    with pytest.raises(InputError, match=message):
        attnscope.roles(*demo, links=links)


def test_a_name_of_the_treebank_is_taken(shipped, treebank):
    text = treebank.sentences[0].text
    with pytest.raises(InputError, match="named obj too"):
        attnscope.roles(*shipped, treebank=treebank, links=[(text, {"obj": [(2, 1)]})])
