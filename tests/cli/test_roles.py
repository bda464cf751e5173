"""attnscope roles, as people call it."""

import csv
import json

import pytest
from click.testing import CliRunner

import attnscope
from attnscope.cli import main
from attnscope.errors import InputError
from attnscope.head_roles.rows import RoleRow
from attnscope.head_roles.tasks import PLACES
from small_treebank import written

pytestmark = pytest.mark.usefixtures("few_probes")


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return str(written(tmp_path_factory.mktemp("treebank"), 60))


def run(*arguments):
    return CliRunner().invoke(main, ["roles", "-q", *arguments])


def test_rows_of_every_head_and_a_page(file, tmp_path):
    page = tmp_path / "roles.html"
    done = run("--treebank", file, "--json", "--all", "--html", str(page))
    assert done.exit_code == 0, done.output
    rows = json.loads(done.stdout)
    det = [r for r in rows if r["relation"] == "det" and r["direction"] == "dependent to head"]
    assert len(det) == 72
    assert det[0]["n"] > 50
    assert 0 <= det[0]["low"] <= det[0]["accuracy"] <= det[0]["high"] <= 1
    assert det[0]["effect"] is None
    written_page = page.read_text(encoding="utf-8")
    assert written_page.count("<script") == 1  # which sorts the table
    assert "script-src 'sha256-" in written_page
    assert "links a determiner to its noun" in written_page


def test_a_table_in_the_terminal(file):
    done = run("--treebank", file)
    assert "Layers and heads count from 0" in done.output
    assert "L2H8" in done.output


def test_texts_of_a_file(tmp_path):
    corpus = tmp_path / "corpus.txt"
    corpus.write_text("The cat sat on the mat.\n\nA dog barked at it.\n" * 9, encoding="utf-8")
    done = run("--corpus", str(corpus), "--json")
    assert done.exit_code == 0, done.output
    relations = [r["relation"] for r in json.loads(done.stdout)]
    assert {*relations} >= {"previous token", "first token", "earlier copy"}
    assert len(relations) == len({*relations}), "one row each without --all"


def test_bad_files_are_refused_in_one_line(tmp_path):
    for option in ("--treebank", "--corpus"):
        done = run(option, str(tmp_path / "none"))
        assert done.exit_code == 2
        assert "cannot be read" in done.output
        assert "Traceback" not in done.output


def test_tables_are_written_as_csv_and_json(tmp_path):
    table = attnscope.RoleTable(
        tuple(RoleRow(2, head, task, 0.75, 0.7, 0.8, 100, weight=0.5) for head, task in enumerate(PLACES.values()))
    )
    assert json.loads(table.save(tmp_path / "t.json").read_text())[0]["relation"] == table[0].relation
    with table.save(tmp_path / "t.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == len(table)
    with pytest.raises(InputError, match=r"\.json, \.csv, \.html"):
        table.save(tmp_path / "t.xlsx")
