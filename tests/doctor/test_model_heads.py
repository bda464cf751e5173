"""attnscope.check of models with a head on them: classes, answers, next sentences. A head pools, and the mask is followed all the same."""

from typing import Any

import pytest
import torch
import transformers
from torch import nn

import attnscope
import tiny_models as tiny
from attnscope.doctor.model_check.runs import at_positions, first_change
from attnscope.errors import InputError
from tiny_tokenizers import begins

TEXTS = ["the cat sat on a mat", "a dog ran"]
IDS = {"vocab_size": tiny.VOCABULARY, "pad_token_id": tiny.PAD, "bos_token_id": 2, "eos_token_id": 3}
ENCODER = {
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 53,
    "max_position_embeddings": 61,
}
SIZES: dict[str, dict[str, Any]] = {
    "Bart": {"d_model": 24, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 3}
    | {"decoder_attention_heads": 3, "encoder_ffn_dim": 53, "decoder_ffn_dim": 53, "max_position_embeddings": 61},
    "T5": {"d_model": 24, "d_kv": 8, "d_ff": 53, "num_layers": 1, "num_heads": 3, "decoder_start_token_id": 1},
    "XLNet": {"d_model": 24, "n_layer": 1, "n_head": 3, "d_inner": 53},
    "Funnel": {"d_model": 24, "n_head": 3, "d_head": 8, "d_inner": 53, "block_sizes": [1, 1]},
    "ConvBert": {**ENCODER, "num_attention_heads": 4, "embedding_size": 24},
    "MobileBert": {**ENCODER, "embedding_size": 24, "true_hidden_size": 24, "intra_bottleneck_size": 24},
    "Electra": {**ENCODER, "embedding_size": 16},
    "Llama": {**ENCODER, "num_key_value_heads": 1},
}
ENDS_WITH_EOS = ("Bart", "T5", "XLNet")


def made(kind: str, head: str, **changes: Any) -> Any:
    config = getattr(transformers, f"{kind}Config")(**{**IDS, **SIZES.get(kind, ENCODER), **changes})
    with torch.random.fork_rng():
        torch.manual_seed(5)
        model = getattr(transformers, kind + head)(config)
        tiny.spread(model)
    return model.eval()


def reader(kind: str) -> Any:
    from tokenizers import processors

    if kind == "Llama":
        return begins()
    tokenizer = begins()
    if kind in ENDS_WITH_EOS:
        tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
            single="<s> $A </s>", pair="<s> $A </s> $B </s>", special_tokens=[("<s>", 2), ("</s>", 3)]
        )
        return tokenizer
    return tiny.tokenizer()


def names(diagnosis: Any) -> list[str]:
    return [finding.name for finding in diagnosis.findings]


@pytest.mark.parametrize(
    ("kind", "head"),
    [
        ("Bert", "ForSequenceClassification"),
        ("Bert", "ForQuestionAnswering"),
        ("Bert", "ForNextSentencePrediction"),
        ("Electra", "ForPreTraining"),
        ("Llama", "ForQuestionAnswering"),
        ("XLNet", "ForQuestionAnsweringSimple"),
        ("Bart", "ForSequenceClassification"),
        ("T5", "ForSequenceClassification"),
        ("T5", "ForTokenClassification"),
        ("Funnel", "Model"),
        ("ConvBert", "ForSequenceClassification"),
        ("MobileBert", "ForNextSentencePrediction"),
    ],
)
def test_sound_heads(kind: str, head: str) -> None:
    model, tokenizer = made(kind, head), reader(kind)
    for what in (TEXTS[0], TEXTS):
        diagnosis = attnscope.check(model, tokenizer, what)
        assert diagnosis, diagnosis
        assert names(diagnosis) == []


def test_choices_are_rows_of_one_question() -> None:
    model, tokenizer = made("Bert", "ForMultipleChoice"), tiny.tokenizer()
    batch = {name: x[None] for name, x in tokenizer(TEXTS, padding=True, return_tensors="pt").items()}
    for diagnosis in (attnscope.check(model, None, inputs=batch), attnscope.check(model, tokenizer, TEXTS)):
        assert names(diagnosis) == []
        assert diagnosis
    del batch["attention_mask"]
    assert names(attnscope.check(model, tokenizer, inputs=batch)) == ["pads-attended"]


def _without_mask(module: nn.Module, query: Any, key: Any, value: Any, attention_mask: Any, **options: Any) -> Any:
    groups = query.shape[1] // key.shape[1]
    key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
    weights = (query @ key.mT * options["scaling"]).softmax(-1)
    return (weights @ value).transpose(1, 2).contiguous(), weights


@pytest.mark.parametrize(
    ("kind", "head", "place"),
    [
        ("Bert", "ForSequenceClassification", "first in bert.encoder.layer.0.attention.self"),
        ("Bert", "ForQuestionAnswering", "first in bert.encoder.layer.0.attention.self"),
        ("Bart", "ForSequenceClassification", "first in model.encoder.layers.0.self_attn"),
        ("Llama", "ForSequenceClassification", ""),  # later tokens are seen, which is found before
    ],
)
def test_a_head_does_not_hide_attention_that_ignores_the_mask(kind: str, head: str, place: str) -> None:
    transformers.AttentionInterface.register("careless", _without_mask)
    try:
        model = made(kind, head)
        model.set_attn_implementation("careless")
        diagnosis = attnscope.check(model, reader(kind), TEXTS)
    finally:
        transformers.AttentionInterface._global_mapping.pop("careless", None)
    assert "model-ignores-mask" in names(diagnosis)
    assert place in next(found.evidence for found in diagnosis.findings if found.name == "model-ignores-mask")


class Encoder(nn.Module):
    """nn.TransformerEncoder by hand; `follows` False: it hides nothing."""

    def __init__(self, follows: bool = True) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.table = nn.Embedding(tiny.VOCABULARY, 24)
        layer = nn.TransformerEncoderLayer(24, 3, 53, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)
        self.follows = follows
        self.eval()

    def get_input_embeddings(self) -> nn.Module:
        return self.table

    def forward(self, input_ids: Any, attention_mask: Any = None) -> Any:
        hidden = None if attention_mask is None or not self.follows else attention_mask == 0
        return self.encoder(self.table(input_ids), src_key_padding_mask=hidden)[:, 0]


def test_a_hand_written_encoder() -> None:
    assert names(attnscope.check(Encoder(), tiny.tokenizer(), TEXTS)) == []
    assert names(attnscope.check(Encoder(follows=False), tiny.tokenizer(), TEXTS)) == ["model-ignores-mask"]


def test_the_ids_may_have_another_name() -> None:
    class ByIds(Encoder):
        def forward(self, words: Any) -> Any:
            return super().forward(words, words != tiny.PAD)

    diagnosis = attnscope.check(ByIds(), tiny.tokenizer(), TEXTS)
    assert diagnosis, diagnosis
    assert any("takes no attention_mask" in what for what in diagnosis.not_examined)

    class ByDictionary(Encoder):
        def forward(self, features: Any) -> Any:
            return super().forward(features.get("input_ids"))

    with pytest.raises(InputError, match=r"expected a model whose forward takes input_ids, got ByDictionary"):
        attnscope.check(ByDictionary(), tiny.tokenizer(), TEXTS)


def test_scores_of_positions_are_taken_at_positions() -> None:
    scores, classes = torch.arange(10.0).reshape(2, 5), torch.arange(6.0).reshape(2, 3)
    keep = torch.tensor([[True, False, True, True, False], [False, True, True, False, False]])
    assert [x.tolist() for x in at_positions({"scores": scores}, (2, 5), keep, False)] == [[0, 2, 3, 6, 7]]
    assert at_positions({"logits": classes}, (2, 5), keep, False)[0].shape == (2, 3)


def test_the_first_change_is_the_first_module_that_differs() -> None:
    model = Encoder()
    ids = torch.tensor([[7, 8, 9, 10, 11]])
    other = torch.tensor([[7, 8, 9, 12, 13]])
    shown = torch.ones_like(ids)
    keep = torch.tensor([[True, True, True, False, False]])
    first = first_change(
        model, {"input_ids": ids, "attention_mask": shown}, {"input_ids": other, "attention_mask": shown}, keep, 1e-3
    )
    assert first is not None
    assert first[0].startswith("encoder.layers.0")
    hidden = {"attention_mask": keep.long()}
    assert first_change(model, {"input_ids": ids, **hidden}, {"input_ids": other, **hidden}, keep, 1e-3) is None
