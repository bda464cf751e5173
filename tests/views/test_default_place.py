"""Where a view opens, against a slow search through every link."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

import attnscope
import tiny_models as tiny
from attnscope import Tokens, Trace
from attnscope.statistics.sink_tokens import sink_tokens
from attnscope.text.format import percent_in_words
from attnscope.views.default_place import choose_opening
from attnscope.views.sentences.sentence import title
from chats import chat, pieces_of, traced


def word(tokens: Tokens, position: int) -> int | None:
    number = tokens.words[position]
    if number is None or tokens.special[position] or not any(c.isalnum() for c in tokens.word_text[number]):
        return None
    return number


def slow_search(trace: Trace, aside: set[int] = frozenset()) -> tuple[int, int, int, int, float, float]:
    """(site, head, query, key, weight, mean) of the link that stands out most, by looking at each query in order."""
    best, found = -math.inf, None
    tokens = trace.tokens
    words = [j for j in range(len(tokens)) if not tokens.special[j] and j not in aside]
    for number, site in enumerate(trace.sites):
        weights = site.weights().tolist()
        lengths = [[float(x) for x in row] for row in site.norms()[1]]
        usual_length = sum(row[j] for row in lengths for j in words) / (len(lengths) * len(words))
        for head in range(site.heads):
            for query in range(site.queries):
                key = max(words, key=lambda j: (weights[head][query][j], -j))
                a, b = word(tokens, query), word(tokens, key)
                if a is None or b is None or abs(a - b) <= 1 or weights[head][query][key] == 0:
                    continue
                if tokens.word_text[a].casefold() == tokens.word_text[b].casefold():
                    continue
                # a causal mask shows the first query nothing but itself: it says nothing of what keys receive
                others = [
                    q for q in range(site.queries) if any(weights[head][q][k] > 0 for k in range(site.keys) if k != q)
                ]
                usual = sum(weights[head][q][key] for q in others if q != key) / len(others)
                score = (weights[head][query][key] - usual) * lengths[head][key] / usual_length
                if score > best + 1e-6:
                    best, found = score, (number, head, query, key, weights[head][query][key], usual)
    assert found is not None
    return found


@pytest.mark.parametrize("name", ["bert", "llama"])
@pytest.mark.parametrize("text", ["The cats sat on the mat, the dog ran.", "The the THE cat the The"])
def test_the_link_that_stands_out(name: str, text: str) -> None:
    trace = attnscope.trace(tiny.model(name), tiny.tokenizer(), text)
    opening, expected = choose_opening(trace, trace.sites), slow_search(trace, set(sink_tokens(trace)[0]))
    assert (trace.sites.index(opening.site), opening.head, opening.query, opening.key) == expected[:4]
    assert f"stands out more: {percent_in_words(expected[4])}, and" in opening.why
    assert opening.why.endswith(f"receives {percent_in_words(expected[5])} on average.")


def made(weights: Tensor, tokens: list[str], border: int | None = None) -> Trace:
    """A trace with these weights [H, Q, K]."""
    return replace(Trace.from_attentions([weights], tokens), tokens=Tokens(tuple(tokens), border=border))


def test_what_a_key_receives_from_everybody_is_no_finding() -> None:
    weights = torch.full((1, 7, 7), 0.02)
    weights[0, :, 3] = 0.6  # a key that all queries look at
    weights[0, 1, 3], weights[0, 1, 5] = 0.1, 0.5  # and a link of its own
    weights /= weights.sum(-1, keepdim=True)
    opening = choose_opening(trace := made(weights, list("abcdefg")), trace.sites)
    assert (opening.query, opening.key) == (1, 5)
    assert sink_tokens(trace) == ((3,),)


def test_a_link_that_writes_more_comes_first() -> None:
    x = torch.zeros(2, 7, 3)
    q, k, v = x.clone(), x.clone(), torch.ones(2, 7, 3)
    q[0, 1, 0] = k[0, 4, 0] = q[1, 2, 0] = k[1, 6, 0] = 3.0
    v[0, 4] = 0.1  # the first head's key has hardly a value
    opening = choose_opening(trace := Trace.from_qkv(q, k, v, tokens=list("abcdefg")), trace.sites)
    assert (opening.head, opening.query, opening.key) == (1, 2, 6)
    v[0, 4], v[1, 6] = 1.0, 0.1
    opening = choose_opening(trace := Trace.from_qkv(q, k, v, tokens=list("abcdefg")), trace.sites)
    assert (opening.head, opening.query, opening.key) == (0, 1, 4)


def test_sentence_pinned_key_and_picture_agree(demo_trace: Trace) -> None:
    """The neighbour "flies" has most of the weight of "it" there: the view may not pin another key."""
    for place in (
        {"layer": 2, "query": "it"},
        {"layer": 2, "head": 8, "query": "it"},
        {},
        {"head": 3},
        {"query": "lower"},
    ):
        view = demo_trace.show(**place)
        site, state = demo_trace.site(view.state.layer), view.state
        weights = site.weights(state.head, state.query)[0].masked_fill(torch.tensor(demo_trace.tokens.special), 0)
        assert state.key == int(weights.argmax())
        first = title(view).split("“")[2].split("”")[0]
        assert first.casefold() == demo_trace.tokens[state.key] or first in ("[CLS]", "[SEP]")


@pytest.mark.parametrize(
    ("answer", "first"),
    [
        (["the", "Capital", "is"], "Capital"),
        (["it", "is"], "it"),
        (["…", "Paris"], "Paris"),
        (["Where", "Rome"], "Rome"),
    ],
)
def test_a_generated_answer_opens_where_its_first_new_word_was_written(answer: list[str], first: str) -> None:
    tokens = ["where", "are", "we", "now", *answer]
    weights = torch.rand(2, len(tokens), len(tokens), generator=torch.Generator().manual_seed(1)).tril()
    weights /= weights.sum(-1, keepdim=True)
    trace = made(weights, tokens, border=4)
    opening = choose_opening(trace, trace.sites)
    assert trace.tokens[opening.query + 1] == first, "the token before it wrote it"
    own = weights[opening.head, opening.query].clone()
    own[[opening.query, *(i for i, token in enumerate(tokens) if not token.isalpha())]] = 0
    assert opening.key == int(own.argmax()), "any other word may be its key"
    assert choose_opening(trace, trace.sites, query=2).query == 2
    state = trace.show().state
    assert trace.tokens[state.query + 1] == first
    assert f"from which the model wrote “{first}”" in state.why


def test_the_choice_can_be_narrowed() -> None:
    trace = attnscope.trace(tiny.model("bert"), tiny.tokenizer(), "The cats sat on the mat, the dog ran.")
    site = trace.sites[1]
    for query in range(1, 9):
        opening = choose_opening(trace, (site,), query=query)
        assert (opening.site, opening.query) == (site, query)
        weights = site.weights(opening.head, query)[0].masked_fill(torch.tensor(trace.tokens.special), 0)
        assert opening.key == int(weights.argmax())


def test_ties_go_to_the_lowest() -> None:
    x = torch.zeros(2, 7, 3)
    trace = Trace.from_qkv(x, x, x, tokens=list("abcdefg"))
    opening = choose_opening(trace, trace.sites)
    assert (opening.head, opening.query, opening.key) == (0, 2, 0)


def test_no_such_link() -> None:
    x = torch.zeros(2, 2, 3)
    trace = Trace.from_qkv(x, x, x, tokens=["a", "b"])
    opening = choose_opening(trace, trace.sites)
    assert "no link between two such words" in opening.why
    assert 0 <= opening.query < 2


def test_the_reason_names_what_was_searched(demo_trace) -> None:
    assert "in this text stands out more: 9" in demo_trace.show().state.why
    assert "in layer 2, from “it” stands out more: " in demo_trace.show(layer=2, query="it").state.why
    assert demo_trace.show(layer=2, head=8, query="it").state.why == ""


def test_nan_is_never_the_strongest() -> None:
    q = torch.randn(1, 7, 3, generator=torch.Generator().manual_seed(0))
    q[0, 4] = torch.nan
    trace = Trace.from_qkv(q, torch.ones(1, 7, 3), torch.ones(1, 7, 3), tokens=list("abcdefg"))
    assert choose_opening(trace, trace.sites).query != 4


def test_cached_steps_and_cross_attention() -> None:
    model = tiny.model("llama", "sdpa")
    with attnscope.capture(model) as recorder:
        text = model.generate(tiny.ids(1, 7), max_new_tokens=4, do_sample=False, eos_token_id=None)
    trace = recorder.trace(input_ids=text[:, :-1])
    opening = choose_opening(trace, trace.sites)
    assert opening.query == 9
    t5 = attnscope.trace(tiny.model("t5"), tiny.tokenizer(), "the cat sat", text_target="a dog ran")
    cross = tuple(site for site in t5.sites if site.kind == "cross")
    opening = choose_opening(t5, cross)
    assert opening.site in cross
    assert opening.query < len(t5.target or ())


def test_a_long_text_is_searched_whole() -> None:
    """The one strong link lies between any two queries that a sample would take."""
    generator = torch.Generator().manual_seed(2)
    q, k = (torch.randn(3, 701, 5, generator=generator) / 10 for _ in range(2))
    q[1, 347], k[1, 83] = 9.0, 3.0
    trace = Trace.from_qkv(q, k, k, tokens=[f"w{i}" for i in range(701)])
    opening = choose_opening(trace, trace.sites)
    assert (opening.head, opening.query, opening.key) == (1, 347, 83)
    assert "among" not in opening.why


def hay(count: int) -> str:
    """Sentences with a needle in their middle."""
    some = [f"Ship {number} left the harbour." for number in range(count)]
    return " ".join([*some[: count // 2], "The code is 7412.", *some[count // 2 :]])


def planted(tokens: Tokens, links: dict[tuple[int, int], tuple[int, int]]) -> Trace:
    """Random vectors; in these (layer, head) one query looks at one key alone."""
    trace = traced(tokens, size=11)
    for (layer, head), (query, key) in links.items():
        site = trace.sites[layer]
        site.q[head, query] = 0
        site.q[head, query, 10], site.k[head, :, 10], site.k[head, key, 10] = 60.0, 0.0, 1.0
    return trace


def test_a_chat_that_waits_opens_on_the_needle_and_not_on_its_frame() -> None:
    tokens = chat([("system", "Be terse."), ("user", f"{hay(120)}\n\nWhat is the code?")])
    last, needle = len(tokens) - 1, tokens.strings.index("Ġ7412")
    assert tokens.strings[last - 1] == "assistant"
    links = {(0, 0): (last, last - 1), (0, 1): (last, last), (0, 2): (last // 2, 60), (1, 2): (last, needle)}
    state = planted(tokens, links).show().state
    assert (state.layer, state.head, state.query, state.key) == (1, 2, last, needle)
    assert "the last token, from which the model would write on" in state.why
    assert "and “7412” receives" in state.why
    of_the = {(layer, head): (last, last - 1) for layer in (0, 1) for head in (0, 1, 2)}
    assert planted(tokens, of_the).show().state.key == last - 1, "where nothing else is looked at, it is a word as well"


@pytest.mark.parametrize("question", ["What is the code?", "What is the code of the ship?\n\nAnswer:"])
def test_an_answer_out_of_the_text_opens_where_it_was_fetched(question: str) -> None:
    """The needle stands in the prompt, as every answer to a text does; what is new is new to the question."""
    tokens = chat([("user", f"{hay(8)}\n\n{question}")], answer="The code is 7412.")
    needle = tokens.strings.index("Ġ7412")
    wrote = len(tokens) - 3
    assert tokens.strings[wrote : wrote + 2] == ("Ġis", "Ġ7412")
    state = planted(tokens, {(1, 0): (wrote, needle), (0, 0): (wrote - 1, 9)}).show().state
    assert (state.layer, state.head, state.query, state.key) == (1, 0, wrote, needle)
    assert "from which the model wrote “7412”" in state.why


@pytest.mark.parametrize(
    ("end", "waits"), [(" So the code is", True), ("\n\nAnswer:", True), (" This is the end.", False)]
)
def test_a_prompt_without_roles_waits_where_it_is_not_finished(end: str, waits: bool) -> None:
    strings = pieces_of(hay(8) + end)
    tokens = Tokens(tuple(strings))
    last, needle = len(tokens) - 1, strings.index("Ġ7412")
    state = planted(tokens, {(1, 0): (last, needle), (0, 1): (30, 4)}).show().state
    assert ((state.query, state.key) == (last, needle)) is waits
