"""Groups: what a text is divided into, and groups of your own."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, strategies as st

import attnscope
from attnscope.payload.codec import decode, encode
from attnscope.payload.plain_json import tokens_to_json
from attnscope.payload.validate_tokens import check_tokens
from attnscope.text.passages import documents, paragraphs, sentences
from attnscope.tracing.given_groups import written_down
from attnscope.tracing.grids import grid_from
from attnscope.tracing.groups import Group, Groups, nested
from attnscope.tracing.tokens import Tokens, tokens_of_strings
from chats import NEEDLE, chat, pieces_of, traced

SYSTEM = "Be terse. Never guess."


def words(tokens: Tokens, name: str) -> str:
    """The text of a group, cut out of the running text."""
    group, running = tokens.groups[name], tokens.running
    return running.text[running.starts[group.start] : running.ends[group.stop - 1]]


def tree(groups: Groups) -> dict[str, list[str]]:
    """Names by the name of what they lie in."""
    found: dict[str, list[str]] = {}
    for group in groups:
        found.setdefault("" if group.parent is None else groups[group.parent].name, []).append(group.name)
    return found


def test_a_chat_has_messages_documents_and_sentences_within_each_other() -> None:
    tokens = chat([("system", SYSTEM), ("user", NEEDLE), ("assistant", "7412"), ("user", "Sure?")])
    assert tree(tokens.groups) == {
        "": ["system", "user 1", "assistant 1", "user 2", "assistant 2"],
        "system": ["sentence 1", "sentence 2"],
        "user 1": ["document 1", "document 2", "sentence 7"],
        "document 1": ["sentence 3", "sentence 4"],
        "document 2": ["sentence 5", "sentence 6"],
        "assistant 1": ["sentence 8"],
        "user 2": ["sentence 9"],
    }
    assert words(tokens, "system").startswith("<|im_start|>system\nBe terse.")
    assert words(tokens, "sentence 1") == "Be terse."
    assert words(tokens, "document 2").strip() == "Document 2: The code is 7412. Keep it!"
    assert words(tokens, "sentence 7") == "What is the code?"
    assert [group.start for group in tokens.groups.top] == [
        at for at, one in enumerate(tokens.strings) if one == "<|im_start|>"
    ]


def test_what_was_generated_is_the_answer() -> None:
    tokens = chat([("user", "What is it?")], answer="It is a cat. It sleeps.")
    assert words(tokens, "answer") == "It is a cat. It sleeps."
    assert tree(tokens.groups)["assistant"] == ["answer"]
    assert tree(tokens.groups)["answer"] == ["sentence 2", "sentence 3"]
    plain = Tokens(tuple(pieces_of("One. Two. Three")), border=4)
    assert tree(plain.groups)[""] == ["prompt", "answer"]


def test_a_pair_of_texts_and_the_tokens_between_them() -> None:
    tokens = Tokens(
        ("[CLS]", "a", "b", "[SEP]", "c", "[SEP]"),
        special=(True, False, False, True, False, True),
        segments=(0,) * 4 + (1,) * 2,
    )
    assert [(g.name, g.start, g.stop) for g in tokens.groups.top] == [("text A", 0, 4), ("text B", 4, 6)]


def test_an_image_is_a_group_beside_the_sentences() -> None:
    strings = ("<s>", *["<image>"] * 6, *pieces_of("What is it? Say so."))
    tokens = Tokens(strings, special=(True,) + (False,) * (len(strings) - 1), grids=(grid_from(1, 2, 3),))
    assert tree(tokens.groups)[""] == ["other", "image", "sentence 1", "sentence 2"]
    assert (tokens.groups["image"].start, tokens.groups["image"].stop) == (1, 7)


def test_one_passage_is_not_divided() -> None:
    assert len(tokens_of_strings("[CLS] The cat sat . [SEP]".split()).groups) == 0
    assert (
        len(tokens_of_strings("[CLS] The cat sat . It slept . [SEP]".split()).groups) == 4
    )  # and two for [CLS], [SEP]


def test_passages_end_where_readers_see_them_end() -> None:
    def cut(spans: list[tuple[int, int]], text: str) -> list[str]:
        assert "".join(text[a:b] for a, b in spans) == text
        return [text[a:b].strip() for a, b in spans]

    text = "Mr. Smith has 3.5 cats, e.g. Tom. He said “No!” Then J. Doe left… and came back. 1. Ok"
    assert cut(sentences(text), text) == [
        "Mr. Smith has 3.5 cats, e.g. Tom.",
        "He said “No!”",
        "Then J. Doe left… and came back.",
        "1.",
        "Ok",
    ]
    assert cut(sentences("猫が好き。犬も！"), "猫が好き。犬も！") == ["猫が好き。", "犬も！"]
    listed = "Buy:\n- milk\n- bread"
    assert cut(sentences(listed), listed) == ["Buy:", "- milk", "- bread"]
    assert cut(paragraphs("a\nb\n\n \nc"), "a\nb\n\n \nc") == ["a\nb", "c"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[1] One.\n\n[2] Two.\n\nWho?", ["1", "2"]),
        ("Intro\nDocument [7](Title: A) One\nDocument [9](Title: B) Two\n\nWho?", ["7", "9"]),
        ('<document index="1">\nOne\n</document>\n<document index="2">\nTwo\n</document>\nWho?', ["1", "2"]),
        ("Source 1:\nOne.\n\nSource 2:\nTwo.\n\nWho?", ["1", "2"]),
    ],
)
def test_documents_of_a_prompt_end_before_the_question(text: str, expected: list[str]) -> None:
    found = documents(text)
    assert [number for *_, number in found] == expected
    assert "Two" in text[found[1][0] : found[1][1]]
    assert "Who?" not in text[found[1][0] : found[1][1]]
    assert documents("See [3] for more.") == []


def test_groups_of_your_own_by_position_and_by_expression() -> None:
    tokens = chat([("system", SYSTEM), ("user", NEEDLE)])
    mine = tokens.with_groups(
        {"rules": (0, 12), "doc": r"Document \d:[^\n]*", "code": r"code is \d+", "end": slice(-3, None)}
    )
    assert [(g.name, g.kind) for g in mine.groups.top] == [
        ("rules", "own"),
        ("other 1", "other"),
        ("doc 1", "own"),
        ("other 2", "other"),
        ("doc 2", "own"),
        ("other 3", "other"),
        ("end", "own"),
    ]
    assert mine.groups[mine.groups["code"].parent].name == "doc 2"
    assert words(mine, "code") == "code is 7412"
    assert (mine.groups["end"].start, mine.groups["end"].stop) == (len(tokens) - 3, len(tokens))
    assert mine.with_groups({"rules": (0, 5)}).groups.top[0].stop == 5  # others in their place
    assert len(mine.select(range(4)).groups) == 0 or mine.select(range(4)).own_groups == ()


def test_groups_in_any_form_are_written_down_as_json_has_them() -> None:
    """Slices and compiled expressions as the places that they found; and those are found again."""
    tokens = chat([("system", SYSTEM), ("user", NEEDLE)])
    given = {"ends": [slice(0, 2), slice(-2, None)], "code": re.compile("CODE IS \\d+", re.IGNORECASE), "plain": [7, 9]}
    groups = tokens.with_groups(given)
    found = groups.own_groups
    written = written_down(given, found)
    assert json.loads(json.dumps(written)) == written
    assert written["ends 2"] == [len(tokens) - 2, len(tokens)]
    assert words(groups, "code") == "code is 7412"
    again = tokens.with_groups(written).groups
    assert [(g.name, g.start, g.stop) for g in again] == [(g.name, g.start, g.stop) for g in groups.groups]
    assert written_down({"a": "x+", "b": (0, 2)}, ()) == {"a": "x+", "b": (0, 2)}


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ({"a": (0, 5), "b": (3, 9)}, r'groups "a" \(tokens 0 to 4\) and "b" \(3 to 8\) overlap'),
        ({"a": (5, 5)}, r"0 ≤ start < stop ≤"),
        ({"a": (0, 9999)}, r'group "a" is \(0, 9999\), and the text has'),
        ({"a": "no such words"}, r"finds nothing in this text"),
        ({"a": "("}, r"is no regular expression"),
        ({"a": re.compile(b"x")}, r"is no regular expression"),
        ({"a": 3}, r'group "a": expected'),
        ({"a": [(0, 2), (1, 3, 4)]}, r"0 ≤ start < stop"),
        ({"a": slice(0, 9, 2)}, r"tokens that follow each other"),
        ({" ": (0, 5)}, r"the name of a group as text"),
        ({"a 1": (0, 2), "a": [(3, 4), (5, 6)]}, r'two groups are called "a 1"'),
        ({}, r"expected groups as"),
        ("system", r"expected groups as"),
    ],
)
def test_groups_that_do_not_fit_are_refused(groups: Any, message: str) -> None:
    with pytest.raises(attnscope.InputError, match=message):
        chat([("user", NEEDLE)]).with_groups(groups)


def test_a_name_that_no_group_has() -> None:
    with pytest.raises(attnscope.InputError, match=r'there is no group "sytem"; this text has system, sentence 1'):
        chat([("system", SYSTEM)]).groups["sytem"]


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(1, 12)), max_size=7), st.integers(53, 61))
def test_any_groups_are_nested_or_refused_and_the_top_has_no_gap(spans: list[tuple[int, int]], count: int) -> None:
    given_ = [Group(f"g{i}", "own", start, start + size) for i, (start, size) in enumerate(spans)]
    crossing = any(a.start < b.start < a.stop < b.stop for a in given_ for b in given_)
    try:
        made = nested(given_, count)
    except attnscope.InputError:
        assert crossing
        return
    assert not crossing
    covered = [at for group in made.top for at in range(group.start, group.stop)]
    assert covered == (list(range(count)) if spans else [])
    for group in made:
        parents = [other for other in made if other is not group and other.holds(group) and len(other) > len(group)]
        smallest = min((len(other) for other in parents), default=None)
        if group.parent is not None and smallest is not None and len(made[group.parent]) > len(group):
            assert len(made[group.parent]) == smallest


def test_groups_are_kept_in_a_file_and_old_files_find_them_anew() -> None:
    tokens = chat([("system", SYSTEM), ("user", NEEDLE)])
    again = decode(encode(traced(tokens.with_groups({"doc": r"Document \d[^\n]*"}))))
    assert again.tokens.groups == tokens.with_groups({"doc": r"Document \d[^\n]*"}).groups
    assert decode(encode(traced(tokens))).tokens.groups == tokens.groups


@pytest.mark.parametrize(
    "groups",
    [
        [["a", "own", 0, 99999, None]],
        [["a", "own", 3, 3, None]],
        [["a", "own", 0, 4, 0]],
        [["a", "own", 0, 4, None], ["b", "own", 2, 6, 0]],
        [["a", "own", 0, 4, None], ["a", "own", 5, 6, None]],
        [["a", "mine", 0, 4, None]],
        [["a", "own", 0, 4]],
    ],
)
def test_damaged_groups_in_a_file_are_a_payload_error(groups: Any) -> None:
    table = json.loads(json.dumps(tokens_to_json(chat([("user", NEEDLE)]))))
    check_tokens(table, "tokens")
    with pytest.raises(ValueError, match="groups"):
        check_tokens(table | {"groups": groups}, "tokens")


def test_what_is_drawn_as_one_is_the_same_on_the_page() -> None:
    cases = json.loads((Path(__file__).parents[1] / "cases" / "groups.json").read_text(encoding="utf-8"))
    groups = Groups(tuple(Group(*one) for one in cases["groups"]))
    for case in cases["pools"]:
        assert groups.pooled(case["opened"]) == case["pool"]
