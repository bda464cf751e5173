"""Figures for paper: numbers read back from what was drawn, files read back as files."""

import io
import json
import re
import warnings
import xml.etree.ElementTree as ElementTree
import zlib
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib import pyplot
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection, PathCollection, PolyCollection
from matplotlib.figure import Figure
from PIL import Image
from rich.console import Console

import attnscope
import tiny_models
from attnscope import Trace
from attnscope.errors import InputError, NotCaptured, OutputError
from attnscope.head_roles.cases import TO_HEAD
from attnscope.head_roles.relations import relation_task
from attnscope.head_roles.rows import RoleRow
from attnscope.head_roles.table import RoleTable
from attnscope.render.figures import colours, figure
from attnscope.render.figures.head import HAIR, THICK, opacity
from attnscope.render.page.html import plain_table
from attnscope.render.terminal import draw
from attnscope.statistics.definitions import NAMING, plain_name
from attnscope.statistics.thumbnails import thumbnails_of
from attnscope.text.format import number, percent, percent_in_words, significant
from attnscope.tracing.masks import rule_of
from attnscope.tracing.tokens import Tokens
from attnscope.tracing.trace import ModelInfo
from attnscope.views.as_python import python
from attnscope.views.levels import ALWAYS_THERE as LEVELS
from attnscope.views.sentences.columns import COLUMNS, NUMBERS, SHORT, TITLES
from attnscope.views.state import State
from attnscope.views.view import View
from made_traces import made_trace, with_everything

PLACE = {"layer": 2, "head": 8, "query": 7, "key": 8}


@pytest.fixture(scope="module")
def traces(demo_trace):
    """A demo model, a causal one, and one whose queries and keys are different tokens."""
    gpt2 = attnscope.trace(
        tiny_models.model("gpt2"), None, inputs=tiny_models.inputs("gpt2"), keep={"x", "projections"}
    )
    t5 = attnscope.trace(tiny_models.model("t5"), None, inputs=tiny_models.inputs("t5"))
    return {
        "demo": (demo_trace, PLACE),
        "gpt2": (gpt2, {"layer": 1, "head": 2, "query": 6, "key": 3}),
        "t5": (t5, {"layer": 1, "head": 2, "query": 5, "key": 11, "stack": "cross"}),
    }


def drawn(trace: Trace, level: str, width: float = 7.2, **options) -> Figure:
    return figure(trace, trace.show(level, **options).state, width)


def parts(made: Figure) -> dict:
    """The axes of a figure by label."""
    return {axes.get_label(): axes for axes in made.axes[0].child_axes}


def said(made: Figure) -> list[str]:
    return [text.get_text() for axes in (made.axes[0], *made.axes[0].child_axes) for text in axes.texts]


def polygons(axes, label: str = "bars") -> np.ndarray:
    """[n, 4, 2] corners of the bars in an axes."""
    (found,) = [c for c in axes.collections if isinstance(c, PolyCollection) and c.get_label() == label]
    return np.array([path.vertices[:4] for path in found.get_paths()])


def test_bars_of_the_neuron_level_are_the_vectors(demo_trace):
    site = demo_trace.site(2)
    axes = parts(drawn(demo_trace, "neuron", **PLACE))
    chain = site.chain(8, 7)
    for label, vectors in (
        ("q, k", torch.cat([chain.query, chain.key])),
        ("q × k", chain.query * chain.key),
        ("v", chain.value),
    ):
        bars = polygons(axes[label])
        row, height = bars[:, 0, 1], bars[:, 0, 1] - bars[:, 1, 1]
        end = colours.nice(float(vectors.abs().flatten().sort().values[int(np.ceil(0.98 * (vectors.numel() - 1)))]))
        expected = (vectors.numpy().clip(-end, end) / end * 0.46).reshape(-1)
        assert np.allclose(height, expected, atol=1e-6)
        assert np.array_equal(row, np.repeat(np.arange(len(vectors)), vectors.shape[1]))
    widths = [bar.get_width() for bar in axes["weight"].patches]
    assert np.allclose(widths, site.weights(8, 7)[0].numpy())
    assert axes["weight"].get_xlim() == (0, 1), "one scale at every level"


def test_numbers_of_the_neuron_level(demo_trace):
    texts = said(drawn(demo_trace, "neuron", **PLACE))
    chain, share = demo_trace.site(2).chain(8, 7), demo_trace.site(2).share(8, 7)
    for expected in [*map(number, chain.dot[0].tolist()), *map(percent, [*chain.weights[0].tolist(), *share.tolist()])]:
        assert expected in texts


def test_columns_stand_in_one_order_in_figure_terminal_and_table(demo_trace):
    """Those of the page are tested in the front end, against the same table."""
    view = demo_trace.show("neuron", **PLACE)
    made = drawn(demo_trace, "neuron", **PLACE)
    at = {text.get_text(): text.get_position()[0] for axes in made.axes for text in axes.texts}
    titles = [SHORT[one.name] for one in COLUMNS if one.name not in ("token", "score")]
    titles[titles.index("k")] = "q, k"
    assert sorted(titles, key=at.__getitem__) == titles
    headings = re.findall("<th>(.*?)</th>", plain_table(view))
    assert headings == [TITLES[name] for name in NUMBERS]
    console = Console(file=io.StringIO(), width=100)
    draw(view, console, ["neuron"])
    assert any(
        line.split() == " ".join(SHORT[name] for name in NUMBERS).split()
        for line in console.file.getvalue().splitlines()
    )


def test_cells_of_the_matrix_are_the_weights(traces):
    for trace, place in traces.values():
        site = trace.site(place["layer"], place.get("stack"))
        weights = site.weights(place["head"]).numpy()
        axes = parts(drawn(trace, "matrix", **place))
        image = axes["cells"].images[0].get_array()
        end = colours.nice_part(float(weights.max()))
        assert np.allclose(image.filled(0) * end, weights, atol=1e-6)
        allowed = (
            np.ones_like(weights, bool)
            if site.mask.is_empty
            else site.mask.allowed(torch.arange(site.queries), site.keys).numpy()
        )
        assert np.array_equal(np.ma.getmaskarray(image), ~allowed)
        hatched = [patch for patch in axes["cells"].patches if patch.get_label() == "masked"]
        assert len(hatched) == (0 if allowed.all() else 1)
        assert all(patch.get_hatch() for patch in hatched)
        assert "row sums" not in axes, "they are all 1"
        assert np.allclose([bar.get_height() for bar in axes["column sums"].patches], weights.sum(0), atol=1e-5)


def test_sums_of_rows_stand_where_they_are_not_one(demo_trace):
    weights = demo_trace.site(2).weights(8)[1:-1, 1:-1].numpy()  # [CLS] and [SEP] are hidden
    made = drawn(demo_trace, "matrix", **PLACE, special="hide")
    axes = parts(made)
    given = weights.sum(1)
    shown = np.where(np.abs(given - 1) < 0.005, 0, given)
    assert (shown > 0).any()
    assert np.allclose([bar.get_width() for bar in axes["row sums"].patches], shown, atol=1e-6)
    assert np.allclose([bar.get_height() for bar in axes["column sums"].patches], weights.sum(0), atol=1e-5)
    assert "row sum" in said(made)
    state = demo_trace.show("matrix", **PLACE, special="hide").state
    bare = figure(demo_trace, state, 7.2, sums=False)
    assert not {"row sums", "column sums"} & parts(bare).keys()


def test_axes_of_a_grid_have_titles(traces):
    for trace, place in traces.values():
        made = drawn(trace, "matrix", **place)
        texts = {text.get_text(): text for text in made.axes[0].texts}
        renderer = FigureCanvasAgg(made).get_renderer()
        corner = parts(made)["cells"].get_window_extent(renderer)
        for title in ("query ↓", "key →"):
            box = texts[title].get_window_extent(renderer)
            assert box.x1 <= corner.x0
            assert box.y0 >= corner.y1 - 1


@pytest.mark.parametrize("level", LEVELS)
def test_a_title_of_your_own_or_none(demo_trace, level, tmp_path):
    view = demo_trace.show(level, **PLACE)
    plain, own, none = (figure(demo_trace, view.state, 7.2, title=title) for title in (None, "My figure", ""))
    titles = [text.get_text() for text in plain.axes[0].texts if text.get_weight() == "bold" and text.get_size() == 8.5]
    assert titles
    assert "My figure" in said(own)
    assert not set(titles) & {*said(own), *said(none)}
    assert none.get_size_inches()[1] < own.get_size_inches()[1]


def test_title_and_sums_of_every_call(demo_trace, tmp_path):
    view = demo_trace.show("matrix", **PLACE)
    options = {"title": "Mine", "sums": False}
    for made in (view.plot(**options), demo_trace.plot("matrix", **PLACE, **options)):
        assert "Mine" in [text.get_text() for text in made.texts]
        assert "column sums" not in {axes.get_label() for axes in made.child_axes}
        pyplot.close(made.figure)
    assert b"Mine" in view.save(tmp_path / "own.svg", **options).read_bytes()
    assert view.figure("png", dpi=20, **options) != view.figure("png", dpi=20)
    for wrong in ({"title": 3}, {"sums": "no"}):
        with pytest.raises(InputError, match=next(iter(wrong))):
            figure(demo_trace, view.state, **wrong)
    with pytest.raises(InputError, match="title and sums are for figures"):
        view.save(tmp_path / "page.html", title="Mine")


def test_a_head_is_framed_only_if_you_chose_it(demo_trace):
    def framed(view: View) -> list[float]:
        axes = view.plot()
        thumbnails = next(one for one in axes.child_axes if one.get_label() == "thumbnails")
        widths = [patch.get_linewidth() for patch in thumbnails.patches]
        bold = [text.get_text() for text in axes.texts if text.get_weight() == "bold" and text.get_size() < 8]
        pyplot.close(axes.figure)
        assert bool(bold) == (max(widths) > 1)
        return [width for width in widths if width > 1]

    view = demo_trace.show("model")
    assert framed(view) == []
    assert framed(view.at(theme="dark", sort="entropy")) == []
    assert len(framed(view.at(head=3))) == len(framed(demo_trace.show("model", layer=2, head=8))) == 1


@pytest.mark.parametrize("level", ["head", "matrix", "neuron", "steps"])
def test_tokens_are_whole_in_a_column(demo, level):
    trace = attnscope.trace(*demo, "counterrevolution told its airworthiness.")
    words = ["counterrevolution", "airworthiness"]
    tokens = Tokens(
        ("[CLS]", words[0], "told", "its", words[1], ".", *trace.tokens.strings[6:]), special=trace.tokens.special
    )
    made = (
        attnscope.Trace.from_attentions(torch.rand(1, 1, 6, 6).softmax(-1), tokens.strings[:6])
        if level in ("head", "matrix")
        else replace(trace, tokens=tokens)
    )
    texts = said(drawn(made, level, 3.4, layer=0, head=0, query=4, key=1))
    for word in words:
        assert any(word in text for text in texts), texts


def test_scores_and_dot_keep_their_sign(demo_trace):
    chain = demo_trace.site(2).chain(8)
    for quantity, values in (("scores", chain.biased.numpy()), ("dot", chain.dot.numpy())):
        axes = parts(drawn(demo_trace, "matrix", **PLACE, quantity=quantity))["cells"]
        end = colours.nice(float(np.abs(values).max()))
        assert np.allclose(axes.images[0].get_array().filled(0) * end, values, rtol=1e-5, atol=1e-4)
        marks = np.concatenate([np.array(c.get_segments()) for c in axes.collections if c.get_label() == "minus"])
        marked = {(int(segment[0, 1]), round(float(segment[:, 0].mean()))) for segment in marks}
        assert marked == set(zip(*np.nonzero(values < 0), strict=True)), "sign survives grey by a mark"


def test_a_logarithmic_scale(demo_trace):
    weights = demo_trace.site(2).weights(8).double().numpy()
    made = drawn(demo_trace, "matrix", **PLACE, log=True)
    found = parts(made)["cells"].images[0].get_array().filled(0)
    assert np.allclose(1e-4 * 1e4**found, weights.clip(1e-4), rtol=1e-4)
    assert "100 %, logarithmic" in said(made)


def lines(axes, kind: str) -> list[PathCollection]:
    return [c for c in axes.collections if c.get_label().startswith(kind)]


def test_lines_of_the_head_level_are_the_weights(traces):
    for trace, place in traces.values():
        site = trace.site(place["layer"], place.get("stack"))
        made = parts(drawn(trace, "head", threshold=0.0, **place))
        row = place["query"] - site.query_offset
        weights = site.weights(place["head"]).double()
        (strong,) = lines(made["lines"], "strong")
        ends = [(path.vertices[0, 1], path.vertices[-1, 1]) for path in strong.get_paths()]
        found = dict(zip(ends, (np.array(strong.get_linewidths()) - HAIR) / THICK, strict=True))
        expected = {(float(row), float(k)): float(w) for k, w in enumerate(weights[row]) if w > 0}
        assert found == pytest.approx(expected, abs=1e-6)
        assert np.allclose(strong.get_alpha(), opacity(np.array(list(found.values()))), atol=1e-6)
        (faint,) = lines(made["lines"], "faint")
        assert len(faint.get_paths()) == int((weights >= 0.03).sum(1).sum() - (weights[row] >= 0.03).sum())
        assert np.allclose([bar.get_width() for bar in made["weight"].patches], weights[row], atol=1e-6)


def test_heads_over_each_other(demo_trace):
    made = drawn(demo_trace, "head", **PLACE, heads=[0, 3, 8])
    strong = lines(parts(made)["lines"], "strong")
    assert [c.get_label()[-1] for c in strong] == ["8", "0", "3"], "each head once, the head of the state first"
    assert len({tuple(c.get_edgecolor()[0][:3]) for c in strong}) == 3
    assert len({str(c.get_linestyle()[0]) for c in strong}) == 3
    assert {"head 8", "head 0", "head 3"} <= set(said(made))
    narrow = said(drawn(demo_trace, "head", 3.4, **PLACE, heads=[0, 3]))
    assert any("numbers are of heads 8, 0" in text for text in narrow)
    with pytest.raises(InputError, match="up to 12"):
        drawn(
            attnscope.Trace(made_trace(heads=17, kv_heads=17).sites, made_trace().tokens),
            "head",
            layer=0,
            head=0,
            query=1,
            heads=range(17),
        )


def test_the_mass_that_is_not_drawn_is_printed(demo_trace):
    weights = demo_trace.site(2).weights(8, 7)[0]
    threshold = 0.05
    text = " ".join(said(drawn(demo_trace, "head", **PLACE, threshold=threshold)))
    assert f"{percent_in_words(float(weights[weights < threshold].sum()))} of the chosen row" in text
    for level in ("head", "neuron"):
        text = " ".join(said(drawn(demo_trace, level, **PLACE, special="hide")))
        assert f"{percent_in_words(float(weights[0]))} of this row goes to [CLS]" in text
        assert "[SEP]" not in said(drawn(demo_trace, level, **PLACE, special="hide"))


def test_several_queries(demo_trace):
    weights = demo_trace.site(2).weights(8, [7, 3, 4])
    for combine, expected in (("mean", weights.mean(0)), ("sum", weights.sum(0))):
        axes = parts(drawn(demo_trace, "head", **PLACE, queries=[3, 4], combine=combine))
        assert np.allclose([bar.get_width() for bar in axes["weight"].patches], expected, atol=1e-6)
        assert axes["weight"].get_xlim()[1] >= float(expected.max())


def test_means_over_heads_and_layers(demo_trace):
    sites = demo_trace.sites
    for average, expected in (
        ("heads", sites[2].weights().mean(0)),
        ("layers", torch.stack([site.weights(8) for site in sites]).mean(0)),
        ("all", torch.stack([site.weights() for site in sites]).mean((0, 1))),
    ):
        made = drawn(demo_trace, "matrix", **PLACE, average=average)
        image = parts(made)["cells"].images[0].get_array().filled(0)
        assert np.allclose(image * colours.nice_part(float(expected.max())), expected, atol=1e-6)
        assert any("mean over" in text for text in said(made))


def test_words_are_summed_into_and_averaged_out_of(demo_trace):
    weights = demo_trace.site(2).weights(8).double().numpy()
    tokens = demo_trace.tokens
    first = tokens.find("airs")
    assert tokens.words[first] == tokens.words[first + 1]
    merged = np.add.reduceat(weights, [i for i in range(len(tokens)) if i != first + 1], axis=1)
    merged = np.vstack([merged[:first], merged[first : first + 2].mean(0), merged[first + 2 :]])
    made = drawn(demo_trace, "matrix", **PLACE, words=True)
    image = parts(made)["cells"].images[0].get_array().filled(0)
    assert np.allclose(image * colours.nice_part(float(merged.max())), merged, atol=1e-6)
    assert "airspeed" in said(made)
    assert any("summed into it as keys" in text for text in said(made))


def test_the_filter_of_a_pair(demo):
    trace = attnscope.trace(*demo, "The cat sat on the mat.", text_pair="A dog ran in.")
    segments = np.array(trace.tokens.segments)
    made = drawn(trace, "matrix", layer=3, head=1, query=2, filter="ab")
    weights = trace.site(3).weights(1).numpy()[segments == 0][:, segments == 1]
    image = parts(made)["cells"].images[0].get_array().filled(0)
    assert np.allclose(image * colours.nice_part(float(weights.max())), weights, atol=1e-6)
    with pytest.raises(InputError, match="query 2"):
        drawn(trace, "head", layer=3, head=1, query=2, filter="ba")


def test_thumbnails_of_the_model_level(traces):
    for trace, place in traces.values():
        made = parts(drawn(trace, "model", **place))["thumbnails"]
        thumbs = thumbnails_of(trace)
        images = {image.get_label(): image for image in made.images}
        assert len(images) == sum(site.heads for site in trace.sites)
        end = colours.nice_part(max(float(one.weights.nan_to_num(0).max()) for one in thumbs))
        for i, one in enumerate(thumbs):
            for head in range(trace.sites[i].heads):
                shown = images[f"{i}.{head}"].get_array()
                assert np.allclose(shown.filled(np.nan) * end, one.weights[head], equal_nan=True, atol=1e-6)


def test_heads_have_plain_names_where_there_is_room(demo_trace):
    made = drawn(demo_trace, "model", **PLACE)
    words = " ".join(said(made))
    names = {
        plain_name({k: v[h] for k, v in one.statistics.items()}) for one in thumbnails_of(demo_trace) for h in range(12)
    }
    for name in names - {""}:
        assert all(part in said(made) or name in said(made) for part in name.split(" ", 1)), name
    assert NAMING.split(":")[0] in words
    assert not {"previous", "previous token"} & set(said(drawn(demo_trace, "model", 3.4, **PLACE)))


def test_roles_stand_on_their_heads(demo_trace):
    rows = [
        RoleRow(2, head, relation_task(name, TO_HEAD), 0.75, 0.7, 0.8, 100, 1, 0.1, p_adjusted=0.001, weight=0.5)
        for head, name in ((0, "obj"), (0, "a-very-long-relation"), (8, "nsubj"))
    ]
    view = demo_trace.show("model", layer=2, head=0, roles=RoleTable(tuple(rows)))
    made = drawn(view.trace, "model", **PLACE)
    assert [words for words in said(made) if "↑" in words and len(words) < 20] == ["obj ↑ +1", "nsubj ↑"]
    assert "L2H0 obj ↑ 75.0 %; L2H0 a-very-long-relation ↑ 75.0 %; L2H8 nsubj ↑ 75.0 %." in " ".join(said(made))
    assert said(drawn(view.trace, "model", 3.4, **PLACE)).count("●") == 2
    ordered = parts(drawn(view.trace, "model", **PLACE, sort="role"))["thumbnails"].images
    first = min(ordered, key=lambda image: (round(image.get_extent()[3], 4), image.get_extent()[0]))
    assert first.get_label() == "2.0"


def test_heads_sorted_by_a_statistic(demo_trace):
    made = drawn(demo_trace, "model", **PLACE, sort="previous")
    images = parts(made)["thumbnails"].images
    places = {image.get_label(): (round(image.get_extent()[3], 4), image.get_extent()[0]) for image in images}
    order = sorted(places, key=places.__getitem__)
    weights = torch.stack([site.weights() for site in demo_trace.sites])
    previous = weights.diagonal(-1, dim1=-2, dim2=-1).mean(-1).flatten().argsort(descending=True).tolist()
    assert order == [f"{i // 12}.{i % 12}" for i in previous]
    assert percent(float(weights.diagonal(-1, dim1=-2, dim2=-1).mean(-1).max())) in said(made)
    fan = parts(drawn(demo_trace, "model", **PLACE, thumbs="lines"))["thumbnails"]
    assert sum(isinstance(c, LineCollection) for c in fan.collections) == 72
    with pytest.raises(InputError, match="statistic"):
        drawn(demo_trace, "model", **PLACE, sort="sink")
    with pytest.raises(InputError, match="width="):
        drawn(made_trace(heads=61, kv_heads=61, layers=1), "model", 3.4, layer=0, head=0, query=1)


def test_steps_write_the_arithmetic_out(demo):
    trace = attnscope.trace(*demo, "The cat sat on the mat.", keep={"x", "pre_rotary", "projections"})
    site, chain = trace.site(3), trace.site(3).chain(5, 4)
    made = drawn(trace, "steps", layer=3, head=5, query=4, key=2, dim=10)
    axes, texts = parts(made), said(made)
    product = chain.query[0] * chain.key[2]
    score = chain.masked[0].double()
    for expected in (
        significant(float(chain.dot[0, 2])),
        significant(float(chain.scaled[0, 2])),
        percent(float(chain.weights[0, 2])),
        significant(float(product[:11].sum())),
        f"= Σ weight · v (share of the output {percent(float(site.share(5, 4)[2]))})",
        f"= {float((score[2] - score.max()).exp()):.4g} / {float((score - score.max()).exp().sum()):.4g}",
    ):
        assert expected in texts
    for label, vector in (
        ("x", site.x[4]),
        ("q", chain.query[0]),
        ("k", chain.key[2]),
        ("q × k", product),
        ("v", chain.value[2]),
        ("z", chain.output[0]),
        ("z · W_O", site.write(5, 4)[0]),
    ):
        bars = polygons(axes[label])
        end = colours.nice(float(vector.abs().sort().values[int(np.ceil(0.98 * (len(vector) - 1)))]))
        assert np.allclose(
            bars[:, 0, 1] - bars[:, 1, 1], vector.float().numpy().clip(-end, end) / end * 0.46, atol=1e-5
        ), label


@pytest.mark.parametrize("size", [0.03, 1.0, 30.0])
@pytest.mark.parametrize("width", [3.4, 7.2])
def test_the_arithmetic_of_steps_comes_true(size, width):
    """Read back from the picture and computed again, whether numbers are tiny or large."""
    torch.manual_seed(11)
    q, k, v = (torch.randn(3, 7, 5) * s for s in (size, size, 1.0))
    trace = attnscope.Trace.from_qkv(q, k, v)
    site = trace.site(0)
    key = int(site.weights(2, 4)[0].argsort()[-2])
    texts = said(drawn(trace, "steps", width, layer=0, head=2, query=4, key=key))
    numbers = lambda text: [float(n) for n in re.findall(r"-?\d[\d.e+-]*", text.replace("− ", "-").replace("−", "-"))]  # noqa: E731
    line = next(text for text in texts if text.startswith("= exp("))
    inside = re.match(r"= exp\((.*?)\)", line)[1].replace("−", "-")
    over, under = numbers(next(text for text in texts if re.match(r"= [\d.e-]+ / ", text)))
    assert eval(f"np.exp({inside})", {"np": np}) == pytest.approx(over, rel=1.1e-3 if over < 1e-3 else 1e-4)
    assert over / under == pytest.approx(float(site.weights(2, 4)[0, key]), rel=2e-4)
    scaling = next(text for text in texts if " × 0." in text)
    dot, by = numbers(scaling)[:2]
    near = {"rel": 1e-3, "abs": 6e-7}  # four digits, and six decimals at most
    assert dot == pytest.approx(float(q[2, 4] @ k[2, key]), **near)
    scaled = float(site.chain(2, 4).scaled[0, key])
    shown = texts[texts.index(scaling) + 1].replace("−", "-")
    assert float(shown) == pytest.approx(scaled, **near)
    assert float(shown) == pytest.approx(dot * by, rel=1e-3, abs=1e-6)


def test_steps_of_everything_at_once():
    trace = with_everything()
    texts = said(drawn(trace, "steps", layer=1, head=4, query=7, key=5))
    for symbol in ("scaling", "softcap", "position bias", "mask", "softmax"):
        assert symbol in texts
    assert "query head 4 reads key/value head 1 of 2" in texts
    assert any("8 of 13 keys are masked" in text for text in texts)
    assert any("the sink among them" in text for text in texts)
    masked = said(drawn(trace, "steps", layer=1, head=4, query=7, key=12))
    assert any("this key is masked" in text for text in masked)
    assert masked[next(i for i, text in enumerate(masked) if text.startswith("= 0 / ")) + 1] == "masked"


@pytest.mark.parametrize("width", [7.2, 3.4])
@pytest.mark.parametrize("level", LEVELS)
def test_nothing_overlaps_or_leaves_the_paper(traces, level, width):
    for trace, place in [*traces.values(), (with_everything(), {"layer": 1, "head": 4, "query": 7, "key": 5})]:
        made = drawn(trace, level, width, **place)
        made.set_dpi(200)
        canvas = made.canvas.get_renderer() if hasattr(made.canvas, "get_renderer") else made._get_renderer()
        texts = [text for text in made.axes[0].texts if text.get_text()]
        boxes = [(text.get_text(), text.get_window_extent(canvas)) for text in texts]
        left, low, right, high = np.array([box.extents for _, box in boxes]).T
        assert left.min() >= -1
        assert low.min() >= -1
        assert right.max() <= made.bbox.width + 1
        across = np.minimum(right, right[:, None]) - np.maximum(left, left[:, None])
        along = np.minimum(high, high[:, None]) - np.maximum(low, low[:, None])
        both = np.argwhere(np.triu((across >= 2) & (along >= 6), 1))
        assert [(boxes[i][0], boxes[j][0]) for i, j in both] == []
        if level == "steps":
            strips = [axes.get_window_extent(canvas) for axes in made.axes[0].child_axes]
            for name, box in boxes:
                assert not any(
                    min(box.x1, s.x1) - max(box.x0, s.x0) > 2 and min(box.y1, s.y1) - max(box.y0, s.y0) > 4
                    for s in strips
                ), name


@pytest.mark.parametrize("kind", ["png", "svg", "pdf"])
@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("name", ["demo", "gpt2", "t5"])
def test_every_level_as_every_file(traces, tmp_path, name, level, kind):
    trace, place = traces[name]
    view = trace.show(level, **place)
    path = view.save(tmp_path / f"figure.{kind}", width=5, **({"dpi": 90} if kind == "png" else {}))
    told = metadata(path)
    site = trace.site(place["layer"], place.get("stack"))
    assert {key: told[key] for key in ("level", "layer", "head", "query", "key", "stack")} == {
        "stack": site.stack,
        "level": level,
        **place,
    }
    assert (told["model"], told["class"], told["dtype"], told["revision"]) == (
        trace.model.name,
        trace.model.class_name,
        "float32",
        trace.model.revision,
    )
    assert told["tokens"][0] == list(trace.tokens)
    assert told["receipt"]["status"] == "exact"
    assert told["versions"]["torch"] == torch.__version__
    assert told["code"] == view.code
    assert State.from_url(told["state"]) == replace(view.state, why="")
    assert (
        view.save(tmp_path / f"again.{kind}", width=5, **({"dpi": 90} if kind == "png" else {})).read_bytes()
        == path.read_bytes()
    )
    if kind == "pdf":
        data = path.read_bytes()
        assert b"/FontFile2" in data
        assert b"/Type3" not in data
        box = re.search(rb"/MediaBox \[ ?0 0 ([\d.]+)", data)
        assert box
        assert float(box[1]) == pytest.approx(5 * 72)
    if kind == "png":
        assert Image.open(path).width == 450


def metadata(path: Path) -> dict:
    """The JSON that a figure carries."""
    data = path.read_bytes()
    if path.suffix == ".png":
        return json.loads(Image.open(path).text["attnscope"])
    if path.suffix == ".svg":
        (words,) = ElementTree.fromstring(data).iter("{http://purl.org/dc/elements/1.1/}description")
        return json.loads(words.text)
    found = re.search(rb"/Subject \((.*?)(?<!\\)\)\s*(?:/|>>)", data, re.DOTALL)
    assert found
    return json.loads(re.sub(rb"\\([()\\])", rb"\1", found[1]))


def test_the_text_is_in_the_metadata(demo_trace, tmp_path):
    for kind in ("png", "svg", "pdf"):
        told = metadata(demo_trace.show(**PLACE).save(tmp_path / f"a.{kind}"))
        assert told["text"].startswith("As the aircraft")
        assert told["source"]["model"] == "demo"


def test_letters_of_an_svg(demo_trace):
    view = demo_trace.show("head", **PLACE)
    letters, outlines = view.figure("svg").decode(), view.figure("svg", text="outlines").decode()
    assert ">aircraft</text>" in letters
    assert "52.7 %" in letters
    assert "<text" not in outlines
    assert "<text" in letters
    assert "Date" not in re.sub(r"aircraft", "", letters)
    with pytest.raises(InputError, match="outlines"):
        view.figure("pdf", text="outlines")


def test_tokens_stay_text(demo):
    hostile = "a </text><script>alert(1)</script> $x_1$ \\frac{1}{2} & <b>"
    view = attnscope.show(*demo, hostile, layer=0, head=0, query=1)
    for level in LEVELS:
        data = view.at(level=level).figure("svg").decode()
        assert "<script" not in data
        ElementTree.fromstring(data)


def test_grey_paper_keeps_the_order_of_weights(demo_trace):
    """The cells of a rendered matrix, read back as grey, are ordered as the weights are; sign survives by direction."""
    made = drawn(demo_trace, "matrix", **PLACE)
    axes = parts(made)["cells"]
    grey, box = rendered(made, axes)
    weights = demo_trace.site(2).weights(8).numpy()
    rows, columns = weights.shape
    ys = (box[1] + (np.arange(rows) + 0.5) * (box[3] - box[1]) / rows).astype(int)
    xs = (box[0] + (np.arange(columns) + 0.5) * (box[2] - box[0]) / columns).astype(int)
    shade = grey[np.ix_(ys, xs)].astype(int)
    order = np.argsort(weights, axis=None)
    assert np.all(np.diff(shade.flatten()[order]) <= 1), "darker is more, to one step of 255"
    assert shade.min() < 60
    assert shade.max() > 225
    lightness = np.diff(colours.weight_ramp()(np.linspace(0, 1, 129))[:, :3] @ [0.2126, 0.7152, 0.0722])
    assert np.all(lightness < 0), "strictly monotone"

    made = drawn(demo_trace, "steps", **PLACE)
    strip = parts(made)["q"]
    grey, box = rendered(made, strip)
    q = demo_trace.site(2).chain(8, 7).query[0]
    strong = (q.abs() > 0.3 * q.abs().max()).nonzero()[:, 0].tolist()
    middle = round((box[1] + box[3]) / 2)
    for d in strong:
        x = int(box[0] + (d + 0.5) * (box[2] - box[0]) / len(q))
        above = (grey[box[1] : middle - 2, x] < 200).sum()
        below = (grey[middle + 3 : box[3], x] < 200).sum()
        assert (above > below) == bool(q[d] > 0), d


def rendered(made: Figure, axes) -> tuple[np.ndarray, list[int]]:
    """The figure in grey at 200 dpi, and where the axes lie: left, top, right, bottom."""
    buffer = io.BytesIO()
    made.savefig(buffer, dpi=200, format="png")
    grey = np.array(Image.open(buffer).convert("L"))
    found = axes.get_window_extent().transformed(made.dpi_scale_trans.inverted())
    return grey, [
        round(v * 200) for v in (found.x0, made.get_figheight() - found.y1, found.x1, made.get_figheight() - found.y0)
    ]


def test_the_ramp_of_signs_goes_from_blue_over_zero_to_orange():
    assert colours.sign_ramp()(0.5)[:3] == pytest.approx([0xEC / 255, 0xEB / 255, 0xE7 / 255], abs=0.005)
    assert colours.sign_ramp()(0.0)[:3] == pytest.approx([0x1D / 255, 0x5F / 255, 0xB4 / 255], abs=0.005)
    assert colours.sign_ramp()(1.0)[:3] == pytest.approx([0xC4 / 255, 0x50 / 255, 0x0D / 255], abs=0.005)


def test_missing_glyphs_are_named_by_token():
    tokens = Tokens(("cat", "猫😀犬", "dog", "קָט", "q̌"))
    trace = made_trace(queries=5, tokens=tokens)
    for level in ("head", "matrix", "neuron"):
        with pytest.warns(UserWarning, match=r"“猫😀犬” \(U\+732B U\+72AC\)") as caught:
            trace.show(level, layer=0, head=0, query=1).figure("png", dpi=60)
        assert len(caught) == 1, "one warning, and none of matplotlib's own"
        assert "“cat”" not in str(caught[0].message)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        made_trace(queries=5).show("head", layer=0, head=0, query=1).figure("png", dpi=60)


def test_axes_of_ones_own(demo_trace):
    made, both = pyplot.subplots(1, 2, figsize=(14, 6))
    try:
        for ax, level in zip(both, ("head", "matrix"), strict=True):
            assert demo_trace.plot(level, ax, **PLACE) is ax
            assert ax.child_axes
        assert both[0].child_axes[0] not in both[1].child_axes
        found = {axes.get_label(): axes for axes in both[1].child_axes}
        weights = demo_trace.site(2).weights(8).numpy()
        assert np.allclose(found["cells"].images[0].get_array().filled(0), weights, atol=1e-6)
        for level in LEVELS:  # written smaller, or with smaller cells
            default = Figure().add_subplot()
            demo_trace.plot(level, default, **PLACE)
            assert max(text.get_window_extent().y1 for text in default.texts) <= default.get_window_extent().y1 + 1
            assert min(text.get_window_extent().y0 for text in default.texts) >= default.get_window_extent().y0 - 1
        small = pyplot.figure(figsize=(2, 1)).add_subplot()
        with pytest.raises(InputError, match="too small"):
            demo_trace.plot("neuron", ax=small, **PLACE)
        assert len(pyplot.get_fignums()) == 2
        own = demo_trace.plot("neuron", width=6, **PLACE)
        assert own.get_figure().get_figwidth() == 6
        assert len(pyplot.get_fignums()) == 3
        with pytest.raises(InputError, match="expected a matplotlib Axes"):
            demo_trace.plot("neuron", ax=made, **PLACE)
    finally:
        pyplot.close("all")


def test_long_texts_state_their_limits():
    trace = made_trace(queries=211, layers=1)
    weights = trace.site(0).weights(1, 101)[0]
    strongest = sorted(weights.argsort(descending=True)[:40].tolist())
    made = drawn(trace, "neuron", layer=0, head=1, query=101, key=strongest[0])
    texts = said(made)
    assert [t for t in texts if t.startswith("word")][:40] == [f"word{k}" for k in strongest]
    assert any("40 strongest of 211 keys" in t for t in texts)
    rest = percent_in_words(1 - float(weights[strongest].sum()))
    made = drawn(trace, "head", layer=0, head=1, query=101, key=strongest[0])
    assert any("40 of 211 queries" in t for t in said(made))
    assert any(
        f"40 of 211 keys are drawn, the strongest of the chosen query in text order; the others have {rest}" in t
        for t in [" ".join(said(made))]
    )
    assert np.allclose([bar.get_width() for bar in parts(made)["weight"].patches], weights[strongest], atol=1e-6)
    assert any("token is named" in t for t in said(drawn(trace, "matrix", layer=0, head=1, query=101)))
    attention = torch.full((1, 2053, 2053), 1 / 2053)
    with pytest.raises(InputError, match="too fine for paper"):
        drawn(Trace.from_attentions(attention, [f"w{i}" for i in range(2053)]), "matrix", layer=0, head=0, query=1)


def test_weights_alone():
    attention = torch.rand(2, 3, 7, 7, generator=torch.Generator().manual_seed(3)).softmax(-1)
    trace = Trace.from_attentions(attention, [f"w{i}" for i in range(7)])
    place = {"layer": 1, "head": 2, "query": 3}
    for level in ("model", "head", "matrix", "neuron"):
        assert trace.show(level, **place).figure("svg").startswith(b"<?xml")
    with pytest.raises(NotCaptured, match="weights only"):
        trace.show("steps", **place).figure("svg")
    with pytest.raises(NotCaptured, match="weights only"):
        trace.show("matrix", quantity="scores", **place).figure("svg")
    static = trace.show("steps", static=True, **place)._repr_mimebundle_()
    assert "text/html" in static
    assert "image/png" not in static
    assert "image/png" in trace.show("head", static=True, **place)._repr_mimebundle_()


def test_nan_masked_and_zero_look_different():
    trace = made_trace(queries=7)
    q = trace.sites[0].q.clone()
    q[1, 3] = float("nan")
    allowed = torch.ones(1, 7, 7, dtype=torch.bool).tril()
    allowed[0, 5] = False
    site = replace(trace.sites[0], q=q, mask=rule_of(allowed), z=None, z_rows=None)
    trace = Trace((site,), trace.tokens)
    made = drawn(trace, "matrix", layer=0, head=1, query=6, key=2)
    hatches = {patch.get_label(): patch.get_hatch() for patch in parts(made)["cells"].patches}
    assert {"masked", "not a number"} <= set(hatches)
    assert hatches["masked"] != hatches["not a number"]
    assert any("No key allowed in 1 row." in text for text in said(made))
    for level in ("model", "head", "neuron"):
        for query in (3, 5):
            assert drawn(trace, level, layer=0, head=1, query=query, key=2)
    assert "NaN" in said(drawn(trace, "head", layer=0, head=1, query=3, key=2))
    assert any("no key at all" in text for text in said(drawn(trace, "head", layer=0, head=1, query=5, key=2)))
    assert drawn(trace, "steps", layer=0, head=1, query=5, key=2)


def test_what_cannot_be_drawn(demo_trace, tmp_path):
    view = demo_trace.show(**PLACE)
    for options, words in (
        ({"width": 1}, "from 2.4"),
        ({"width": float("nan")}, "expected inches"),
        ({"dpi": 0}, "pixels per inch"),
        ({"text": "curves"}, "outlines"),
    ):
        with pytest.raises(InputError, match=words):
            view.save(tmp_path / "a.svg", **options)
    with pytest.raises(InputError, match="a page has none"):
        view.save(tmp_path / "a.html", width=3)
    with pytest.raises(InputError, match="kind is 'gif'"):
        view.figure("gif")
    with pytest.raises(InputError, match="queries: query 99 is out of range"):
        view.at(queries=(99,)).figure("svg")
    with pytest.raises(OutputError, match="cannot write"):
        view.save(tmp_path / "missing" / "a.svg")
    assert list(tmp_path.iterdir()) == []


def test_an_address_gives_the_page_s_view(demo_trace):
    state = State("head", layer=2, head=8, query=7, heads=(3, 5), threshold=0.05, special="hide", words=True)
    view = View.from_url(f"file:///somewhere/scope.html#{state.fragment}", demo_trace)
    assert view.state == state
    assert view.figure("svg") == demo_trace.show(**PLACE).at(**state.__dict__).figure("svg")
    assert View.from_url("#layer=2&head=8&query=7&key=8&theme=dark", demo_trace).state.key == 8
    for fragment, words in (
        ("layer=2&head=8&query=7&zoom=3", "'zoom' in this address is no field of a view: it has level"),
        ("layer=9&head=8&query=7", "layer 9 is out of range"),
        ("layer=-1&head=8&query=7", "a whole number from 0"),
        ("layer=2&head=12&query=7", "head 12 is out of range: layer 2 goes from 0 to 11"),
        ("layer=2&head=8&query=24", "query 24 is out of range"),
        ("layer=2&head=8&query=7&key=24", "key 24"),
        ("layer=2&head=8&query=7&heads=3,12", "heads: head 12"),
        ("layer=2&head=8&query=7&dim=32", "dim 32"),
        ("layer=2&head=8&query=7&sort=beauty", "sort is 'beauty'"),
        ("layer=2&head=8&query=7&level=galaxy", "level 'galaxy'"),
        ("layer=two", "layer=two in this address: expected a whole number from 0"),
    ):
        with pytest.raises(InputError, match=re.escape(words)):
            View.from_url(f"#{fragment}", demo_trace)


def test_the_state_follows_the_widget(demo_trace):
    view = demo_trace.show(**PLACE)
    view.widget.set_trait("layer", 4)
    view.widget.set_trait("level", "matrix")
    view.widget.set_trait("heads", [1, 2])
    assert view.state == State("matrix", layer=4, head=8, query=7, key=8, heads=(1, 2))
    assert "layer=4" in view.code
    assert view.figure("svg") == demo_trace.show("matrix", **{**PLACE, "layer": 4}, heads=[1, 2]).figure("svg")
    first = re.search(r'data-attnscope-block data-stride="\d" data-sites="(\d)"', view.html)
    assert first
    assert first[1] == "4", "a saved page begins where the widget looks"


def test_code_makes_the_same_view(demo, monkeypatch):
    text = 'He said: "it\'s 5 € — naïve"\n\tand left.'
    views = [
        attnscope.show(*demo, text),
        attnscope.show(
            *demo,
            text,
            text_pair="So be it.",
            level="head",
            layer=1,
            head=3,
            query=4,
            heads=[5, 7],
            threshold=0.05,
            words=True,
        ),
        attnscope.show(
            *demo,
            text,
            level="matrix",
            layer=1,
            head=3,
            query=4,
            log=True,
            special="hide",
            average="heads",
            theme="dark",
        ),
        attnscope.show(*demo, text, layers=[2, 4], level="steps", layer=4, head=3, query=4, dim=9).at(key=None),
    ]
    for view in views:
        room: dict = {}
        exec(view.code, room)
        assert room["view"].state == replace(view.state, why="")
        assert list(room["view"].trace.tokens) == list(view.trace.tokens)
        assert torch.equal(room["view"].trace.sites[0].q, view.trace.sites[0].q)
        monkeypatch.setattr(attnscope, "load", lambda name: {"demo": demo}[name])  # once is enough


def test_code_is_what_the_page_writes():
    """The cases of frontend/tests/frame.test.ts."""
    source = {"model": "demo", "dtype": "float16", "text": "It's “it”.", "text_pair": "b", "layers": [0, 2]}
    state = State("matrix", layer=2, head=8, query=7, key=3, heads=(1, 4), log=True)
    some = ModelInfo("some/model", "SomeModel")
    assert python(source, some, state) == (
        'import attnscope\n\nmodel, tokenizer = attnscope.load("demo", dtype="float16")\nview = attnscope.show(\n    model,\n'
        '    tokenizer,\n    "It\'s “it”.",\n    text_pair="b",\n    layers=[0, 2],\n    level="matrix",\n    layer=2,\n    head=8,\n'
        "    query=7,\n    key=3,\n    heads=[1, 4],\n    log=True,\n)\nview\n"
    )
    code = python(None, ModelInfo("a\nmodel"), State())
    assert "# model, tokenizer: a model, as you loaded them\n# text: " in code
    assert "attnscope.show(model, tokenizer, text, layer=0, head=0, query=0)\n" in code
    assert "view = view.at(key=None)\n" in code
    assert "inputs=inputs" in python({"inputs": True}, some, State())
    assert 'messages=[{"role": "user", "content": "hi"}]' in python(
        {"messages": [{"role": "user", "content": "hi"}]}, some, State()
    )
    assert "view = trace.show(layer=0, " in python(None, ModelInfo("from_qkv"), State(key=1))


def test_equal_steps_of_lightness():
    """OKLab's L, by the published formulas, falls by equal steps from zero to ink."""
    rgb = colours.weight_ramp()(np.arange(129))[:, :3]
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    lms = np.cbrt(
        linear
        @ np.array(
            [
                [0.4122214708, 0.5363325363, 0.0514459929],
                [0.2119034982, 0.6806995451, 0.1073969566],
                [0.0883024619, 0.2817188376, 0.6299787005],
            ]
        ).T
    )
    lightness = lms @ [0.2104542553, 0.7936177850, -0.0040720468]
    assert np.allclose(np.diff(lightness), (lightness[-1] - lightness[0]) / 128, rtol=1e-3)
    assert all(a > b for a, b in pairwise(lightness))


def test_pdf_streams_hold_text(demo_trace):
    """What is written in a pdf is text in its fonts, not outlines."""
    data = demo_trace.show("head", **PLACE).figure("pdf")
    streams = [zlib.decompress(s) for s in re.findall(rb"stream\n(x.*?)\nendstream", data, re.DOTALL)]
    assert any(b" Tf" in stream and (b" Tj" in stream or b" TJ" in stream) for stream in streams)
