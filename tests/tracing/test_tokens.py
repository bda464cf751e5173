"""Tokens of every kind of vocabulary read as the text has them: real tokenizers, trained here on a few sentences."""

import copy
import pickle
from functools import cache
from typing import Any

import pytest
import transformers
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

import attnscope
from attnscope.payload.plain_json import tokens_from_json, tokens_to_json
from attnscope.text.spelling import labels, named
from attnscope.tracing.tokens import Tokens, continued_by, tokens_of, tokens_of_strings

LEARNED = ["el señor y los señores", "das Café", "猫が好き", "שלום עולם", "مرحبا بالعالم", "hello world", "foo_bar(y)"]
TEXT = "Los señores,\nnaïve 猫咪 “שלום” مرحبا 👩\u200d👧 3.14 café"
UTF8 = ("byte-level", "SentencePiece", "CLIP", "ByT5")  # vocabularies in which every character can be written


@cache
def tokenizer(kind: str) -> Any:
    if kind == "ByT5":
        return transformers.ByT5Tokenizer(extra_ids=0)
    bytes_by_number = [f"<0x{byte:02X}>" for byte in range(256)]
    common: dict[str, Any] = {"vocab_size": 340, "show_progress": False}
    if kind == "WordPiece":
        made = Tokenizer(models.WordPiece(unk_token="[UNK]"))
        made.normalizer, made.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
        made.decoder = decoders.WordPiece()
        made.train_from_iterator(LEARNED * 9, trainers.WordPieceTrainer(special_tokens=["[UNK]"], **common))
    elif kind == "SentencePiece":
        made = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>"))
        made.pre_tokenizer = pre_tokenizers.Metaspace()
        steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
        made.decoder = decoders.Sequence(steps)
        learned = [text for text in LEARNED if text.isascii() or "ñ" in text]
        made.train_from_iterator(learned * 9, trainers.BpeTrainer(special_tokens=["<unk>", *bytes_by_number], **common))
    else:
        alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
        letters = {letter: i for i, letter in enumerate([*alphabet, *(f"{one}</w>" for one in alphabet), "se"])}
        made = Tokenizer(
            models.BPE(letters, [("s", "e")], end_of_word_suffix="</w>") if kind == "CLIP" else models.BPE()
        )
        made.pre_tokenizer, made.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
        if kind == "CLIP":
            made.pre_tokenizer = pre_tokenizers.Sequence(
                [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
            )
        else:
            made.train_from_iterator(LEARNED * 9, trainers.BpeTrainer(initial_alphabet=alphabet, **common))
    return transformers.PreTrainedTokenizerFast(tokenizer_object=made)


def read(kind: str, text: str = TEXT, known: bool = True) -> Tokens:
    made = tokenizer(kind)
    encoded = made(text, add_special_tokens=False)
    encoding = encoded.encodings[0] if known and encoded.encodings else None
    return tokens_of(made, encoded["input_ids"], encoding=encoding, texts=[text])


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("kind", UTF8)
def test_words_are_those_of_the_text(kind: str, known: bool) -> None:
    tokens = read(kind, known=known)
    assert "".join(tokens.word_text) == "".join(TEXT.split()), "no character is lost, none is read twice"
    assert {"señores", "naïve", "猫咪", "שלום", "مرحبا", "👩\u200d👧"} <= set(tokens.word_text)
    assert not any("\n" in word for word in tokens.word_text)
    assert not any(mark in shown for shown in tokens.shown for mark in "ĠĊ▁Ã\n\ufffd")
    for i, label in enumerate(labels(tokens)):
        word = tokens.words[i]
        assert word is not None
        name = named(label).translate({0x2068: None, 0x2069: None})  # names from the right stand between isolates
        assert name in (label.text, f"{label.text} (in {tokens.word_text[word]})")


def test_uncased_words_have_the_capitals_and_accents_of_the_text() -> None:
    assert read("WordPiece", "Das CAFÉ, señor").shown == ("Das", "CAFÉ", ",", "señor")
    assert "".join(read("WordPiece", "los Señores").shown) == "losSeñores"


def test_the_words_of_a_tokenizer_whose_pieces_have_no_marks() -> None:
    bare = Tokenizer(models.BPE({letter: i for i, letter in enumerate("cats and")}, []))
    bare.pre_tokenizer = pre_tokenizers.Whitespace()
    made = transformers.PreTrainedTokenizerFast(tokenizer_object=bare)
    encoded = made("cats and")
    tokens = tokens_of(made, encoded["input_ids"], encoding=(encoded.encodings or [None])[0], texts=["cats and"])
    assert tokens.words == (0, 0, 0, 0, 1, 1, 1)
    assert tokens.word_text == ("cats", "and")


@pytest.mark.parametrize("kind", UTF8)
def test_each_part_of_a_character_says_which(kind: str) -> None:
    made = tokenizer(kind)
    tokens = read(kind, "咪")
    count = len("咪".encode())  # it was not learned: a token for each byte
    parts = [text for text in tokens.shown if text != "␣"]
    assert parts == [f"咪 {n}/{count}" for n in range(1, count + 1)]
    cut = tokens_of(made, tokens.ids[:-1])
    assert [text for text in cut.shown if text != "␣"] == [f"<0x{byte:02X}>" for byte in "咪".encode()[:2]]


def test_a_token_with_the_ends_of_two_characters() -> None:
    bytes_of = {0: b"a\xe7", 1: b"\x8c\xab\xe5", 2: b"\x92\xaa!", 3: b" \xc3\xb1"}

    class Tiktoken:
        def convert_ids_to_tokens(self, i: int) -> bytes:
            return bytes_of[i]

    tokens = tokens_of(Tiktoken(), list(bytes_of))
    assert tokens.shown == ("a 猫 1/2", "猫 2/2 咪 1/2", "咪 2/2 !", "ñ")
    assert tokens.words == (0, 0, 0, 1)


def test_strings_alone_are_decoded_as_with_their_tokenizer() -> None:
    made = tokenizer("byte-level")
    ids = made(TEXT)["input_ids"]
    raw = made.convert_ids_to_tokens(ids)
    assert tokens_of_strings(raw).shown == tokens_of(made, ids).shown
    assert tokens_of_strings(raw).word_text == tokens_of(made, ids).word_text


def test_a_table_of_an_older_version_is_read_as_it_was() -> None:
    """Until 1.0 pieces were decoded one by one, and tables held no spelling."""
    table = tokens_to_json(Tokens(("los", "Ġseñor", "es", "é", "ĠçĮ"), words=(0, 1, 1, 2, 3)))
    assert tokens_from_json(table).shown == ("los", "señor", "es", "é", "<0xE7><0x8C>")
    for name in ("shown", "whole", "tight"):
        del table[name]
    assert tokens_from_json(table).shown == ("los", "señor", "es", "é", "<0xE7><0x8C>")


@pytest.mark.parametrize("kind", ["byte-level", "SentencePiece", "WordPiece"])
def test_spelling_travels(kind: str) -> None:
    tokens = read(kind)
    table = tokens_to_json(tokens)
    assert tokens_from_json(table) == tokens
    assert table["shown"] == list(tokens.shown)
    assert table["whole"] == [label.whole for label in labels(tokens)]
    text = ""
    for shown, tight in zip(table["shown"], table["tight"], strict=True):
        text += shown if tight or not text else f" {shown}"
    if kind == "WordPiece":
        assert text.startswith("Los señores, na")


@pytest.mark.parametrize("kind", ["byte-level", "SentencePiece"])
def test_a_continuation_has_words_of_its_own(kind: str) -> None:
    made = tokenizer(kind)
    prompt = read(kind, "hello señor")
    added = made("es\nla 猫咪 señor", add_special_tokens=False)["input_ids"]
    if kind == "SentencePiece":
        added = added[1:]  # its "▁": the model goes on within a word
    tokens = continued_by(prompt, made, added)
    border = len(prompt)
    assert tokens.border == border
    assert tokens.shown[:border] == prompt.shown
    assert tokens.words[:border] == prompt.words
    assert tokens.words[border] != tokens.words[border - 1], "not glued to the prompt"
    spelled = [tokens.word_text[w] for w in dict.fromkeys(tokens.words[border:]) if w is not None]
    assert [word for word in spelled if word] == ["es", "la", "猫咪", "señor"]
    assert tokens.find("猫咪") > border
    assert len(tokens.offsets) == len(tokens)


def test_a_token_is_found_as_it_is_shown() -> None:
    tokens = read("byte-level")
    for wanted in ("señores", "猫咪", "咪 2/3", "café"):
        place = tokens.find(wanted)
        assert wanted in (tokens.shown[place], tokens.word_text[tokens.words[place] or 0])
        assert tokens.find(f" {wanted}") == place  # as a prediction is written
    with pytest.raises(attnscope.InputError, match="señores , ↵ n a") as error:
        tokens.find("hund")
    assert "Ġ" not in str(error.value)


@pytest.mark.parametrize("kind", ["WordPiece", "SentencePiece"])
def test_words_are_found_when_they_are_first_read(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once, and for copies, equal ones and pickled ones too."""
    plain, found = read(kind), read(kind)
    with monkeypatch.context() as patched:
        patched.setattr("attnscope.tracing.tokens.words_of", lambda *_, **__: pytest.fail("read too early"))
        later = read(kind)
        assert len(later) == len(plain)
    assert (later.words, later.shown) == (plain.words, plain.shown)
    monkeypatch.setattr("attnscope.tracing.tokens.words_of", lambda *_, **__: pytest.fail("read twice"))
    assert (later.word_text, later.turns) == (plain.word_text, plain.turns)
    monkeypatch.undo()
    assert pickle.loads(pickle.dumps(found)) == copy.copy(found) == plain == found
    with pytest.raises(AttributeError, match="no attribute 'wrods'"):
        _ = found.wrods  # type: ignore[attr-defined]
