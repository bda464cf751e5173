"""A survey's atlas as a whole: heads' pages whose examples open in the instrument, with the roles of a table."""

import re

import pytest

import attnscope
from attnscope.errors import InputError
from attnscope.head_roles.cases import TO_HEAD
from attnscope.head_roles.relations import relation_task
from attnscope.head_roles.rows import RoleRow
from attnscope.surveys.atlas import example_name
from tiny_models import model as tiny, tokenizer

TEXTS = [
    "the cat sat on a mat", "the dog ran to the cat", "a plane flies high in the air", "it sat low", "the cat ran", "a dog ran low",
]  # fmt: skip


def row(layer, head):
    return RoleRow(
        layer, head, relation_task("obj", TO_HEAD), 0.75, 0.7, 0.8, 100, 1, 0.1, p_adjusted=0.001, weight=0.5
    )


def run(out, kind="bert", **options):
    return attnscope.survey(tiny(kind), tokenizer(), TEXTS, out, threads=1, quiet=True, **options)


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    table = attnscope.RoleTable((row(1, 2),))
    return run(tmp_path_factory.mktemp("survey") / "out", roles=table, examples=4)


def test_those_texts_have_a_page_that_most_heads_show(found):
    examples = found.to_frame("examples").drop_duplicates(["layer", "head", "document"])
    often = examples.document.value_counts()
    pages = {path.name for path in (found.folder / "examples").iterdir()}
    assert len(pages) == 4
    with_page = [document for document in often.index if example_name(document) in pages]
    assert min(often[with_page]) >= max(often.drop(with_page))
    for layer, head in examples[["layer", "head"]].drop_duplicates().itertuples(index=False):
        page = (found.folder / "heads" / f"L{layer}H{head}.html").read_text()
        linked = re.findall(r'href="\.\./examples/([0-9a-f]{16}\.html)#', page)
        assert linked
        assert {*linked} <= pages
    assert "obj ↑" in (found.folder / "heads" / "L1H2.html").read_text()
    assert "obj ↑" in (found.folder / "index.html").read_text()


@pytest.mark.browser
@pytest.mark.parametrize("kind", ["bert", "t5"])
def test_an_example_opens_on_its_head_query_and_key(found, kind, tmp_path, browser):
    folder = found.folder if kind == "bert" else run(tmp_path / "out", kind, examples=2).folder
    context = browser.new_context()
    page, troubles = context.new_page(), []
    page.on("pageerror", lambda error: troubles.append(str(error)))
    page.goto((folder / "heads" / "L1H1.html").as_uri())
    row = page.locator("li[data-weight]:has(a) >> nth=0")
    weight, key = float(row.get_attribute("data-weight")), row.locator(".key").inner_text()
    row.locator("a").click()
    page.wait_for_selector("[data-attnscope][data-ready]")
    said, address = page.locator("[data-sentence]").inner_text(), page.url
    context.close()
    assert not troubles
    assert re.search(r"#(stack=encoder&)?layer=1&head=1&query=\d+&key=\d+", address)
    assert f"looks most at {key} ({100 * weight:.0f} %)" in said


def test_pages_of_an_earlier_call_go(found, tmp_path):
    out = run(tmp_path / "out", examples=3).folder
    run(out, examples=1, resume=True)
    assert len([*(out / "examples").iterdir()]) == 1
    run(out, examples=0, resume=True)
    assert not [*(out / "examples").iterdir()]
    assert "examples/" not in (out / "heads" / "L0H0.html").read_text()
    private = run(tmp_path / "private", texts=False)
    assert not (private.folder / "examples").exists()


def test_roles_of_another_model_and_what_is_none(tmp_path):
    with pytest.raises(InputError, match="expected roles as a RoleTable"):
        run(tmp_path / "out", roles=[row(1, 2)])
    with pytest.raises(InputError, match="expected examples as a number from 0"):
        run(tmp_path / "out", examples=-1)
    assert not (tmp_path / "out").exists()
    with pytest.raises(InputError, match=r"these roles are of another model: they name L7H1"):
        run(tmp_path / "out", roles=attnscope.RoleTable((row(7, 1),)), examples=0)
