"""The report, its figure and the pages of its examples: what they say is what the table holds."""

import html
import re
from dataclasses import replace

import pytest

import attnscope
from attnscope.errors import InputError
from attnscope.head_roles.examples import MISSED


@pytest.fixture(scope="module")
def page(table, tmp_path_factory):
    return table.save(tmp_path_factory.mktemp("report") / "roles.html").read_text()


def row_of(table, relation, direction="dependent to head"):
    return next(row for row in table if (row.relation, row.direction) == (relation, direction))


@pytest.mark.slow
def test_an_example_is_what_the_head_did(demo, table):
    """The sentence traced anew: the query's largest weight, words put together, lies where the example says."""
    row = row_of(table, "obj")
    assert row.claimed
    assert [one.kind for one in row.examples][-1] == MISSED or row.accuracy == 1
    for one in row.examples:
        model, tokenizer = demo
        trace = attnscope.trace(model, tokenizer, one.text)
        weights = trace.site(row.layer).weights(row.head)
        spoken = [text for text, place in one.pieces if place == one.query][0].lower()
        assert trace.tokens.shown[one.query_token].startswith(spoken[:3])
        around = weights[one.query_token].clone()
        around[[0, one.query_token, len(trace.tokens) - 1]] = 0  # special tokens and the word itself do not count
        assert int(around.argmax()) == one.key_token
        assert float(around.max()) == pytest.approx(one.weight, abs=1e-4)
        assert (one.top in one.right) == (one.kind != MISSED)


@pytest.mark.slow
def test_the_page_says_the_numbers_of_the_table(table, page):
    assert re.findall(r'data-claim="([^"]*)"', page) == [row.name for row in table.claimed]
    drawn = [float(value) for value in re.findall(r'data-value="([^"]*)"', page)]
    shares = [row.weight if row.task.by_weight else row.accuracy for row in (*table.claimed, *table)]
    assert drawn == pytest.approx([share for share in shares if share is not None], abs=1e-5)
    for row in table.claimed:
        for one in row.examples:
            (query,) = {text for text, place in one.pieces if place == one.query}
            assert f'<span class="query">{html.escape(query)}</span>' in page
    assert page.count('<span class="right">') > 1  # one more than the explanation: a miss shows what was right


@pytest.mark.slow
@pytest.mark.browser
@pytest.mark.parametrize("width", [1280, 700, 390])
def test_the_page_fits_and_sorts(table, page, tmp_path, browser, width):
    context = browser.new_context(viewport={"width": width, "height": 900})
    one = context.new_page()
    troubles = []
    one.on("console", lambda message: troubles.append(message.text) if message.type == "error" else None)
    (tmp_path / "roles.html").write_text(page)
    one.goto((tmp_path / "roles.html").as_uri())
    assert one.evaluate("document.documentElement.scrollWidth") <= width
    if width > 860:
        one.click("th.share button")
    else:
        one.select_option("select", label="right")
    shares = one.eval_on_selector_all("tbody tr", "rows => rows.map(row => row.cells[3].dataset.sort)")
    known = [float(share) for share in shares if share]
    assert len(shares) == len(table)
    assert known == sorted(known, reverse=True)
    assert not any(shares[len(known) :])  # rows without a number stand last
    context.close()
    assert not troubles


@pytest.mark.slow
@pytest.mark.browser
def test_a_click_leads_into_the_instrument(table, tmp_path, browser):
    path = table.save(tmp_path / "my roles.html", examples=True)
    row = row_of(table, "obj")
    context = browser.new_context()
    one = context.new_page()
    one.goto(path.as_uri())
    one.click(f'[data-claim="{row.name}"]#{row.name}-obj-dependent-to-head a.open >> nth=0')
    one.wait_for_selector("[data-attnscope][data-ready]")
    crumb = "() => [...document.querySelector('[data-attnscope]').shadowRoot.querySelectorAll('[data-crumb]')].map(e => e.value)"
    layer, head = one.evaluate(crumb)[1:3]
    assert (layer, head) == (str(row.layer), str(row.head))
    context.close()


def test_words_are_text_and_never_markup(table, tmp_path):
    row = row_of(table, "obj")
    one = replace(row.examples[0], pieces=(("<img src=x>", row.examples[0].query), ("</script>", row.examples[0].top)))
    evil = attnscope.RoleTable((replace(row, examples=(one,), baseline_word="<b>"),), model="<i>")
    page = evil.save(tmp_path / "evil.html").read_text()
    assert "<img" not in page
    assert "&lt;img src=x&gt;" in page
    assert "<i>" not in page
    assert "<b>" not in page.split("<table>")[1]
    assert page.count("</script>") == 1


@pytest.mark.parametrize("kind", ["svg", "pdf", "png"])
def test_the_figure(table, tmp_path, kind):
    path = table.save(tmp_path / f"roles.{kind}")
    assert path.read_bytes() == table.save(tmp_path / f"again.{kind}").read_bytes()
    if kind != "svg":
        return
    text = path.read_text()
    for row in table.claimed:
        assert f'id="share {row.name}"' in text
    assert text.count('id="offset ') == sum(row.baseline_accuracy is not None for row in table.claimed)
    assert f"{len(table.claimed)} roles that the evidence carries" in text


def test_what_cannot_be_saved(table, tmp_path):
    again = attnscope.RoleTable.load(table.save(tmp_path / "roles.json"))
    with pytest.raises(InputError, match="needs the model"):
        again.save(tmp_path / "roles.html", examples=True)
    with pytest.raises(InputError, match="nothing to draw"):
        attnscope.RoleTable(()).save(tmp_path / "roles.svg")
    with pytest.raises(InputError, match="ends in"):
        table.save(tmp_path / "roles.txt")
