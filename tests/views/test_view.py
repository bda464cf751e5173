"""What a view holds: which sites, in which precision, within which size; and where it opens."""

import json
import re
import zlib

import numpy as np
import pytest
import torch

import attnscope
from attnscope.errors import InputError, OutputError
from attnscope.payload.codec import read
from attnscope.render.page.html import pack
from attnscope.text.format import number, percent
from attnscope.tracing.site import Site
from attnscope.tracing.tokens import Tokens
from attnscope.tracing.trace import Trace
from attnscope.views.sentences.sentence import strongest


def random_trace(sites: int, heads: int, kv_heads: int, tokens: int, head_size: int) -> Trace:
    """A trace of the given shapes, whose z is what its q, k, v give."""
    generator = torch.Generator().manual_seed(7)
    made = []
    for layer in range(sites):
        q = torch.randn(heads, tokens, head_size, generator=generator)
        k, v = (torch.randn(kv_heads, tokens, head_size, generator=generator) for _ in range(2))
        site = Site(q, k, v, head_size**-0.5, path=f"layers.{layer}.attn", layer=layer)
        rows = torch.tensor([0, tokens // 2, tokens - 1])
        made.append(
            Site(q, k, v, head_size**-0.5, path=site.path, layer=layer, z=site.output(queries=rows), z_rows=rows)
        )
    return Trace(tuple(made), Tokens(tuple(f"w{i}" for i in range(tokens))))


def held(block):
    meta, _ = read(block.data)
    return {site["index"]: site["held"] for site in meta["sites"] if site["held"]}


def test_everything_fits_in_full_precision(demo_trace):
    blocks = demo_trace.show(layer=2, head=8, query="it").blocks
    assert [block.sites for block in blocks] == [(2,), (0,), (1,), (3,), (4,), (5,)]
    assert all(
        entry["dtype"] == "F32" and entry["heads"] == list(range(12)) for b in blocks for entry in held(b).values()
    )


def test_fp16_where_that_is_what_fits():
    trace = random_trace(sites=5, heads=3, kv_heads=3, tokens=101, head_size=14)
    everything = sum(s.q.nbytes + s.k.nbytes + s.v.nbytes for s in trace.sites) / 1e6
    view = trace.show(layer=3, head=1, query=5, max_mb=everything)
    assert {index for block in view.blocks for index in held(block)} == {0, 1, 2, 3, 4}
    assert all(entry["dtype"] == "F16" for block in view.blocks for entry in held(block).values())
    meta, _ = read(view.blocks[0].data)
    assert "fp16" in meta["notes"][0]
    errors = [site["receipt"]["max_error"] for site in meta["sites"]]
    assert min(errors) > 1e-5, "the receipt is computed from the rounded values"
    assert meta["receipt"]["passed"]


@pytest.mark.parametrize("kv_heads", [2, 6])
def test_the_heads_with_the_strongest_links_when_not_all_fit(kv_heads):
    trace = random_trace(sites=5, heads=6, kv_heads=kv_heads, tokens=101, head_size=14)
    layer = sum(x.numel() * 2 for x in (trace.sites[0].q, trace.sites[0].k, trace.sites[0].v)) / 1e6 * 1.3
    view = trace.show(layer=3, head=0, query=5, max_mb=2.5 * layer)
    here = {index: entry["heads"] for block in view.blocks for index, entry in held(block).items()}
    assert view.blocks[0].sites == (3,)
    assert here.pop(3) == list(range(6))
    chosen = {(index, head) for index, heads in here.items() for head in heads}
    others = {(i, h) for i in (0, 1, 2, 4) for h in range(6)} - chosen
    apart = ~torch.eye(101, dtype=torch.bool)

    def strongest_link(place):
        return float((trace.sites[place[0]].weights(place[1]) * apart).max())

    assert len(chosen) >= 4
    if kv_heads == 6:  # heads that share keys and values cost less, and may come before stronger ones
        assert min(map(strongest_link, chosen)) > max(map(strongest_link, others))
    tensors = [x for block in view.blocks for name, x in read(block.data)[1].items() if not name.startswith(("t", "r"))]
    assert 0.8 < sum(x.nbytes for x in tensors) * 4 / 3 * 0.92 / (2.5e6 * layer) <= 1
    assert f"the {len(chosen)} of the other 24 heads" in " ".join(view.notes)
    says = dict(
        part.split(":") for part in re.findall(r"data-attnscope data-sites=\"(.*?)\"", view.html)[0].split()[1:]
    )
    assert says == {str(index): ",".join(map(str, heads)) for index, heads in here.items()}


def test_some_heads_when_a_layer_does_not_fit():
    trace = random_trace(sites=2, heads=13, kv_heads=13, tokens=211, head_size=22)
    layer = sum(x.numel() * 2 for x in (trace.sites[0].q, trace.sites[0].k, trace.sites[0].v)) / 1e6
    view = trace.show(layer=1, head=11, query=5, max_mb=layer / 2)
    heads = held(view.blocks[0])[1]["heads"]
    assert 11 in heads
    assert 1 <= len(heads) < 13
    assert any("This view holds head" in note for note in view.notes)
    with pytest.raises(InputError, match="larger max_mb"):
        _ = trace.show(layer=1, head=11, query=5, max_mb=0.001).blocks


@pytest.mark.slow
def test_a_llama_8b_shaped_trace_of_300_tokens_stays_within_its_budget():
    trace = random_trace(sites=3, heads=32, kv_heads=8, tokens=300, head_size=128)
    page = trace.show(layer=1, head=3, query=7).html
    assert len(page) <= 12e6
    assert "data-sites" in page


def test_the_page_is_packed_losslessly(demo_trace):
    block = demo_trace.show(layer=2, head=8, query="it").blocks[0]
    plain = zlib.decompress(pack(block.data, 4))
    start = 8 + int.from_bytes(plain[:8], "little")
    restored = plain[:start] + np.frombuffer(plain[start:], np.uint8).reshape(4, -1).T.tobytes()
    assert restored[: len(block.data)] == block.data


def test_hostile_strings_stay_text(demo):
    hostile = '</script><img src=x onerror=alert(1)> \u202e end <!-- "quoted" & done'
    view = attnscope.show(*demo, hostile)
    assert "<img" not in view.html
    assert view.html.count("</script") == 2 + len(view.blocks), "the state, the blocks, the app, and nothing else"
    state = re.search(r"data-attnscope-state>(.*?)</script>", view.html)
    assert state
    assert json.loads(state[1])["level"] == "head"
    frame = view._hosts["mimebundle"](attnscope.show(*demo, hostile, static=True))["text/html"]
    assert "<img" not in frame


def test_saving_is_whole_or_not_at_all(demo_trace, tmp_path):
    view = demo_trace.show(layer=2, head=8, query="it")
    with pytest.raises(OutputError, match="cannot write"):
        view.save(tmp_path / "missing" / "scope.html")
    with pytest.raises(InputError, match=r"\.html"):
        view.save(tmp_path / "scope.gif")
    assert list(tmp_path.iterdir()) == []
    assert view.save(tmp_path / "scope.html").read_text() == view.html


@pytest.mark.parametrize(("kind", "begins"), [("png", b"\x89PNG"), ("pdf", b"%PDF"), ("svg", b"<?xml")])
def test_figures(demo_trace, tmp_path, kind, begins):
    path = demo_trace.show(layer=2, head=8, query="it").save(tmp_path / f"scope.{kind}")
    data = path.read_bytes()
    assert data.startswith(begins)
    if kind == "svg":
        assert "52.7 %" in data.decode()


def test_a_view_opens_where_asked(demo_trace):
    state = demo_trace.show(head="L2H8", query="it").state
    assert (state.layer, state.head, state.query, state.key, state.why) == (2, 8, 7, 8, "")
    with pytest.raises(InputError, match="0 to 5"):
        demo_trace.show(layer=6)
    with pytest.raises(InputError, match="0 to 11"):
        demo_trace.show(layer=2, head=12)
    with pytest.raises(InputError, match="not among the tokens"):
        demo_trace.show(layer=2, head=8, query="zeppelin")
    with pytest.raises(InputError, match="level"):
        demo_trace.show(level="galaxy")


def test_words_say_what_the_site_computes(demo_trace):
    view = demo_trace.show(layer=2, head=8, query="it")
    top = strongest(view, 3)
    weights = demo_trace.site(2).weights(8, 7)[0]
    assert top[0].token == "flies"
    assert top[0].weight == f"{100 * float(weights.max()):.1f} %"
    assert percent(-0.0) == "0 %"
    assert [percent(x) for x in (0.0, 0.0004, 0.5, float("nan"))] == ["0 %", "<0.1 %", "50.0 %", "NaN"]
    assert number(-1.5) == "−1.50"
    assert number(float("-inf")) == "masked"


def test_a_payload_names_the_version_that_made_it_installed_or_not(demo_trace, monkeypatch):
    from importlib.metadata import PackageNotFoundError, version

    def none_of_ours(package):
        if package == "attnscope":
            raise PackageNotFoundError(package)
        return version(package)

    monkeypatch.setattr("attnscope.payload.codec.version", none_of_ours)
    found = read(demo_trace.show(layer=2, head=8).blocks[0].data)[0]["versions"]
    assert found == {
        "attnscope": attnscope.__version__,
        "torch": version("torch").split("+")[0],
        "transformers": version("transformers"),
    }


def test_at_looks_elsewhere_and_leaves_the_view_alone(demo_trace):
    view = demo_trace.show(layer=2, query="it")
    before = view.state
    there = view.at(head="L3H5", query="lower", key=None, level="grid")
    assert (there.state.layer, there.state.head, there.state.key, there.state.level) == (3, 5, None, "matrix")
    assert there.trace.tokens[there.state.query] == "lower"
    assert there.state.why == ""
    assert view.state == before
    assert view.at(theme="dark").state.why == before.why != ""
    with pytest.raises(InputError, match="0 to 5"):
        view.at(layer=6)
    with pytest.raises(InputError, match="0 to 11"):
        view.at(head=12)
    with pytest.raises(InputError, match="no argument 'heds'"):
        view.at(heds=[1])
    with pytest.raises(InputError, match="shows two"):
        view.at(side="b")


def test_at_counts_the_tokens_of_its_side(texts):
    view = texts.show("neuron")
    for side, tokens in (("a", texts.a.tokens), ("b", texts.b.tokens)):
        assert (
            tokens[view.at(side=side, query="flies", key="higher" if side == "a" else "lower").state.query] == "flies"
        )
    merged = view.at(query="flies").state.query
    assert texts.alignment.merged[merged] == "flies"
