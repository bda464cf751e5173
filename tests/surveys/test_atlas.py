"""The pages of an atlas against the tables that they are made of, and in a browser, from disk."""

import json
import re

import pyarrow.parquet as pq
import pytest

import attnscope
from attnscope.errors import UnreadableFile
from attnscope.head_roles.cases import TO_HEAD
from attnscope.head_roles.relations import relation_task
from attnscope.head_roles.rows import RoleRow
from attnscope.surveys.atlas import example_name, write
from attnscope.surveys.atlas.index_page import index_page
from attnscope.surveys.atlas.read import read_tables
from made_survey import WORDS, made_survey

ROLE = RoleRow(1, 2, relation_task("obj", TO_HEAD), 0.75, 0.7, 0.8, 100, 1, 0.1, p_adjusted=0.001, weight=0.5)


@pytest.fixture
def out(tmp_path):
    made = made_survey(tmp_path / "survey", 3, 4)
    (made / "examples").mkdir()
    document = pq.read_table(made / "tables" / "examples.parquet")["document"][0].as_py()
    (made / "examples" / example_name(document)).write_text("a page")
    write(made, attnscope.RoleTable((ROLE,)))
    return made


def test_a_page_a_head_with_its_numbers(out):
    heads = pq.read_table(out / "tables" / "heads.parquet").to_pylist()
    assert len(list((out / "heads").glob("*.html"))) == len(heads) == 12
    for row in heads:
        page = (out / "heads" / f"L{row['layer']}H{row['head']}.html").read_text()
        drawn = dict(re.findall(r'data-stat="([^"]*)" data-value="([^"]*)"', page))
        for name, value in row.items():
            if name in drawn and value is not None:
                assert float(drawn[name]) == pytest.approx(value, rel=1e-5)
        assert page.count("data-weight=") == 14
        assert "<script" not in page
        assert ("obj ↑" in page) == ((row["layer"], row["head"]) == (1, 2))
    first = (out / "heads" / "L0H0.html").read_text()
    assert re.search(
        r'href="\.\./examples/[0-9a-f]{16}\.html#level=head&amp;layer=0&amp;head=0&amp;query=\d+&amp;key=\d+"', first
    )


def test_tokens_are_text_and_left_out_texts_are_nowhere(tmp_path):
    evil = "</script><img src=x onerror=alert(1)>"
    made = made_survey(tmp_path / "evil", 1, 2, evil=evil)
    write(made)
    assert "<img" not in (made / "heads" / "L0H1.html").read_text()
    assert "&lt;img" in (made / "heads" / "L0H1.html").read_text()
    bare = made_survey(tmp_path / "bare", 1, 2, texts=False)
    write(bare)
    page = (bare / "heads" / "L0H0.html").read_text()
    assert "not published" in page
    assert not any(f">{word}<" in page or f" {word} " in page for word in ("teacher", "river", "monday"))


def test_what_cannot_be_read(tmp_path):
    with pytest.raises(UnreadableFile, match="manifest"):
        write(tmp_path)
    made = made_survey(tmp_path / "half", 1, 2)
    (made / "tables" / "examples.parquet").write_bytes(b"PAR1")
    with pytest.raises(UnreadableFile, match=r"examples\.parquet"):
        write(made)


def test_the_layout_of_headvis(tmp_path):
    survey = attnscope.Survey(made_survey(tmp_path / "survey", 3, 5))
    data = survey.save_headvis(tmp_path / "headvis")
    assert data == tmp_path / "headvis" / "data"
    config, points = (json.loads((data / name).read_text()) for name in ("config.json", "scatter_data.json"))
    assert (config["model"], config["n_layers"], config["n_heads"]) == ("made-model", 3, 5)
    rows = survey.table().to_pylist()
    names = [one["name"] for one in config["metrics"]]
    assert [{n: p[n] for n in names} for p in points] == [{n: row[n] for n in names} for row in rows]
    assert {path.name for path in (data / "heads").iterdir()} == {f"{point['id']}.json" for point in points}
    head = json.loads((data / "heads" / "L2H4.json").read_text())
    shown = [row for row in survey.table("examples").to_pylist() if (row["layer"], row["head"]) == (2, 4)]
    assert sum(map(len, head["examples"].values())) == len(shown)
    one = head["examples"]["random"][0]
    assert one["tokens"][one["query_in_tokens"]] in WORDS
    counts = survey.to_frame("distributions").query("layer == 2 and head == 4 and statistic == 'entropy'")["count"]
    assert sum(one["count"] for one in head["distributions"]["entropy"]) == counts.sum()


@pytest.mark.browser
def test_twelve_thousand_heads_do_not_stall(tmp_path, browser):
    made = made_survey(tmp_path / "large", 100, 120, detail=False)
    (made / "index.html").write_text(index_page(read_tables(made), {}))
    context = browser.new_context()
    page = context.new_page()
    page.goto((made / "index.html").as_uri())
    page.wait_for_selector("html[data-drawn]")
    assert float(page.get_attribute("html", "data-drawn")) < 5000  # ms; benchmarks/atlas.py has the figure
    assert page.locator(".row").count() < 60
    page.evaluate("document.querySelector('.rows').scrollTop = 1e9")
    page.wait_for_function(
        "[...document.querySelectorAll('.row')].length && document.querySelector('.rows').scrollTop > 300000"
    )
    assert page.locator(".row").count() < 60
    context.close()


@pytest.mark.browser
@pytest.mark.parametrize("width", [1280, 390])
def test_the_index_sorts_finds_and_walks(out, browser, width):
    context = browser.new_context(viewport={"width": width, "height": 900})
    page, troubles = context.new_page(), []
    page.on("console", lambda message: troubles.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: troubles.append(str(error)))
    page.goto((out / "index.html").as_uri())
    page.wait_for_selector("html[data-drawn]")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.select_option("[data-axis=x]", "entropy")
    page.click("[data-sort=x]")
    rows = pq.read_table(out / "tables" / "heads.parquet").to_pylist()
    expected = [f"L{r['layer']}H{r['head']}" for r in sorted(rows, key=lambda r: -r["entropy"])]
    assert page.eval_on_selector_all(".row", "rows => rows.map(row => row.dataset.head)") == expected
    page.click("[data-sort=role]")
    assert page.get_attribute(".row >> nth=0", "data-head") == "L1H2"
    page.fill("input", "obj")
    assert page.locator(".row").count() == 1
    page.focus(".rows")
    page.keyboard.press("Enter")
    page.wait_for_url("**/L1H2.html")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    context.close()
    assert not troubles
