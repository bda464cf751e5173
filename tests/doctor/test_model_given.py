"""What you give to a model in use: masks, positions, labels, types, ids beside their text, and a tokenizer. Each is found when it is
wrong, and its sound neighbours are not."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
import transformers

import attnscope
import tiny_models as tiny
from attnscope.doctor.model_check.checks.ids_of_text import _is_part
from attnscope.doctor.model_check.checks.positions import _kind
from attnscope.doctor.model_check.checks.tokenizer_fit import compare_roles
from tiny_tokenizers import begins

TEXTS = ["the cat sat on a mat", "a dog ran"]


def names(diagnosis: Any) -> list[str]:
    return [finding.name for finding in diagnosis.findings]


def only(diagnosis: Any, name: str) -> Any:
    assert names(diagnosis) == [name], diagnosis
    return diagnosis.findings[0]


def bert(change: Any, texts: Any = TEXTS, text: Any = None, side: str = "right") -> Any:
    """The doctor on a batch of BERT's that `change` has been at."""
    batch = dict(tiny.tokenizer()(texts, padding=True, padding_side=side, return_tensors="pt"))
    change(batch)
    return attnscope.check(tiny.model("bert", "sdpa"), tiny.tokenizer(), text, inputs=batch)


def masked(mask: Any) -> Any:
    return lambda batch: batch.update(attention_mask=mask(batch["attention_mask"]))


# --- the mask ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "name", "evidence"),
    [
        (masked(lambda m: 1 - m), "attention-mask-inverted", "row 1: it hides all of the text"),
        (masked(lambda m: (1.0 - m) * -10000.0), "attention-mask-inverted", "holds 0 and −10000, and the model reads 1"),
        (masked(torch.zeros_like), "mask-hides-text", "row 0: it hides all of the text ([CLS] the cat"),
        (masked(lambda m: m * torch.tensor([[1], [0]])), "mask-hides-text", "row 1: it hides all"),
        (masked(lambda m: m.flip(1)), "mask-hides-text", "row 1: it hides 3 of 5 tokens of the text ([CLS] a dog), and shows 3"),
        (masked(lambda m: m.flip(0)), "mask-hides-text", "row 0: it hides 3 of 8 tokens"),
        (masked(lambda m: m * (torch.arange(8) < 3)), "mask-hides-text", "row 0: it hides 5 of 8 tokens"),
    ],
)  # fmt: skip
def test_masks_that_hide_the_text(change: Any, name: str, evidence: str) -> None:
    diagnosis = bert(change)
    found = only(diagnosis, name)
    assert evidence in found.evidence
    assert "tokenizer" in found.cure
    assert not diagnosis


@pytest.mark.parametrize(
    "change",
    [
        masked(lambda m: m.bool()),
        masked(lambda m: m.float()),
        lambda batch: batch.update(input_ids=batch["input_ids"].masked_fill(batch["attention_mask"] == 0, 7)),
        masked(lambda m: m * (torch.arange(8) != 2)),  # one word hidden in the middle, on purpose
        lambda batch: batch.update(
            {n: torch.cat([x, torch.full_like(x[:1], int(n == "input_ids"))]) for n, x in batch.items()}
        ),  # a row of pads
    ],
)
def test_sound_masks(change: Any) -> None:
    diagnosis = bert(change)
    assert names(diagnosis) == []
    assert diagnosis


@pytest.mark.parametrize(
    ("texts", "side", "reason"),
    [
        (["the cat </s> a dog ran </s>", "it sat"], "left", "between shown tokens, first at position 3"),
        (["the cat sat </s>", "a dog </s>"], "left", "in a row that needs no padding there"),
        (["the cat sat </s>"], "right", "in a row that needs no padding there"),
        (["the cat sat", "a dog"], "right", ""),
    ],
)
def test_a_pad_token_that_hides_the_end(texts: list[str], side: str, reason: str) -> None:
    tokenizer = begins(pad_token="</s>", padding_side=side)
    model = tiny.model("llama", "sdpa", pad_token_id=3)
    batch = dict(tokenizer(texts, padding=True, return_tensors="pt"))
    assert "mask-hides-end" not in names(attnscope.check(model, tokenizer, inputs=batch))
    batch["attention_mask"] = (batch["input_ids"] != 3).long()
    diagnosis = attnscope.check(model, tokenizer, inputs=batch)
    assert ("mask-hides-end" in names(diagnosis)) == bool(reason)
    assert reason in repr(diagnosis)


# --- positions --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seen", "kind"),
    [
        ([0, 0, 0], "all tokens have position 0"),
        ([3, 4, 5], "the first token has position 3"),
        ([5, 4, 3], "positions run backwards"),
        ([0, 1, 0, 1, 2], None),  # two texts in a row
        ([0, 0, 1, 1], None),  # positions that are stretched
    ],
)
def test_kinds_of_positions(seen: list[int], kind: str | None) -> None:
    assert _kind(seen) == kind


@pytest.mark.parametrize(("kind", "first"), [("bert", 0), ("gpt2", 0), ("llama", 0), ("roberta", 2), ("opt", 0)])
def test_position_ids(kind: str, first: int) -> None:
    tokenizer = begins(padding_side="left")
    model = tiny.model(kind, "sdpa")
    batch = dict(tokenizer(TEXTS, padding=True, return_tensors="pt"))
    counted = (batch["attention_mask"].cumsum(-1) - 1).clamp(min=0)
    assert names(attnscope.check(model, None, inputs={**batch, "position_ids": counted + first})) == []
    same = attnscope.check(model, None, inputs={**batch, "position_ids": torch.full_like(counted, 4)})
    assert "all tokens have position 4" in only(same, "position-ids").title
    along = torch.arange(counted.shape[1]).expand_as(counted) + first
    found = attnscope.check(model, None, inputs={**batch, "position_ids": along})
    relative = kind == "llama"
    assert names(found) == ([] if relative else ["position-ids"])
    assert relative or "row 1 have positions 3, 4, 5, 6" in found.findings[0].evidence.replace(
        f"positions {3 + first}, {4 + first}, {5 + first}, {6 + first}", "positions 3, 4, 5, 6"
    )


def test_two_texts_in_a_row_are_not_compared() -> None:
    ids = tiny.ids(1, 7)
    places = torch.tensor([[0, 1, 2, 3, 0, 1, 2]])
    diagnosis = attnscope.check(tiny.model("gpt2", "sdpa"), None, inputs={"input_ids": ids, "position_ids": places})
    assert names(diagnosis) == []
    assert any("row of several texts" in what for what in diagnosis.not_examined)


@pytest.mark.parametrize(("tokens", "fits"), [(59, True), (60, False), (61, False)])
def test_roberta_has_two_positions_less_than_its_table(tokens: int, fits: bool) -> None:
    ids = tiny.ids(1, tokens)
    diagnosis = attnscope.check(tiny.model("roberta", "sdpa"), None, inputs={"input_ids": ids})
    assert diagnosis.conventions["made for"] == "59 tokens"
    assert names(diagnosis) == ([] if fits else ["beyond-window"])
    if not fits:
        assert f"the text has {tokens} tokens, and the model was made for 59" in diagnosis.findings[0].title
        assert "61 rows, and the first token takes row 2, so 59 are left" in diagnosis.findings[0].evidence


def test_the_length_of_a_padded_text_is_without_its_pads() -> None:
    ids = tiny.ids(2, 68).clone()
    ids[0, 62:], ids[1, 60:] = tiny.PAD, tiny.PAD
    found = only(attnscope.check(tiny.model("roberta", "sdpa"), None, inputs={"input_ids": ids, "attention_mask": ids != tiny.PAD}), "beyond-window")  # fmt: skip
    assert "the text has 62 tokens" in found.title


# --- the side of the padding, labels, types ---------------------------------------------------------------------------


def test_right_padding_is_a_warning_where_texts_are_continued() -> None:
    model, tokenizer = tiny.model("llama", "sdpa"), begins()
    diagnosis = attnscope.check(model, tokenizer, TEXTS)
    assert diagnosis  # a warning
    assert "row 1 ends with 3 pads" in only(diagnosis, "right-padding").evidence
    batch = dict(tokenizer(TEXTS, padding=True, return_tensors="pt"))
    labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)
    assert names(attnscope.check(model, tokenizer, inputs={**batch, "labels": labels})) == []  # training
    ended = {"input_ids": torch.tensor([[2, 7, 8, 9, 3]])}
    assert names(attnscope.check(model, begins(pad_token="</s>"), inputs=ended)) == []  # its last id ends the text
    body = transformers.LlamaModel(model.config).eval()
    assert names(attnscope.check(body, tokenizer, TEXTS)) == []  # embeddings


def test_labels_shifted_twice() -> None:
    model, tokenizer = tiny.model("llama", "sdpa"), begins()
    ids = tokenizer(TEXTS[0], return_tensors="pt")["input_ids"]
    shifted = torch.cat([ids[:, 1:], torch.tensor([[-100]])], 1)
    found = only(
        attnscope.check(model, tokenizer, inputs={"input_ids": ids, "labels": shifted}), "labels-shifted-twice"
    )
    assert "in row 0 the label at position 0 is the, the id at position 1" in found.evidence
    assert names(attnscope.check(model, tokenizer, inputs={"input_ids": ids, "labels": ids})) == []


def test_a_pair_without_its_types() -> None:
    model, tokenizer = tiny.model("bert", "sdpa"), tiny.tokenizer()
    batch = dict(tokenizer(*TEXTS, return_tensors="pt"))

    def checked(**changes: Any) -> list[str]:
        return names(attnscope.check(model, tokenizer, TEXTS[0], text_pair=TEXTS[1], inputs={**batch, **changes}))

    assert checked() == []
    assert checked(token_type_ids=torch.zeros_like(batch["input_ids"])) == ["pair-without-types"]
    del batch["token_type_ids"]
    assert checked() == ["pair-without-types"]


# --- ids beside their text, and the tokenizer --------------------------------------------------------------------------


def words(change: Any) -> Any:
    """Changes ids that are no special tokens."""
    return lambda batch: batch.update(
        input_ids=torch.where(batch["input_ids"] > 4, change(batch["input_ids"]), batch["input_ids"])
    )


@pytest.mark.parametrize(
    ("change", "evidence"),
    [
        (words(lambda ids: ids + 1), "every id is 1 too large"),
        (words(lambda ids: ids - 1), ""),
        (lambda batch: batch.update({n: x.flip(0) for n, x in batch.items()}), "it is text 1"),
        (words(lambda ids: ids.flip(1).clamp(min=5)), "where its text gives"),
    ],
)
def test_ids_of_another_text(change: Any, evidence: str) -> None:
    assert evidence in only(bert(change, text=TEXTS), "ids-of-another-text").evidence


def test_ids_that_frame_or_split_the_text_otherwise_are_sound() -> None:
    model, tokenizer = tiny.model("llama", "sdpa"), begins()
    text = "the cat, ran."
    for inputs in (
        tokenizer(f"user {text} end", return_tensors="pt"),
        tokenizer(["the", "cat", ",", "r", "an", "."], is_split_into_words=True, return_tensors="pt"),
    ):
        assert names(attnscope.check(model, tokenizer, text, inputs=inputs)) == []


def test_words_that_are_masked_for_training_are_not_missing() -> None:
    def hide(batch: Any) -> None:
        batch["input_ids"][0, 3] = 4

    diagnosis = bert(hide, text=TEXTS)
    assert names(diagnosis) == []
    assert "Row 0 has [MASK] in place of words" in diagnosis.notes[0]


@pytest.mark.parametrize(
    ("seen", "whole", "part"),
    [
        ([5, 6], [5, 6, 7], True),
        ([6, 7], [5, 6, 7], True),
        ([5, 6, 15, 16], [5, 6, 7, 15, 16, 17], True),  # a pair, each cut
        ([90, 5, 6, 7, 8], [5, 6, 7, 8, 9], True),  # within a template, and cut
        ([7, 5, 6], [5, 6, 7], False),  # rolled
        ([15, 16, 17], [5, 6, 7], False),
    ],
)
def test_parts_of_a_text(seen: list[int], whole: list[int], part: bool) -> None:
    assert _is_part(seen, whole) == part


def test_a_cut_pair_is_named_with_what_it_lost() -> None:
    tokenizer = tiny.tokenizer()
    pair = ("the cat sat on a mat", "a dog ran in the air")
    inputs = tokenizer(*pair, truncation="longest_first", max_length=12, return_tensors="pt")
    diagnosis = attnscope.check(tiny.model("bert"), tokenizer, pair[0], text_pair=pair[1], inputs=inputs)
    assert "row 0 lacks 3 tokens" in only(diagnosis, "text-cut").evidence


def reader(**ids: Any) -> Any:
    """As much of a tokenizer as roles need; `special`: all its special ids."""
    special = ids.pop("special", [i for i in ids.values() if i is not None])
    return SimpleNamespace(
        all_special_ids=special, added_tokens_decoder={}, **{f"{n}_token_id": i for n, i in ids.items()}
    )


@pytest.mark.parametrize(
    ("config", "tokenizer", "expected"),
    [
        ({"bos_token_id": 2, "eos_token_id": 3}, reader(bos=2, eos=3), {"begin": "fits", "end": "fits"}),
        ({"bos_token_id": 91, "eos_token_id": 92}, reader(bos=2, eos=3), {"begin": "unlike", "end": "unlike"}),
        ({"bos_token_id": 91, "eos_token_id": [92, 3]}, reader(cls=2, sep=3), {"begin": "unlike", "end": "fits"}),
        (
            {"bos_token_id": 6, "eos_token_id": 5},
            reader(bos=5, eos=6),
            {"begin": "unlike", "end": "unlike"},
        ),  # exchanged
        ({"bos_token_id": None, "eos_token_id": 7}, reader(eos=3, special=[3, 7]), {"end": "weak"}),  # a chat's own end
        ({"bos_token_id": None, "eos_token_id": 50256}, reader(eos=3), {}),  # beyond the model's own table
        ({"pad_token_id": 1, "eos_token_id": 3}, reader(eos=3, pad=3), {"end": "fits"}),  # pad = eos, as users set it
        ({"bos_token_id": 1, "eos_token_id": 2}, reader(bos=5, eos=6), {}),  # Llama's own, which nobody has set
    ],
)
def test_roles_of_special_tokens(config: dict[str, Any], tokenizer: Any, expected: dict[str, str]) -> None:
    made = transformers.LlamaConfig(vocab_size=97, **{"pad_token_id": None, **config})
    assert compare_roles(made, tokenizer, 97) == expected


def test_a_tokenizer_of_another_model() -> None:
    tokenizer = begins()
    small = tiny.fresh_model("llama")
    small.resize_token_embeddings(len(tokenizer) - 5)
    found = only(attnscope.check(small, tokenizer, "the cat"), "tokenizer-of-another-model")
    assert f"{len(tokenizer)} entries" in found.evidence
    assert names(attnscope.check(tiny.model("llama"), tokenizer, "the cat")) == []
    other = tiny.model("llama", bos_token_id=91, eos_token_id=92, pad_token_id=93)
    found = only(attnscope.check(other, tokenizer, "the cat"), "tokenizer-of-another-model")
    assert "the model's begin token is id 91, the tokenizer's 2 (<s>)" in found.evidence
