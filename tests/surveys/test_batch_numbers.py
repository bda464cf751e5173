"""The statistics of a batch against those that attnscope gives each text by itself."""

import pytest
import torch

from attnscope.head_roles.batches import read, reader_of, trace_of
from attnscope.statistics.compute import sums_of
from attnscope.statistics.pairs import Pairs
from attnscope.surveys import model_batch
from attnscope.surveys.batch_numbers import COLUMN
from attnscope.surveys.encode import Text
from tiny_models import TEXT, model as tiny

SPECIAL = {0, 2}


def made(row, special=SPECIAL):
    flags = tuple(i in special for i in row)
    return Text(f"t:{row[1]}", "t", 0, "", {"input_ids": row, "attention_mask": [1] * len(row)}, flags)


def texts(length=13):
    """With copies, and special tokens at other places in each."""
    draw = torch.Generator().manual_seed(5)
    rows = [[0, *torch.randint(3, 12, (length - 2,), generator=draw).tolist(), 2] for _ in range(4)]
    rows[1][4], rows[2][6], rows[3][-1] = 2, 2, 5
    return [made(row) for row in rows]


def alone(model, text):
    """By sums_of, the way that every trace goes: means by name, of all heads, and the strongest links."""
    recorder = read(model, [text])
    trace = trace_of(recorder, [text], 0)
    means, links = {}, []
    for site in trace.sites:
        if site.kind != "self" or site.queries != site.keys:
            continue
        found = sums_of(site, Pairs(site, trace.query_tokens(site), trace.key_tokens(site)), 8).finish()
        for name in COLUMN:
            means.setdefault(name, []).extend(found.statistics.get(name, [None] * site.heads))
        links += [0.0 if link is None else link[2] for link in found.links]
    return means, links


@pytest.mark.exactness
@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
@pytest.mark.parametrize("kind", TEXT)
def test_a_batch_gives_what_each_text_gives(kind, implementation, monkeypatch):
    if implementation == "sdpa" and kind in ("gemma2", "gpt_oss"):
        pytest.skip("transformers has no sdpa with soft caps or sinks")
    monkeypatch.setattr(model_batch, "_one_by_one", None)  # all of these go together
    model, batch = reader_of(tiny(kind, implementation)), texts()
    with torch.no_grad():
        _, found = model_batch.numbers_of(model, batch, 1)
        compare(model, batch, found)


@pytest.mark.exactness
def test_long_texts_are_computed_one_by_one(monkeypatch):
    monkeypatch.setattr(model_batch, "LONGEST", 12)
    model, batch = tiny("llama"), texts()
    with torch.no_grad():
        _, found = model_batch.numbers_of(model, batch, 0)
        compare(model, batch, found)


@pytest.mark.exactness
@pytest.mark.parametrize("kind", ["bert", "gemma2"])
def test_texts_of_many_tokens_in_runs_of_queries(kind, monkeypatch):
    monkeypatch.setattr("attnscope.statistics.rows.CELLS", 64)  # runs of 32 queries, one text at a time
    model, batch = tiny(kind), texts(41)
    with torch.no_grad():
        _, found = model_batch.numbers_of(model, batch, 3)
        compare(model, batch, found)


def compare(model, batch, found):
    for row, text in enumerate(batch):
        means, links = alone(model, text)
        torch.testing.assert_close(found.link[row], torch.tensor(links), atol=1e-5, rtol=1e-5)
        for name, column in COLUMN.items():
            values, counts = found.values[row, :, column], found.counts[row, :, column]
            got = [v / c if c else None for v, c in zip(values.tolist(), counts.tolist(), strict=True)]
            assert [g is None for g in got] == [e is None for e in means[name]], name
            assert [g or 0 for g in got] == pytest.approx([e or 0 for e in means[name]], abs=1e-5, rel=1e-5), name
