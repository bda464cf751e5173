"""What users give, and what they are told when it does not fit."""

import sys
from pathlib import Path
from typing import Any

import jaxtyping
import numpy as np
import pytest
import torch
from torch import nn

import attnscope
import parts
import tiny_models as tiny
from attnscope import CaptureError, InputError, LoadError
from attnscope.models.encoding import check_messages

TEMPLATE = "{% for m in messages %}{{ m['role'] }} : {{ m['content'] }} . {% endfor %}"
HOSTILE = [
    "</script>",
    "<img onerror=alert(1) src=x>",
    "\u202egnitsrever",
    "🛩️👩‍🚀",
    "a" * 100,
    "line\nbreak",
    "tab\t\0nul",
    "{{7*7}}",
]


def trace(text: Any = None, name: str = "bert", **options: Any) -> attnscope.Trace:
    return attnscope.trace(tiny.model(name), tiny.tokenizer(), text, **options)


@pytest.fixture
def unchecked():
    """Without the run-time check of annotations, as users run it: it would catch wrong types first."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


# --- texts ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["", "   ", "\n"])
def test_empty_text(text: str) -> None:
    with pytest.raises(InputError, match="text is empty: there is nothing to attend to"):
        trace(text)
    with pytest.raises(InputError, match="text_pair is empty"):
        trace("the cat", text_pair=text)


def test_a_text_of_which_nothing_is_left() -> None:
    tokenizer = lambda *_, **__: {"input_ids": torch.zeros(1, 0, dtype=torch.long)}  # noqa: E731
    with pytest.raises(InputError, match="the tokenizer made no tokens of 'the cat'"):
        attnscope.trace(tiny.model("gpt2"), tokenizer, "the cat")


@pytest.mark.parametrize("text", [["the cat", "a dog"], ("the cat",)])
def test_a_batch_where_one_text_is_meant(text: Any, unchecked: None) -> None:
    with pytest.raises(
        InputError, match=r"expected text as one string, got (list|tuple); pass one of them, or use attnscope.capture"
    ):
        trace(text)


def test_exactly_one_of_text_messages_and_inputs() -> None:
    with pytest.raises(InputError, match="none was given"):
        trace()
    with pytest.raises(InputError, match="text and inputs was given"):
        trace("the cat", inputs={"input_ids": tiny.ids()})
    with pytest.raises(InputError, match="a text needs a tokenizer"):
        attnscope.trace(tiny.model("bert"), None, "the cat")


@pytest.mark.parametrize(
    ("name", "limit"), [("bert", 61), ("roberta", 59), ("opt", 61), ("gpt2", 61), ("distilbert", 61)]
)
def test_too_long(name: str, limit: int) -> None:
    """The limit is the model's own: one token more, and the model itself would fail."""
    model = tiny.model(name)
    fits = attnscope.trace(model, None, inputs={"input_ids": tiny.ids(1, limit)})
    assert fits.sites[0].keys == limit
    with pytest.raises(
        InputError, match=rf"the text has {limit + 1} tokens, and this model reads at most {limit}.*truncate=True"
    ):
        attnscope.trace(model, None, inputs={"input_ids": tiny.ids(1, limit + 1)})
    with pytest.raises((IndexError, RuntimeError)):
        model(tiny.ids(1, limit + 1))


def test_truncation_is_visible_and_keeps_the_last_token() -> None:
    words = " ".join(["the cat sat on a mat"] * 20)
    trimmed = trace(words, truncate=True)
    assert len(trimmed.tokens) == 61 == trimmed.sites[0].keys
    assert (trimmed.tokens[-1], trimmed.tokens.special[-1], trimmed.tokens.words[-1]) == ("[SEP]", True, None)
    assert trimmed.tokens[:3] == ("[CLS]", "the", "cat")
    assert trimmed.tokens.ids[-1] == 3
    assert any("cut to the 61 tokens that this model can read, of 122" in note for note in trimmed.notes)
    assert trimmed.verify().passed


def test_rotary_models_have_no_table_to_run_out_of() -> None:
    assert attnscope.trace(tiny.model("llama"), None, inputs={"input_ids": tiny.ids(1, 73)}).sites[0].keys == 73


def test_the_table_of_patches_does_not_limit_the_text() -> None:
    from attnscope.models.length import max_positions

    class Tower(nn.Module):
        def __init__(self, positions: int) -> None:
            super().__init__()
            self.token_embedding, self.position_embedding = nn.Embedding(97, 5), nn.Embedding(positions, 5)

    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.text, self.vision = Tower(77), Tower(50)

        def get_input_embeddings(self) -> nn.Module:
            return self.text.token_embedding

    assert max_positions(Two()) == 77


@pytest.mark.parametrize("word", HOSTILE)
def test_hostile_tokens_are_text(word: str) -> None:
    found = trace(f"the {word} cat", "llama")
    assert found.verify().passed
    assert len(found.tokens) == found.sites[0].keys
    raw = attnscope.trace(tiny.model("bert"), None, inputs=tiny.inputs("bert"))
    assert len(raw.tokens) == 13
    named = attnscope.Trace.from_qkv(*(torch.randn(2, 2, 3) for _ in range(3)), tokens=[word, "x"])
    assert named.tokens[0] == word
    assert attnscope.payload.codec.decode(attnscope.payload.codec.encode(named)).tokens[0] == word


def test_a_tokenizer_that_does_not_fit() -> None:
    small = tiny.fresh_model("bert", vocab_size=11)
    with pytest.raises(
        InputError,
        match=r"this tokenizer does not fit this model: token 2 \('plane'\) has id \d+, and the model's vocabulary has 11 entries",
    ):
        attnscope.trace(small, tiny.tokenizer(), "the plane flies high")


# --- ready tensors --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "ids", [[5, 6, 7], [[5, 6, 7]], np.array([5, 6, 7]), torch.tensor([5, 6, 7]), torch.tensor([[5, 6, 7]])]
)
def test_inputs_in_any_form(ids: Any) -> None:
    found = trace(inputs={"input_ids": ids})
    assert tuple(found.tokens) == ("the", "cat", "sat")
    assert found.verify().passed


def test_inputs_that_do_not_fit() -> None:
    with pytest.raises(
        InputError, match=r"inputs\['input_ids'\] is a batch of 2 rows, and a trace is of one.*recorder.trace\(index="
    ):
        trace(inputs={"input_ids": tiny.ids(2, 7)})
    with pytest.raises(InputError, match="inputs is empty"):
        trace(inputs={})
    with pytest.raises(InputError, match="nothing to attend to"):
        trace(inputs={"input_ids": torch.zeros(1, 0, dtype=torch.long)})


def test_embeddings_have_numbers_for_names() -> None:
    model = tiny.model("llama")
    embeds = model.get_input_embeddings()(tiny.ids(1, 7)).detach()
    found = attnscope.trace(model, None, inputs={"inputs_embeds": embeds})
    assert tuple(found.tokens) == tuple("0123456")
    with pytest.raises(InputError, match="generate continues a text"):
        attnscope.trace(model, None, inputs={"inputs_embeds": embeds}, generate=3)


# --- continuing, chatting, decoding ---------------------------------------------------------------------------------


def test_generate() -> None:
    model, tokenizer = tiny.model("llama"), tiny.tokenizer()
    found = trace("the cat sat", "llama", generate=6)
    prompt = tokenizer("the cat sat", return_tensors="pt")["input_ids"]
    text = model.generate(prompt, max_new_tokens=6, do_sample=False)
    assert list(found.tokens.ids) == text[0].tolist()
    assert found.tokens.border == 5
    assert found.sites[0].queries == text.shape[1], "one causal pass over the whole"
    assert any(f"{text.shape[1] - 5} tokens from position 5 on were generated" in note for note in found.notes)
    assert found.verify().passed


def test_generate_needs_a_head() -> None:
    with pytest.raises(InputError, match="BertModel cannot generate text"):
        trace("the cat", generate=3)
    with pytest.raises(InputError, match="generate is -1"):
        trace("the cat", generate=-1)
    with pytest.raises(
        InputError, match=r"the text has 61 tokens and 5 more are to be generated, and this model reads at most 61"
    ):
        attnscope.trace(tiny.model("gpt2"), None, inputs={"input_ids": tiny.ids(1, 61)}, generate=5)


def test_generate_without_dropout_whatever_the_mode() -> None:
    model = tiny.fresh_model("gpt2", attn_pdrop=0.5, resid_pdrop=0.5).train()
    traces = [attnscope.trace(model, tiny.tokenizer(), "the cat", generate=6) for _ in range(2)]
    assert traces[0].tokens.ids == traces[1].tokens.ids == trace("the cat", "gpt2", generate=6).tokens.ids
    assert model.training
    assert any("training mode" in note for note in traces[0].notes)
    assert traces[0].verify().passed


def test_messages() -> None:
    import copy

    tokenizer = copy.deepcopy(tiny.tokenizer())
    messages = [{"role": "user", "content": "the cat sat"}, {"role": "dog", "content": "it ran"}]
    with pytest.raises(InputError, match="no chat template"):
        attnscope.trace(tiny.model("llama"), tokenizer, messages=messages)
    tokenizer.chat_template = TEMPLATE
    found = attnscope.trace(tiny.model("llama"), tokenizer, messages=messages)
    expected = tokenizer.apply_chat_template(messages, tokenize=True, return_dict=False)
    assert (
        list(found.tokens.ids)
        == tokenizer(tokenizer.apply_chat_template(messages, tokenize=False), add_special_tokens=False)["input_ids"]
    )
    assert isinstance(expected, list)
    assert "cat" in found.tokens
    tokenizer.chat_template = "{{ raise_exception('roles must alternate') }}"
    with pytest.raises(InputError, match=r"refuses these messages .*roles must alternate"):
        attnscope.trace(tiny.model("llama"), tokenizer, messages=messages)


@pytest.mark.parametrize(
    ("messages", "problem"),
    [
        ([{"foo": 1}], r"messages\[0\] is not a message: .*\"role\" and a \"content\".*got the keys 'foo'"),
        (
            [{"role": "user", "content": "a"}, {"role": "user"}],
            r"messages\[1\] is not a message: .*got the keys 'role'",
        ),
        ([{}], "got the keys of nothing"),
        ([], "got an empty one"),
    ],
)
def test_what_is_not_a_message(messages, problem) -> None:
    import copy

    tokenizer = copy.deepcopy(tiny.tokenizer())
    tokenizer.chat_template = TEMPLATE
    with pytest.raises(InputError, match=problem):
        attnscope.trace(tiny.model("llama"), tokenizer, messages=messages)


@pytest.mark.parametrize(
    ("messages", "problem"),
    [
        (["hello"], r"messages\[0\] .*got 'hello'"),
        ("hello", "got str"),
        ({"role": "user", "content": "a"}, "got dict"),
    ],
)
def test_what_is_not_a_list_of_messages(messages, problem) -> None:
    with pytest.raises(InputError, match=problem):
        check_messages(messages)


def test_encoder_decoder_without_a_target() -> None:
    found = trace("the cat sat", "t5")
    assert found.target is not None
    assert list(found.target.ids) == [tiny.PAD]
    assert found.site(0, "cross").weights().shape == (3, 1, 5)
    assert any("the decoder read its start token alone" in note for note in found.notes)


def test_encoder_decoder_with_a_target() -> None:
    found = trace("the cat sat", "t5", text_target="a dog ran")
    ids = tiny.tokenizer()("a dog ran")["input_ids"]
    assert found.target is not None
    assert list(found.target.ids) == [tiny.PAD, *ids[:-1]]
    assert found.verify().passed
    with pytest.raises(InputError, match="expected text_target as a string"):
        trace("the cat sat", "t5", text_target=" ")
    with pytest.raises(InputError, match="text_target is for encoder-decoder models"):
        trace("the cat sat", "bert", text_target="a dog ran")


def test_encoder_decoder_generates() -> None:
    found = attnscope.trace(tiny.model("t5_generates"), tiny.tokenizer(), "the cat sat", generate=5)
    assert found.target is not None
    assert found.target.border == 1
    assert len(found.target) > 1
    assert found.verify().passed


# --- models ---------------------------------------------------------------------------------------------------------


def test_a_model_without_attention() -> None:
    class Plain(nn.Module):
        def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
            return self.table(input_ids)

        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Embedding(97, 5)

    with pytest.raises(CaptureError, match=r"no attention that attnscope can read\. Its modules are: Embedding"):
        attnscope.trace(Plain(), None, inputs={"input_ids": tiny.ids()})


def test_a_model_whose_attention_cannot_be_captured() -> None:
    with pytest.raises(CaptureError, match=r"Modules that look like attention: layers\.0"):
        attnscope.trace(parts.Layers(parts.MyAttention()), None, inputs={"x": torch.randn(1, 7, 15)})


def test_an_unknown_name_offline() -> None:
    with pytest.raises(
        LoadError, match=r"'no-such-org/no-such-model' could not be loaded.*offline, give the folder"
    ) as caught:
        attnscope.load("no-such-org/no-such-model")
    assert isinstance(caught.value, OSError)


def test_folders(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match="there is no folder"):
        attnscope.load(tmp_path / "none")
    with pytest.raises(LoadError, match=r"could not be loaded as a model.*config\.json"):
        attnscope.load(tmp_path)
    tiny.model("bert", "sdpa").save_pretrained(tmp_path)
    tiny.tokenizer().save_pretrained(tmp_path)
    model, tokenizer = attnscope.load(tmp_path)
    assert type(model).__name__ == "BertModel"
    assert not model.training
    found = attnscope.trace(model, tokenizer, "the cat sat")
    expected = attnscope.trace(tiny.model("bert", "sdpa"), tiny.tokenizer(), "the cat sat")
    assert torch.equal(found.sites[1].weights(), expected.sites[1].weights())
    assert found.model.name == tmp_path.name
    assert attnscope.load(str(tmp_path), dtype="bfloat16", task="fill-mask")[0].dtype == torch.bfloat16


def test_a_corrupted_checkpoint(tmp_path: Path) -> None:
    tiny.model("bert", "sdpa").save_pretrained(tmp_path)
    tiny.tokenizer().save_pretrained(tmp_path)
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:999])
    with pytest.raises(LoadError, match="could not be loaded as a model"):
        attnscope.load(tmp_path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"task": "mind-reading"}, "no task 'mind-reading'"),
        ({"dtype": "float99"}, "no dtype 'float99'"),
        ({"device": "cuda:99"}, "could not be moved to 'cuda:99'"),
    ],
)
def test_options_that_do_not_fit(options: dict[str, Any], message: str) -> None:
    with pytest.raises(LoadError, match=message):
        attnscope.load("demo", **options)


def test_the_demo_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(attnscope.MissingDependency, match=r"pip install 'attnscope\[demo\]'"):
        attnscope.load("demo")


def test_the_demo_is_not_the_known_one(monkeypatch: pytest.MonkeyPatch) -> None:
    from attnscope.models import loading

    monkeypatch.setattr(loading, "DEMO_SHA256", "0" * 64)
    loading._check_demo.cache_clear()
    with pytest.raises(LoadError, match="not the known ones"):
        attnscope.load("demo")
    loading._check_demo.cache_clear()


@pytest.mark.parametrize("version", ["4.57.3", "5.0.0", "6.0.0.dev0"])
def test_an_unsupported_transformers(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny.model("bert")
    monkeypatch.setattr(sys.modules["transformers"], "__version__", version)
    with pytest.raises(
        CaptureError, match=rf"from 5.1 on and below 6, and this is transformers {version}.*pip install"
    ):
        attnscope.trace(model, None, inputs=tiny.inputs("bert"))


def test_a_transformers_without_the_interface(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny.model("bert")
    monkeypatch.delattr("transformers.modeling_utils.AttentionInterface")
    with pytest.raises(CaptureError, match=r"pip install 'transformers>=5\.1,<6'"):
        attnscope.trace(model, None, inputs=tiny.inputs("bert"))
