"""What people hold in their hands: pipelines, SentenceTransformers, peft's models, layers kept elsewhere."""

import copy
import functools
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor, nn

import attnscope
import tiny_models as tiny
from attnscope import InputError
from attnscope.tracing.held import open_held
from closeness import close

TEXT = "the cat sat on a mat"


class Part(nn.Module):
    """As in sentence-transformers: a dictionary of features goes in and comes out."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.auto_model = model

    def forward(self, features: dict[str, Tensor], **more: Any) -> dict[str, Tensor]:
        wanted = {name: x for name, x in features.items() if name in ("input_ids", "attention_mask", "token_type_ids")}
        return {**features, "token_embeddings": self.auto_model(**wanted)[0]}


class Whole(nn.Sequential):
    """What people hold: the parts, and a tokenizer."""

    tokenizer, max_seq_length, prompts, default_prompt_name = None, 7, {"query": "find: "}, "query"


@pytest.fixture
def whole() -> Any:
    made = Whole(Part(tiny.model("bert")))
    made.tokenizer = tiny.tokenizer()
    return made


def test_the_model_inside_a_module_that_passes_features_on_is_run(whole: Any) -> None:
    trace = attnscope.trace(whole, text="the cat sat")
    alone = attnscope.trace(tiny.model("bert"), tiny.tokenizer(), "the cat sat")
    assert trace.tokens == alone.tokens
    assert [site.path for site in trace.sites] == [site.path for site in alone.sites]
    assert all(torch.equal(one.q, other.q) for one, other in zip(trace.sites, alone.sites, strict=True))
    assert trace.notes[0] == "The BertModel inside this Whole was run: model[0].auto_model."
    assert "'find: '" in trace.notes[1]
    assert trace.verify(full=True, model=whole)
    with pytest.raises(InputError, match=r"at most 7 \(its max_seq_length\)"):
        attnscope.trace(whole, text=TEXT)
    assert len(attnscope.trace(whole, text=TEXT, truncate=True).tokens) == 7
    assert "<html" in attnscope.show(whole, None, "the cat sat").html
    with attnscope.capture(whole) as recorder, torch.no_grad():
        whole(dict(tiny.tokenizer()("the cat sat", return_tensors="pt")))
    assert recorder.trace().sites[0].path == "0.auto_model.encoder.layer.0.attention.self"


def test_the_doctor_opens_it_too(whole: Any) -> None:
    diagnosis = attnscope.check(whole, None, "the cat sat")
    assert diagnosis.lines()[0].startswith("BertModel on 'the cat sat'")
    with pytest.raises(InputError, match="Whole is a whole model: give its tokenizer and a text"):
        attnscope.check(whole)


def test_two_models_inside_are_named() -> None:
    both = nn.ModuleDict({"asks": tiny.model("bert"), "reads": tiny.model("roberta")})
    with pytest.raises(InputError, match=r"model\.asks \(BertModel\), model\.reads \(RobertaModel\)"):
        attnscope.trace(both, tiny.tokenizer(), TEXT)
    parts = nn.ModuleList([Part(tiny.model("bert")), Part(tiny.model("roberta"))])
    with pytest.raises(InputError, match=r"model\[0\]\.auto_model .*, model\[1\]\.auto_model"):
        attnscope.trace(parts, tiny.tokenizer(), TEXT)


def test_a_module_that_takes_the_names_itself_is_run_itself() -> None:
    class Classifier(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = tiny.model("bert")

        def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
            return self.encoder(input_ids=input_ids, attention_mask=attention_mask)[0]

    model = Classifier()
    assert open_held(model).model is model
    assert attnscope.trace(model, tiny.tokenizer(), TEXT).sites[0].path.startswith("encoder.encoder.layer.0")


def test_a_pipeline() -> None:
    pipe = transformers.pipeline("feature-extraction", model=tiny.model("bert"), tokenizer=tiny.tokenizer())
    trace = attnscope.trace(pipe, None, TEXT)
    assert trace.tokens == attnscope.trace(tiny.model("bert"), tiny.tokenizer(), TEXT).tokens
    assert trace.notes == ()
    with attnscope.capture(pipe) as recorder:
        pipe(TEXT)
    assert recorder.trace().sites[0].keys == len(trace.tokens)
    with pytest.raises(InputError, match=r"got a text\. The text is the third"):
        attnscope.trace(pipe, TEXT)
    images = SimpleNamespace(model=tiny.model("vit"), tokenizer=None, image_processor="reads images")
    assert open_held(images, names=["pixel_values"]).reader == "reads images"


def test_sentence_transformers_own_classes(tmp_path: Any) -> None:
    library = pytest.importorskip("sentence_transformers", exc_type=ImportError)
    tiny.model("bert").save_pretrained(tmp_path)
    tiny.tokenizer().save_pretrained(tmp_path)
    embedder, ranker = library.SentenceTransformer(str(tmp_path)), library.CrossEncoder(str(tmp_path))
    for model in (embedder, ranker):
        trace = attnscope.trace(model, None, TEXT, text_pair="a dog")
        assert trace.verify().passed
        assert set(trace.tokens.segments) == {0, 1}


# --- peft -----------------------------------------------------------------------------------------------------------


@functools.cache
def _llama() -> Any:
    return tiny.fresh_model("llama")


@pytest.mark.parametrize("kind", ["PromptTuningConfig", "PromptEncoderConfig", "PrefixTuningConfig"])
def test_learned_positions_before_a_text_have_names(kind: str) -> None:
    peft = pytest.importorskip("peft")
    more = {"encoder_hidden_size": 11} if kind == "PromptEncoderConfig" else {}
    model = peft.get_peft_model(
        copy.deepcopy(_llama()), getattr(peft, kind)(task_type="CAUSAL_LM", num_virtual_tokens=3, **more)
    ).eval()
    trace = attnscope.trace(model, tiny.tokenizer(), TEXT)
    plain = attnscope.trace(_llama(), tiny.tokenizer(), TEXT)
    assert trace.tokens.strings == ("virtual 0", "virtual 1", "virtual 2", *plain.tokens.strings)
    assert trace.tokens.special[:3] == (True, True, True)
    assert trace.verify().passed
    site, own = trace.sites[0], plain.sites[0]
    prefix = kind == "PrefixTuningConfig"
    assert (site.queries, site.keys) == (own.queries + (0 if prefix else 3), own.keys + 3)
    assert trace.key_tokens(site).shown[3:] == plain.tokens.shown
    ids = tiny.tokenizer()(TEXT, return_tensors="pt")["input_ids"]
    with attnscope.capture(model) as recorder, torch.no_grad():
        model(input_ids=ids)
    assert recorder.trace(tiny.tokenizer(), ids).tokens.strings == trace.tokens.strings


def test_a_lora_whose_wrapper_names_no_parameters() -> None:
    peft = pytest.importorskip("peft")
    model = peft.get_peft_model(copy.deepcopy(_llama()), peft.LoraConfig(target_modules=["q_proj", "v_proj"])).eval()
    assert "token_type_ids" in tiny.tokenizer()(TEXT), "else this test says nothing"
    assert "token_type_ids" not in (attnscope.trace(model, tiny.tokenizer(), TEXT, generate=2).inputs or {})


# --- layers kept elsewhere ------------------------------------------------------------------------------------------


def test_layers_that_accelerate_keeps_elsewhere() -> None:
    accelerate = pytest.importorskip("accelerate")
    ids = {"input_ids": tiny.ids()}
    plain = attnscope.trace(_llama(), None, inputs=ids)
    model = copy.deepcopy(_llama())
    accelerate.cpu_offload(model, execution_device="cpu")
    assert next(model.parameters()).is_meta, "else this test says nothing"
    trace = attnscope.trace(model, None, inputs=ids)
    assert trace.verify(full=True, model=model)
    assert all(torch.equal(one.q, other.q) for one, other in zip(trace.sites, plain.sites, strict=True))
    for one, other in zip(trace.sites, plain.sites, strict=True):  # W_O is not here: it was asked what it does
        assert close(one.write(), other.write())
    for level in ("head", "steps", "model"):
        assert "<html" in trace.show(level=level).html
    assert attnscope.check(model, None, inputs=ids) is not None


def test_a_model_that_is_spread_over_memory_and_disk(tmp_path) -> None:
    """device_map by layers, as "auto" makes where the first device is small: the last layer lies on the disk."""
    accelerate = pytest.importorskip("accelerate")
    _llama().save_pretrained(tmp_path / "model")
    ids = {"input_ids": tiny.ids()}
    spread = {"model.embed_tokens": "cpu", "model.layers.0": "cpu", "model.layers.1": "disk", "model.norm": "cpu"}
    model = transformers.AutoModelForCausalLM.from_pretrained(
        tmp_path / "model",
        device_map={**spread, "model.rotary_emb": "cpu", "lm_head": "cpu"},
        offload_folder=tmp_path / "disk",
        dtype=torch.float32,
        attn_implementation="sdpa",
    ).eval()
    assert accelerate.utils.has_offloaded_params(model.model.layers[1].self_attn.q_proj), "else this test says nothing"
    plain = attnscope.trace(_llama(), None, inputs=ids)
    for store in ("device", "disk"):
        trace = attnscope.trace(model, None, inputs=ids, store=store)
        assert trace.verify().passed
        for one, other in zip(trace.sites, plain.sites, strict=True):
            assert close(one.q, other.q)
            assert close(one.write(), other.write())
    whole = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "model", device_map="auto").eval()
    assert attnscope.trace(whole, None, inputs=ids, generate=3).verify().passed


# --- pairs without a fast encoding ----------------------------------------------------------------------------------


class Slow:
    """What tokenizers written in Python give: tensors, and no encoding behind them. `types`: whether token types too."""

    def __init__(self, types: bool) -> None:
        self.types = types

    def __call__(self, *texts: str, **options: Any) -> Any:
        made = dict(tiny.tokenizer()(*texts, **options))
        if not self.types:
            made.pop("token_type_ids", None)
        elif len(texts) == 2 and isinstance(made["input_ids"], Tensor):
            encoding = tiny.tokenizer()(*texts)._encodings[0]
            made["token_type_ids"] = torch.tensor([[max(own, 0) for own in encoding.type_ids]])
        return transformers.BatchEncoding(made)

    def __getattr__(self, name: str) -> Any:
        return getattr(tiny.tokenizer(), name)


@pytest.mark.parametrize("types", [True, False])
def test_a_pair_from_a_slow_tokenizer_has_two_texts(types: bool) -> None:
    known = attnscope.trace(tiny.model("bert"), tiny.tokenizer(), "the cat", text_pair="a dog ran")
    found = attnscope.trace(tiny.model("bert"), Slow(types), "the cat", text_pair="a dog ran")
    assert set(known.tokens.segments) == {0, 1}
    assert found.tokens.segments == known.tokens.segments


def test_tokenizers_that_give_lists_or_stand_in_a_processor() -> None:
    known = attnscope.trace(tiny.model("bert"), tiny.tokenizer(), "the cat")
    plain = lambda text, **_: {name: list(ids) for name, ids in tiny.tokenizer()(text).items()}  # noqa: E731
    found = attnscope.trace(tiny.model("bert"), plain, "the cat")
    assert torch.equal(found.sites[1].q, known.sites[1].q)
    assert found.tokens.strings == tuple(f"#{i}" for i in known.tokens.ids)
    processor = SimpleNamespace(tokenizer=tiny.tokenizer())
    assert attnscope.trace(tiny.model("bert"), processor, "the cat").tokens == known.tokens


def test_token_types_that_are_no_pair_tell_nothing() -> None:
    from attnscope.tracing.segments import segments_of_pair, segments_of_types

    assert segments_of_types(torch.tensor([[0, 0, 0], [0, 1, 1]]), 1) == (0, 1, 1)
    assert segments_of_types([[0, 0, 1, 1, 2]]) == (0, 0, 1, 1, 1)  # XLNet's [CLS] at the end
    assert segments_of_types([[0, 1, 1, 0]]) == ()  # patches of an image within a text
    assert segments_of_types(torch.zeros(1, 3, 7)) == ()  # TAPAS
    assert segments_of_pair([0, 5, 2, 2, 6, 7, 2], [6, 7], [True, False, True, True, False, False, True]) == (
        0,
        0,
        0,
        0,
        1,
        1,
        1,
    )
    assert segments_of_pair([0, 5, 2, 2, 6, 7, 2], [5, 7], [True, False, True, True, False, False, True]) == ()
