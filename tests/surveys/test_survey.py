"""A survey from corpus to tables: against traces of each text, resumed, refused, with texts that cannot be used."""

import json
import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

import attnscope
from attnscope.errors import CaptureError, InputError, OutputError, UnreadableFile
from attnscope.statistics.compute import sums_of
from attnscope.statistics.thumbnails import pairs_at
from attnscope.statistics.totals import Totals
from attnscope.surveys.result import TABLES
from tiny_models import fresh_model, model as tiny, tokenizer

WORDS = "the cat sat on mat dog ran to a of in it air plane flies high low".split()


def sentences(count, seed=1):
    draw = np.random.default_rng(seed)
    return [" ".join(draw.choice(WORDS, draw.integers(3, 12))) for _ in range(count)]


def run(out, corpus=None, model=None, **options):
    options = {"shard": 16, "threads": 1, "examples": 0, "quiet": True} | options
    corpus = sentences(70) if corpus is None else corpus
    return attnscope.survey(tiny("bert") if model is None else model, tokenizer(), corpus, out, **options)


def same(one, other):
    return all(one.table(name).equals(other.table(name)) for name in TABLES)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return run(tmp_path_factory.mktemp("survey") / "out")


@pytest.mark.exactness
def test_the_tables_are_those_of_the_traces(whole):
    heads, examples = whole.to_frame(), whole.to_frame("examples")
    texts = whole.to_frame("documents").set_index("document").text
    totals, links = {}, {}
    for name, text in texts.items():
        trace = attnscope.trace(tiny("bert"), tokenizer(), text)
        for index, site in enumerate(trace.sites):
            sums = sums_of(site, pairs_at(trace, index), 8)
            totals.setdefault(site.layer, Totals()).merge(sums.totals)
            links[name, site.layer] = sums.finish().links
    for layer, total in totals.items():
        rows = heads[heads.layer == layer].sort_values("head")
        for statistic, means in total.means().items():
            assert rows[statistic].tolist() == pytest.approx(means, abs=1e-5, rel=1e-5), statistic
        best = [max(links[name, layer][head][2] for name in texts.index) for head in range(len(rows))]
        assert rows.link.tolist() == pytest.approx(best, abs=1e-5)
    for row in examples.itertuples():
        query, key, weight = links[row.document, row.layer][row.head]
        assert row.weight == pytest.approx(weight, abs=1e-5)
        assert (query, key) == (row.query, row.key)
        assert row.window[row.window_query] == row.query_text
        assert row.window[row.window_key] == row.key_text
        assert row.bin == min(9, int(row.weight * 10))


def test_distributions_count_every_document_once(whole):
    found = whole.to_frame("distributions")
    counts = found.groupby(["layer", "head", "statistic"])["count"].sum()
    assert (counts[:, :, "entropy"] == whole.documents).all()
    assert (found.low < found.high).all()
    heads = whole.to_frame().set_index(["layer", "head"])
    middle = found[found.statistic == "confidence"].assign(mid=lambda f: (f.low + f.high) / 2)
    about = middle.groupby(["layer", "head"]).apply(lambda f: (f.mid * f["count"]).sum() / f["count"].sum())
    assert (about - heads.confidence).abs().max() < 0.08


def test_examples_do_not_depend_on_the_order_or_the_shards(whole, tmp_path):
    other = run(tmp_path / "out", shard=9)
    columns = ["layer", "head", "kind", "bin", "document"]
    one, two = (survey.to_frame("examples")[columns].sort_values(columns).values.tolist() for survey in (whole, other))
    assert one == two
    kinds = whole.to_frame("examples").groupby(["layer", "head", "kind"]).size()
    assert (kinds[:, :, "random"] == 8).all()
    torch.testing.assert_close(
        torch.tensor(whole.to_frame().drop(columns="link").values),
        torch.tensor(other.to_frame().drop(columns="link").values),
    )


def test_an_interrupted_survey_goes_on_to_the_same_bits(whole, tmp_path):
    def breaks():
        yield from sentences(70)[:40]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "out", breaks())
    assert len([*(tmp_path / "out" / "parts").iterdir()]) == 2
    (tmp_path / "out" / "parts" / "part-00001.parquet").write_bytes(b"PAR1 half written")
    (tmp_path / "out" / "parts" / "part-00002.parquet.abc.tmp").write_bytes(b"left by a kill")
    with pytest.raises(InputError, match="holds a survey already \\(unfinished\\)"):
        run(tmp_path / "out")
    found = run(tmp_path / "out", resume=True)
    assert same(found, whole)
    assert not [*(tmp_path / "out").rglob("*.tmp")]
    assert same(run(tmp_path / "out", resume=True), whole)  # finished already
    assert [one["number"] for one in found.manifest["shards"]] == [*range(5)]


def test_what_was_changed_is_refused_with_the_difference(whole, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(whole.folder, out)
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    with pytest.raises(InputError, match=r"options\.shard was 16, and is 8"):
        run(out, shard=8, resume=True)
    changed = fresh_model("bert")
    with torch.no_grad():
        next(changed.parameters())[0, 0] += 1
    with pytest.raises(InputError, match=r"model\.weights was"):
        run(out, model=changed, resume=True)
    with pytest.raises(InputError, match="shard 0, from row 0 of given on, holds other documents"):
        run(out, sentences(70, seed=2), resume=True)
    with pytest.raises(InputError, match="it has fewer documents now"):
        run(out, sentences(70)[:32], resume=True)
    with pytest.raises(InputError, match=r"begun elsewhere: threads was 1, and is 2.*tolerate"):
        run(out, threads=2, resume=True)
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before
    found = run(out, threads=2, resume=True, tolerate=True)
    assert "claims a tolerance only: threads was 1, and is 2" in found.notes[0]


def test_bad_documents_are_set_aside_and_counted(tmp_path):
    corpus = ["the cat sat", "", 5, "a", "\ud800", "the dog ran"]
    found = run(tmp_path / "out", corpus)
    aside = found.to_frame("set_aside")
    assert (found.documents, found.set_aside) == (2, 4)
    assert aside.row.tolist() == [1, 2, 4, 3]
    assert [reason for reason in aside.reason if "fewer than two tokens" in reason]
    assert found.to_frame("documents").document.tolist() == ["given:0", "given:5"]


def test_a_text_on_which_the_model_fails(tmp_path):
    model = fresh_model("bert")
    bad = tokenizer()("plane")["input_ids"][1]

    def refuse(_, args, kwargs):
        ids = kwargs.get("input_ids", args[0] if args else None)
        if (ids == bad).any():
            raise ValueError("no planes")

    model.register_forward_pre_hook(refuse, with_kwargs=True)
    found = run(tmp_path / "out", ["the cat sat", "the plane sat", "the dog sat"], model)
    assert found.documents == 2
    assert found.to_frame("set_aside").values.tolist() == [["given", 1, "ValueError: no planes"]]
    with pytest.raises(InputError, match=r"got 1 of which none can be used; the first \(given:0\): ValueError"):
        run(tmp_path / "none", ["the plane"], model)


def test_long_documents_are_read_in_windows(tmp_path):
    text = " ".join(sentences(30))
    found = run(tmp_path / "out", [text, "the cat sat"], window=16)
    documents = found.to_frame("documents")
    assert documents.document.tolist()[:2] == ["given:0", "given:0#1"]
    assert documents.tokens.max() <= 16
    assert documents.tokens[:-2].min() >= 8
    assert " ".join(documents.text[:-1]) == text  # nothing lost, nothing twice
    assert "1 document has more than 16 tokens" in found.notes[0]


def test_no_word_of_a_private_text_is_written(tmp_path):
    """Nor where the model or the tokenizer quotes it in an error: in no name, file, column or metadata."""
    model, own = fresh_model("bert"), tokenizer()
    high = own("high")["input_ids"][1]

    def refuse(_, args, kwargs):
        if (kwargs["input_ids"] == high).any():
            raise ValueError("no plane flies high")

    class Quoting:
        def __getattr__(self, name):
            return getattr(own, name)

        def __call__(self, texts, **options):
            if any("mat" in text for text in texts):
                raise TypeError(f"what is {texts[0]}?")
            return own(texts, **options)

    model.register_forward_pre_hook(refuse, with_kwargs=True)
    corpus = ["the plane flies low", "the plane flies high", "it sat low on a plane", "a plane on the mat"]
    options = {"threads": 1, "examples": 0, "quiet": True, "texts": False}
    found = attnscope.survey(model, Quoting(), corpus, tmp_path / "out", **options)
    assert (found.documents, found.set_aside) == (2, 2)
    reasons = found.to_frame("set_aside").set_index("row").reason
    assert reasons.to_dict() == {1: "ValueError", 3: "the tokenizer fails on it (TypeError)"}
    seen = 0
    for path in found.folder.rglob("*"):
        assert "plane" not in path.name
        if path.is_file():
            assert b"plane" not in path.read_bytes(), path
        if path.suffix == ".parquet":  # compressed
            table, seen = pq.read_table(path), seen + 1
            assert "plane" not in f"{table.to_pydict()} {table.schema.metadata}", path
    assert seen == len(TABLES) + 1
    assert "text" not in found.to_frame("documents").columns
    assert set(found.to_frame("examples").query_text) == {""}


def test_bad_input_is_refused_before_anything_is_written(tmp_path):
    out = tmp_path / "out"
    for corpus, said in (([], "it is empty"), (5, "expected corpus"), ("missing.txt", "no such file")):
        with pytest.raises((InputError, UnreadableFile), match=said):
            run(out, corpus)
        assert not out.exists()
    with pytest.raises(InputError, match="there is no engine"):
        run(out, engine="spark")
    with pytest.raises(InputError, match="expected window as at most"):
        run(out, window=10**6)
    with pytest.raises(InputError, match="expected out as the path"):
        run(None)
    with pytest.raises(CaptureError, match="no heads to survey"):
        run(out, model=torch.nn.Linear(2, 2))
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").write_text("mine")
    with pytest.raises(InputError, match="holds other files"):
        run(tmp_path / "full", resume=True)
    for taken in (tmp_path / "full" / "thesis.tex", tmp_path / "full" / "thesis.tex" / "out"):
        with pytest.raises(OutputError, match=r"cannot write .*thesis\.tex.*: Not a directory"):
            run(taken)
    out.mkdir()
    (out / "manifest.json").write_text("{}")
    with pytest.raises(UnreadableFile, match="not the manifest of a survey"):
        run(out, resume=True)


def test_a_full_disk_loses_nothing(whole, tmp_path, monkeypatch):
    from attnscope.surveys import files

    real, calls = files.os.fsync, []

    def full(handle):
        calls.append(handle)
        if len(calls) == 7:
            raise OSError(28, "No space left on device")
        return real(handle)

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(OutputError, match=r"No space left on device. What was finished stays"):
        run(tmp_path / "out")
    monkeypatch.undo()
    assert not [*(tmp_path / "out").rglob("*.tmp")]
    assert same(run(tmp_path / "out", resume=True), whole)


def test_the_threads_of_the_caller_stay(tmp_path):
    before = torch.get_num_threads()
    run(tmp_path / "out", sentences(5), threads=before + 1)
    assert torch.get_num_threads() == before


def test_opening_a_survey_again(whole, tmp_path):
    again = attnscope.Survey(whole.folder)
    assert same(again, whole)
    assert f"70 texts, {again.tokens} tokens)" in str(again)
    assert json.loads((whole.folder / "manifest.json").read_text())["finished"] is True
    with pytest.raises(InputError, match="no table 'words'"):
        again.table("words")
    with pytest.raises(UnreadableFile, match="holds no survey"):
        attnscope.Survey(tmp_path)


@pytest.mark.exactness
def test_statistics_on_request_are_those_of_the_traces(tmp_path):
    names = ["entropy_normalised", "punctuation", "induction_mul", "previous_abs", "distance_variance", "share_first"]
    found = run(tmp_path / "out", sentences(9), statistics=names)
    assert found.manifest["options"]["statistics"] == names
    tables = [
        attnscope.trace(tiny("bert"), tokenizer(), text).statistics(names) for text in found.to_frame("documents").text
    ]
    heads = found.to_frame().set_index(["layer", "head"])
    for place, row in enumerate(tables[0]):
        for name in ("distance_variance", "entropy_normalised"):
            values = [table[place][name] for table in tables]
            weights = found.to_frame("documents").tokens if name == "entropy_normalised" else None
            expected = np.average(values, weights=weights)  # over queries, or over texts
            assert heads.loc[(row.layer, row.head), name] == pytest.approx(expected, rel=1e-6), name
    spread = found.to_frame("distributions").groupby(["layer", "head", "statistic"])["count"].sum()
    assert (spread[:, :, "previous_abs"] == found.documents).all()
    assert {*names} - {"punctuation"} <= {*heads.columns}  # these texts have no punctuation
    assert same(run(tmp_path / "out", sentences(9), statistics=names, resume=True), found)
    with pytest.raises(InputError, match=r"options\.statistics was \[.*\], and is \[\]"):
        run(tmp_path / "out", sentences(9), resume=True)
    with pytest.raises(InputError, match="expected names of statistics on request, got 'entropy'"):
        run(tmp_path / "other", statistics="entropy")


def test_texts_in_another_language_are_noted(tmp_path, whole):
    assert whole.notes == ()
    found = run(tmp_path / "out", ["猫 坐 在 the 垫 子", "the cat ran", "собака спит"], shard=2)
    (note,) = found.notes
    assert note.startswith("63.6 % of the tokens are unknown to the tokenizer: the texts may be in another language")
    again = run(tmp_path / "out", ["猫 坐 在 the 垫 子", "the cat ran", "собака спит"], shard=2, resume=True)
    assert again.notes == (note,)
    letters = run(tmp_path / "letters", ["xyzzy qqq vvv"])  # a token a letter
    assert letters.notes == ()
