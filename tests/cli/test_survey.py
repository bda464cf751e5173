"""attnscope survey, as it is typed."""

import pyarrow.parquet as pq
from click.testing import CliRunner

from attnscope.cli import main


def run(*arguments):
    return CliRunner().invoke(main, ["survey", *map(str, arguments)])


def test_a_file_into_a_folder_and_on_again(tmp_path):
    corpus = tmp_path / "corpus.txt"
    corpus.write_text("The cat sat on the mat.\n\n\nIt was warm, and it slept.\nx\n")
    command = (corpus, "--model", "demo", "--out", tmp_path / "out", "--no-texts", "--threads", 1, "--shard", 2)
    done = run(*command)
    assert done.exit_code == 0, done.output
    assert done.stdout.strip() == str(tmp_path / "out")
    assert "2 texts" in done.stderr
    heads = pq.read_table(tmp_path / "out" / "tables" / "heads.parquet")
    assert (heads.num_rows, heads.column("layer")[-1].as_py(), heads.column("head")[-1].as_py()) == (72, 5, 11)
    assert pq.read_table(tmp_path / "out" / "tables" / "set_aside.parquet").to_pylist()[0]["row"] == 4
    again = run(*command)
    assert again.exit_code == 2
    assert "holds a survey already (finished)" in again.stderr
    assert run(*command, "--resume", "--quiet").exit_code == 0


def test_a_mistake_is_one_paragraph(tmp_path):
    done = run(tmp_path / "missing.txt", "--out", tmp_path / "out")
    assert done.exit_code == 2
    assert "there is no such file or folder" in done.stderr
    assert not (tmp_path / "out").exists()
