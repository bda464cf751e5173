"""Where a view opens, against a slow search through every link."""

import pytest
import torch

import attnscope
import tiny_models as tiny
from attnscope import Tokens, Trace
from attnscope.statistics import rows
from attnscope.views.default_place import choose_opening


def word(tokens: Tokens, position: int) -> int | None:
    number = tokens.words[position]
    if number is None or tokens.special[position] or not any(c.isalnum() for c in tokens.word_text[number]):
        return None
    return number


def slow_search(trace: Trace) -> tuple[int, int, int, int, float]:
    """(site, head, query, key, weight) of the strongest link, by looking at each one in order."""
    best = (0, 0, 0, 0, 0.0)
    for number, site in enumerate(trace.sites):
        weights, tokens = site.weights(), trace.query_tokens(site)
        for head in range(site.heads):
            for query in range(site.queries):
                for key in range(site.keys):
                    a, b = word(tokens, query), word(tokens, key)
                    if a is None or b is None or abs(a - b) <= 1:
                        continue
                    if tokens.word_text[a].casefold() == tokens.word_text[b].casefold():
                        continue
                    if float(weights[head, query, key]) > best[-1]:
                        best = (number, head, query, key, float(weights[head, query, key]))
    return best


@pytest.mark.parametrize("name", ["bert", "llama"])
@pytest.mark.parametrize(
    "text", ["The cats sat on the mat, the dog ran.", "a plane flies high in the air", "The the THE cat the The"]
)
def test_the_strongest_link(name: str, text: str) -> None:
    trace = attnscope.trace(tiny.model(name), tiny.tokenizer(), text)
    opening, expected = choose_opening(trace, trace.sites), slow_search(trace)
    assert (trace.sites.index(opening.site), opening.head, opening.query, opening.key) == expected[:-1]
    assert f"{100 * expected[-1]:.0f} %" in opening.why
    assert "strongest link between two different words that are neither special nor neighbours" in opening.why


def test_the_choice_can_be_narrowed() -> None:
    trace = attnscope.trace(tiny.model("bert"), tiny.tokenizer(), "The cats sat on the mat, the dog ran.")
    site = trace.sites[1]
    opening = choose_opening(trace, (site,), head=2, query=3)
    assert (opening.site, opening.head, opening.query) == (site, 2, 3)
    links = [k for k in range(site.keys) if (w := word(trace.tokens, k)) is not None and abs(w - 1) > 1]
    assert opening.key == max(links, key=lambda k: float(site.weights(head=2, queries=3)[0, k]))


def test_ties_go_to_the_lowest() -> None:
    x = torch.zeros(2, 7, 3)
    trace = Trace.from_qkv(x, x, x, tokens=list("abcdefg"))
    opening = choose_opening(trace, trace.sites)
    assert (opening.head, opening.query, opening.key) == (0, 0, 2)


def test_no_such_link() -> None:
    x = torch.zeros(2, 2, 3)
    trace = Trace.from_qkv(x, x, x, tokens=["a", "b"])
    opening = choose_opening(trace, trace.sites)
    assert "no link between two such words" in opening.why
    assert 0 <= opening.query < 2


def test_the_reason_names_what_was_searched(demo_trace) -> None:
    anywhere = demo_trace.show().state.why
    assert "in this text: 9" in anywhere
    here = demo_trace.show(layer=2, query="it").state.why
    assert "in layer 2, from “it”: 42 %" in here
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


def test_equal_weights_in_several_runs_of_queries_go_to_the_first(monkeypatch) -> None:
    monkeypatch.setattr(rows, "CELLS", 3 * 23)
    monkeypatch.setattr(rows, "FEWEST_ROWS", 3)
    q = torch.zeros(2, 23, 4)
    q[:, 7, 0] = q[:, 16, 1] = 50.0
    k = torch.zeros(2, 23, 4)
    k[:, 19, 0] = k[:, 3, 1] = 50.0
    trace = Trace.from_qkv(q, k, k, tokens=[f"w{i}" for i in range(23)])
    opening = choose_opening(trace, trace.sites)
    assert (opening.head, opening.query, opening.key) == (0, 7, 19), "query 16 gives key 3 all of its weight, too"
