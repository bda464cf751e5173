"""Every kind of corpus gives the same documents, and what cannot be read is set aside by row."""

import csv
import json
import sys
from importlib.util import find_spec

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from attnscope.errors import InputError, MissingDependency, UnreadableFile
from attnscope.surveys.documents import documents_of
from attnscope.surveys.shards import MOST_CHARACTERS, shards_of

TEXTS = ["the cat sat", "a dog, ran", "“naïve” 猫"]


def written(folder, kind):
    path = folder / f"corpus.{kind}"
    if kind == "txt":
        path.write_text("\n".join(TEXTS) + "\n", encoding="utf-8")
    elif kind == "jsonl":
        path.write_text("".join(json.dumps({"id": 1, "text": text}) + "\n" for text in TEXTS))
    elif kind in ("csv", "tsv"):
        with open(path, "w", encoding="utf-8", newline="") as file:
            rows = csv.writer(file, delimiter="," if kind == "csv" else "\t")
            rows.writerows([("id", "text"), *enumerate(TEXTS)])
    elif kind == "parquet":
        pq.write_table(pa.table({"id": range(3), "text": TEXTS}), path)
    else:
        blocks = [
            f"# text = {text}\n"
            + "".join(f"{n}\t{w}\t_\t_\t_\t_\t0\troot\t_\t_\n" for n, w in enumerate(text.split(), 1))
            for text in TEXTS
        ]
        path.write_text("\n".join(blocks), encoding="utf-8")
    return path


@pytest.mark.parametrize("kind", ["txt", "jsonl", "csv", "tsv", "parquet", "conllu"])
def test_the_same_documents(tmp_path, kind):
    path = written(tmp_path, kind)
    found = [*documents_of(path)]
    assert [(one.text, one.row, one.reason) for one in found] == [(text, n, "") for n, text in enumerate(TEXTS)]
    assert [one.name for one in found] == [f"corpus.{kind}:{n}" for n in range(3)]


def test_iterables_and_folders(tmp_path):
    assert [one.text for one in documents_of(iter(TEXTS))] == TEXTS
    assert [one.text for one in documents_of(({"body": text} for text in TEXTS), "body")] == TEXTS
    (tmp_path / "in").mkdir()
    for number, text in enumerate(TEXTS):
        (tmp_path / "in" / f"{number}.txt").write_text(f"{text}\nand more", encoding="utf-8")
    written(tmp_path, "jsonl")
    found = [*documents_of(tmp_path)]
    assert [one.name for one in found] == [
        "corpus.jsonl:0",
        "corpus.jsonl:1",
        "corpus.jsonl:2",
        *(f"in/{n}.txt:0" for n in range(3)),
    ]
    assert found[3].text == "the cat sat\nand more"


def test_rows_that_cannot_be_used_are_set_aside(tmp_path):
    path = tmp_path / "bad.jsonl"
    lines = [
        b'{"text": "good one"}',
        b'{"text": ',
        b'{"other": 1}',
        b'{"text": 5}',
        b"7",
        b'{"text": " "}',
        b'{"text": "\xff"}',
        b'{"text": "\\ud800"}',
    ]
    path.write_bytes(b"\n".join([*lines, b"", b'"as it is"']))
    found = {one.row: one for one in documents_of(path)}
    assert [row for row, one in found.items() if not one.reason] == [0, 9]
    reasons = [found[row].reason for row in range(1, 8)]
    for reason, said in zip(
        reasons,
        ("no JSON", "no text in 'text'", "no text in 'text'", "is no text but int", "empty", "UTF-8", "UTF-8"),
        strict=True,
    ):
        assert said in reason
    words = tmp_path / "bad.conllu"
    words.write_text("1\tthe\tonly three\n\n# text = a cat\n1\ta\n")
    assert [(one.text, bool(one.reason)) for one in documents_of(words)] == [("", True), ("a cat", False)]


def test_what_is_no_corpus(tmp_path):
    for corpus in (5, b"bytes", {"text": "a"}, None):
        with pytest.raises(InputError, match="expected corpus as a path or an iterable"):
            next(documents_of(corpus))
    with pytest.raises(UnreadableFile, match="no such file"):
        next(documents_of("missing.jsonl"))
    with pytest.raises(InputError, match="holds no file"):
        next(documents_of(tmp_path))
    (tmp_path / "a.csv").write_text("body\nthe cat\n")
    with pytest.raises(InputError, match="no column 'text': its columns are 'body'"):
        next(documents_of(tmp_path / "a.csv"))
    (tmp_path / "a.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(UnreadableFile, match="cannot be read as Parquet"):
        next(documents_of(tmp_path / "a.parquet"))


def test_a_dataset_by_name_or_folder(tmp_path, monkeypatch):
    """With a stand-in for the package: what it is asked for, which split is taken, and what is said where it fails."""
    asked = []

    class Datasets:
        @staticmethod
        def load_dataset(name, **options):
            asked.append((name, options))
            if name == "gone":
                raise ValueError("no such dataset\nand more")
            rows = [{"text": text, "body": f"{text}!"} for text in TEXTS]
            return {"test": [], "train": rows} if name == "pets" else {"test": (broken() if name == "cut" else rows)}

        @staticmethod
        def load_from_disk(path):
            asked.append(path)
            return [{"text": text} for text in TEXTS]

    def broken():
        yield {"text": TEXTS[0]}
        raise ConnectionError("the line is dead")

    monkeypatch.setitem(sys.modules, "datasets", Datasets)
    for name, field, end in (("pets", "text", ""), ("owner/cats", "body", "!")):
        found = [*documents_of(name, field)]
        assert [(one.name, one.text) for one in found] == [(f"{name}:{n}", text + end) for n, text in enumerate(TEXTS)]
    assert asked == [("pets", {"streaming": True}), ("owner/cats", {"streaming": True})]
    for mark in ("dataset_info.json", "dataset_dict.json"):
        folder = tmp_path / mark.partition(".")[0]
        folder.mkdir()
        (folder / mark).write_text("{}")
        assert [one.name for one in documents_of(folder)] == [f"{folder.name}:{n}" for n in range(3)]
        assert asked[-1] == str(folder)
    with pytest.raises(UnreadableFile, match=r"'gone' cannot be read: no such dataset\. For a configuration"):
        next(documents_of("gone"))
    rows = documents_of("cut")
    assert next(rows).text == TEXTS[0]
    with pytest.raises(UnreadableFile, match="'cut' cannot be read from row 1 on: the line is dead"):
        next(rows)
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(MissingDependency, match="taken for a dataset's name"):
        next(documents_of("wikitext"))
    with pytest.raises(MissingDependency, match="saved by datasets"):
        next(documents_of(folder))


@pytest.mark.skipif(find_spec("datasets") is None, reason="datasets is not installed")
def test_a_dataset_that_the_package_itself_saved(tmp_path):
    import datasets  # pyright: ignore[reportMissingImports]

    saved = datasets.Dataset.from_dict({"text": TEXTS})
    saved.save_to_disk(tmp_path / "one")
    datasets.DatasetDict({"test": saved.select([0]), "train": saved}).save_to_disk(tmp_path / "splits")
    for folder in ("one", "splits"):
        assert [one.text for one in documents_of(tmp_path / folder)] == TEXTS
    assert [one.text for one in documents_of(saved)] == TEXTS


@pytest.mark.parametrize("kind", ["line", "file", "csv", "given"])
def test_a_text_of_any_length_is_taken_in_sections(tmp_path, monkeypatch, kind):
    """Cut where a word ends; together they are the text; a name says where each begins."""
    monkeypatch.setattr("attnscope.surveys.readers.SECTION", 29)
    text = " ".join(f"word{number}" for number in range(40)) + " " + "x" * 83
    path = tmp_path / "in" / f"long.{'csv' if kind == 'csv' else 'txt'}"
    path.parent.mkdir()
    path.write_text(f'text\n"{text}"\nshort\n' if kind == "csv" else f"{text}\nshort", newline="")
    corpus = {"line": path, "csv": path, "file": path.parent, "given": [text, "short"]}[kind]
    found = [*documents_of(corpus)]
    if kind == "file":
        text, source = f"{text}\nshort", "long.txt"
    else:
        assert (found.pop().text, len({one.row for one in found})) == ("short", 1)
        source = "given" if kind == "given" else path.name
    assert "".join(one.text for one in found) == text
    assert max(len(one.text) for one in found) == 29
    for one in found:
        assert text[one.start :].startswith(one.text)
        assert one.text.endswith((" ", "\n")) or "x" in one.text or one is found[-1]
        assert one.name == (f"{source}:0@{one.start}" if one.start else f"{source}:0")


def test_a_field_of_csv_may_be_longer_than_pythons_own_limit(tmp_path):
    limit = csv.field_size_limit()
    (tmp_path / "a.csv").write_text(f'id,text\n1,"{"a b " * 40_000}"\n2,c d\n')
    assert [(len(one.text), one.reason) for one in documents_of(tmp_path / "a.csv")] == [(160_000, ""), (3, "")]
    assert csv.field_size_limit() == limit


def test_shards_are_bounded_by_documents_and_characters():
    read = []

    def corpus():
        for number in range(100):
            read.append(number)
            yield "x y " * (MOST_CHARACTERS // 10 if number >= 90 else 2)

    shards = shards_of(documents_of(corpus()), 40)
    assert len(next(shards).documents) == 40
    assert len(read) == 41  # not more than it needs
    rest = [*shards]
    assert [len(shard.documents) for shard in rest][:2] == [40, 12]
    assert [shard.number for shard in rest] == [*range(1, len(rest) + 1)]
    assert sum(len(shard.documents) for shard in rest) == 60
