"""BertViz's calls, as its example notebooks and its README make them, draw the numbers that the models returned.

Models are the demo and tiny configurations; where transformers 5 has another name for what those notebooks call
(encode_plus, outputs[-1]), the one of transformers 5 stands here.
"""

import base64
import html
import inspect
import json
import re
import zlib
from typing import Any

import numpy as np
import pytest
import torch
import transformers

import tiny_models as tiny
from attnscope import InputError, Trace
from attnscope.bertviz import head_view, model_view, neuron_view
from attnscope.models.loading import demo_folder
from attnscope.payload.codec import decode
from closeness import close

BERTVIZ_1_4_1 = {
    head_view: "attention tokens sentence_b_start prettify_tokens layer heads encoder_attention decoder_attention "
    "cross_attention encoder_tokens decoder_tokens include_layers html_action",
    model_view: "attention tokens sentence_b_start prettify_tokens display_mode encoder_attention decoder_attention "
    "cross_attention encoder_tokens decoder_tokens include_layers include_heads html_action",
    neuron_view.show: "model model_type tokenizer sentence_a sentence_b display_mode layer head html_action",
}
A, B = "the rabbit quickly hopped", "The turtle slowly crawled"


def plain(function: Any) -> Any:
    """Without the check of annotations that tests add, so that values of other types get as far as for a user."""
    return inspect.unwrap(function)


def page_of(drawn: Any) -> str:
    """The page within what was returned."""
    found = re.search(r'srcdoc="([^"]*)"', drawn.data)
    assert found
    return html.unescape(found[1])


def state_of(drawn: Any) -> dict[str, Any]:
    found = re.search(r"data-attnscope-state>(.*?)</script>", page_of(drawn), re.DOTALL)
    assert found
    return json.loads(found[1])


def trace_in(drawn: Any) -> Trace:
    """The trace that the page holds: the block it opens on."""
    found = re.search(r'data-stride="(\d)" data-sites="[^"]*">([^<]*)<', page_of(drawn))
    assert found
    stride, packed = int(found[1]), zlib.decompress(base64.b64decode(found[2]))
    start = 8 + int.from_bytes(packed[:8], "little")
    plain = np.frombuffer(packed[start:], np.uint8).reshape(stride, -1).T.tobytes()
    tensors = [entry for name, entry in json.loads(packed[8:start]).items() if name != "__metadata__"]
    return decode(packed[:start] + plain[: max(entry["data_offsets"][1] for entry in tensors)])


@pytest.fixture(scope="module")
def pair() -> tuple[Any, list[str], int]:
    """Attention, tokens and the start of sentence B, as the head view's notebook for BERT makes them."""
    model = transformers.BertModel.from_pretrained(demo_folder(), output_attentions=True)
    tokenizer = transformers.BertTokenizer.from_pretrained(demo_folder())
    inputs = tokenizer(A, B, return_tensors="pt")
    with torch.no_grad():
        attention = model(inputs["input_ids"], token_type_ids=inputs["token_type_ids"]).attentions
    start = inputs["token_type_ids"][0].tolist().index(1)
    return attention, tokenizer.convert_ids_to_tokens(inputs["input_ids"][0].tolist()), start


@pytest.fixture(scope="module")
def translation() -> dict[str, Any]:
    """Three stacks of a tiny encoder-decoder model, by the names of the views' arguments."""
    model = tiny.model("t5", "eager")
    with torch.no_grad():
        outputs = model(**tiny.inputs("t5", 13), output_attentions=True)
    return {
        "encoder_attention": outputs.encoder_attentions,
        "decoder_attention": outputs.decoder_attentions,
        "cross_attention": outputs.cross_attentions,
        "encoder_tokens": [f"▁s{i}" for i in range(13)],
        "decoder_tokens": [f"▁t{i}" for i in range(7)],
    }


@pytest.fixture
def outputs(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What is displayed, view by view."""
    import IPython.display

    shown: list[Any] = []
    monkeypatch.setattr(IPython.display, "display", shown.append)
    return shown


@pytest.mark.parametrize("function", BERTVIZ_1_4_1)
def test_signatures(function: Any) -> None:
    assert " ".join(inspect.signature(function).parameters) == BERTVIZ_1_4_1[function]


def test_head_view_of_a_pair(pair: Any, outputs: list[Any]) -> None:
    attention, tokens, start = pair
    assert head_view(attention, tokens, start) is None
    assert head_view(attention, tokens, start, layer=2, heads=[3, 5]) is None
    first, second = outputs
    assert (first.state.level, first.state.heads) == ("head", ())
    assert "Opened here" in first.state.why
    assert (second.state.layer, second.state.head, second.state.heads) == (2, 3, (5,))
    assert second.static
    assert second.trace.tokens.segments == (0,) * start + (1,) * (len(tokens) - start)
    for site, given in zip(second.trace.sites, attention, strict=True):
        assert close(site.weights(), given[0])


def test_returned_html_holds_the_weights(pair: Any) -> None:
    attention, tokens, start = pair
    drawn = head_view(attention, tokens, sentence_b_start=start, layer=4, heads=[7], html_action="return")
    state, trace = state_of(drawn), trace_in(drawn)
    assert (state["level"], state["layer"], state["head"], state["heads"]) == ("head", 4, 7, [])
    assert list(trace.tokens) == tokens
    assert close(trace.site(4).weights(7), attention[4][0, 7])


def test_model_view_of_gpt2() -> None:
    model = tiny.model("gpt2", "eager")
    ids = tiny.inputs("gpt2", 11)["input_ids"]
    with torch.no_grad():
        attention = model(ids, output_attentions=True).attentions
    tokens = [f"Ġw{i}" for i in range(11)]
    drawn = model_view(attention, tokens, display_mode="light", html_action="return")
    state, trace = state_of(drawn), trace_in(drawn)
    assert (state["level"], state["theme"]) == ("model", "light")
    assert close(trace.site(state["layer"]).weights(), attention[state["layer"]][0])


def test_stacked_tensor_without_a_model() -> None:
    given = torch.rand(3, 5, 7, 7, generator=torch.Generator().manual_seed(1)).softmax(-1)
    drawn = model_view([layer[None] for layer in given], [f"w{i}" for i in range(7)], html_action="return")
    state = state_of(drawn)
    assert state["theme"] == "dark"
    assert close(trace_in(drawn).site(state["layer"]).weights(), given[state["layer"]])


def test_layers_left_out_keep_the_others_numbers(pair: Any, outputs: list[Any]) -> None:
    attention, tokens, start = pair
    model_view(attention, tokens, start, include_layers=[5, 2])
    head_view(attention, tokens, include_layers=[5], layer=5)
    assert [site.layer for site in outputs[0].trace.sites] == [2, 5]
    assert outputs[1].state.layer == 5
    assert close(outputs[0].trace.site(2).weights(), attention[2][0])


def test_include_heads(pair: Any, outputs: list[Any]) -> None:
    attention, tokens, _ = pair
    model_view(attention, tokens, include_heads=[7, 1])
    state = outputs[0].state
    assert (state.head, state.heads) == (7, (1,))
    assert "include_heads=[7, 1]" in outputs[0].trace.notes[-1]


@pytest.mark.parametrize("view", [head_view, model_view])
def test_encoder_and_decoder(view: Any, translation: dict[str, Any], outputs: list[Any]) -> None:
    view(**translation)
    assert [site.name for site in outputs[0].trace.sites] == [
        f"{stack} layer {layer}" for stack in ("encoder", "decoder", "cross") for layer in (0, 1)
    ]
    drawn = view(**translation, html_action="return")
    state = state_of(drawn)
    weights = trace_in(drawn).site(state["layer"], state["stack"]).weights()
    assert close(weights, translation[f"{state['stack']}_attention"][state["layer"]][0])


def test_one_stack_of_three(translation: dict[str, Any], outputs: list[Any]) -> None:
    cross = {name: translation[name] for name in ("cross_attention", "encoder_tokens", "decoder_tokens")}
    head_view(**cross, layer=1, heads=[2])
    head_view(decoder_attention=translation["decoder_attention"], decoder_tokens=translation["decoder_tokens"])
    head_view(**translation, layer=1)
    assert outputs[0].state.stack == "cross"
    assert outputs[2].state.stack == "encoder", "the first one given, as in BertViz"
    assert close(outputs[0].trace.site(1, "cross").weights(2), translation["cross_attention"][1][0, 2])
    assert close(outputs[1].trace.sites[1].weights(), translation["decoder_attention"][1][0])


def test_neuron_view_of_bert(outputs: list[Any]) -> None:
    from attnscope.bertviz.transformers_neuron_view import BertModel, BertTokenizer

    model = BertModel.from_pretrained(demo_folder(), output_attentions=True)
    tokenizer = BertTokenizer.from_pretrained(demo_folder(), do_lower_case=True)
    neuron_view.show(model, "bert", tokenizer, A, B, layer=4, head=3)
    (view,) = outputs
    assert (view.state.level, view.state.layer, view.state.head, view.state.theme) == ("neuron", 4, 3, "dark")
    assert view.trace.verify().passed


def byte_tokenizer(kind: str, specials: list[str]) -> Any:
    """A byte-level tokenizer of one entry for each byte (letters and space), through the class that notebooks import."""
    from attnscope.bertviz import transformers_neuron_view

    entries = [*specials, *"abcdefghijklmnopqrstuvwxyzT", "Ġ"]
    return getattr(transformers_neuron_view, kind)(vocab={entry: n for n, entry in enumerate(entries)}, merges=[])


@pytest.mark.parametrize(
    ("model_type", "tokenizer", "specials"),
    [
        ("gpt2", "GPT2Tokenizer", ["<|endoftext|>"]),
        ("roberta", "RobertaTokenizer", ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]),
    ],
)
def test_neuron_view_of_others(model_type: str, tokenizer: str, specials: list[str]) -> None:
    model = tiny.model(model_type, "eager")
    made = byte_tokenizer(tokenizer, specials)
    drawn = neuron_view.show(
        model, model_type, made, "The cat sat", display_mode="light", layer=1, head=2, html_action="return"
    )
    assert [drawn.data.count("<iframe"), state_of(drawn)["theme"]] == [1, "light"]
    trace = trace_in(drawn)
    ids = torch.tensor([made("The cat sat")["input_ids"]])
    with torch.no_grad():
        expected = model(ids, output_attentions=True).attentions[1][0]
    assert close(trace.site(1).weights(), expected)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "there is no attention.*output_attentions=True"),
        ({"attention": ()}, r"attention is empty.*outputs\[-1\].*attn_implementation=\"eager\""),
        ({"attention": (None, None)}, "holds 2 layers, all None.*output_attentions=True"),
        ({"tokens": None}, "tokens is missing"),
        ({"tokens": ["a"] * 6}, "layer 0 has 5 queries × 5 keys, and 6 tokens were given"),
        ({"tokens": [1] * 5}, r"tokens\[0\] is 1"),
        ({"tokens": "abcde"}, "expected tokens as a list of strings"),
        ({"tokens": [1] * 5, "sentence_b_start": 2}, r"tokens\[0\] is 1"),
        ({"sentence_b_start": 5}, "sentence_b_start is 5, and there are 5 tokens"),
        ({"sentence_b_start": "b"}, "sentence_b_start is 'b'"),
        ({"include_layers": [2]}, "include_layers has 2; attention has layers 0 to 1"),
        ({"include_layers": []}, "include_layers is empty"),
        ({"include_layers": 1}, "include_layers is 1; expected a list"),
        ({"html_action": "save"}, "html_action 'save' is not one of 'view', 'return'"),
        ({"encoder_tokens": ["a"]}, "expected attention or encoder_tokens, got both"),
        ({"attention": torch.ones(2, 2, 3, 5, 5)}, "a batch of 2 texts"),
    ],
)
@pytest.mark.parametrize("view", [head_view, model_view])
def test_mistakes(view: Any, arguments: dict[str, Any], message: str) -> None:
    given = {"attention": [torch.ones(1, 3, 5, 5) / 5] * 2, "tokens": list("abcde"), "html_action": "return"}
    with pytest.raises(InputError, match=message):
        plain(view)(**({**given, **arguments} if arguments else {}))


def test_mistakes_of_one_view() -> None:
    given = {"attention": [torch.ones(1, 3, 5, 5) / 5] * 2, "tokens": list("abcde")}
    with pytest.raises(InputError, match="layer 1 is not among the layers here: 0"):
        head_view(**given, include_layers=[0], layer=1)
    with pytest.raises(InputError, match="head 3 is out of range"):
        head_view(**given, heads=[3])
    with pytest.raises(InputError, match="head 3 is out of range"):
        head_view(**given, heads=[0, 3])
    with pytest.raises(InputError, match="display_mode 'grey'"):
        model_view(**given, display_mode="grey")


def test_mistakes_of_stacks(translation: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="cross_attention needs decoder_tokens too"):
        head_view(cross_attention=translation["cross_attention"], encoder_tokens=translation["encoder_tokens"])
    with pytest.raises(InputError, match="tokens belongs to attention"):
        head_view(**translation, tokens=["a"])
    with pytest.raises(InputError, match="13 queries × 13 keys, and 7 tokens"):
        head_view(encoder_attention=translation["encoder_attention"], encoder_tokens=translation["decoder_tokens"])


@pytest.mark.parametrize(
    ("model_type", "message"),
    [("albert", "model_type 'albert' is not one of 'bert', 'gpt2', 'roberta'"), (None, "second argument")],
)
def test_model_types(model_type: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        plain(neuron_view.show)(tiny.model("bert", "eager"), model_type, tiny.tokenizer(), "the cat")


def test_a_models_own_type_is_known() -> None:
    model = tiny.model("distilbert", "eager")
    with pytest.raises(InputError, match="'roberta', or this model's own 'distilbert'"):
        neuron_view.show(model, "albert", tiny.tokenizer(), "the cat")
    assert neuron_view.show(model, "distilbert", tiny.tokenizer(), "the cat", html_action="return").data
