"""Sentences as a treebank has them: contractions, broken lines, documents."""

import pytest

from attnscope.errors import InputError, UnreadableFile
from attnscope.head_roles.treebank import Treebank, read_treebank
from small_treebank import sentences

FRENCH = """# newdoc id = a
# text = Il va au marché.
1	Il	_	_	_	_	2	nsubj	_	_
2	va	_	_	_	_	0	root	_	_
3-4	au	_	_	_	_	_	_	_	_
3	à	_	_	_	_	5	case	_	_
4	le	_	_	_	_	5	det	_	_
5	marché	_	_	_	_	2	obl	_	SpaceAfter=No
6	.	_	_	_	_	2	punct	_	_
"""
ENGLISH = """# text = I don't know .
1	I	_	_	_	_	4	nsubj	_	_
2-3	don't	_	_	_	_	_	_	_	_
2	do	_	_	_	_	4	aux	_	_
3	n't	_	_	_	_	4	advmod	_	_
3.1	x	_	_	_	_	_	_	_	_
4	know	_	_	_	_	0	root	_	_
5	.	_	_	_	_	4	punct	_	_
"""


@pytest.fixture
def file(tmp_path):
    def write(text, name="t.conllu"):
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return write


def words(sentence):
    return [sentence.text[start:stop] for start, stop in sentence.spans]


def test_a_contraction_that_is_written_word_by_word_is_split_and_another_is_shared(file):
    french, english = (read_treebank(file(text)).sentences[0] for text in (FRENCH, ENGLISH))
    assert words(french) == ["Il", "va", "au", "au", "marché", "."]
    assert words(english) == ["I", "do", "n't", "know", "."]
    assert (4, 1, "obl") in french.arcs
    assert (2, 3, "advmod") in english.arcs
    assert len(english.arcs) == 4  # the root has no arc, and the empty word 3.1 is none


def test_a_text_that_is_missing_is_put_together(file):
    without = "\n".join(line for line in FRENCH.splitlines() if not line.startswith("# text"))
    assert read_treebank(file(without + "\n")).sentences[0].text == "Il va au marché."


def test_documents_begin_where_the_file_says(file):
    read = read_treebank(file(sentences(22, documents=11)))
    assert len({s.document for s in read.sentences}) == 11
    assert len(read.sentences) == 22


@pytest.mark.parametrize(
    ("line", "broken", "reason"),
    [
        (3, "1\tIl\t_\t_\t2\tnsubj\t_\t_", "10 columns"),
        (4, "2\tva\t_\t_\t_\t_\t9\troot\t_\t_", "head of word 2"),
        (4, "2\tva\t_\t_\t_\t_\tx\troot\t_\t_", ""),
        (4, "2\tva\t_\t_\t_\t_\t_\t_\t_\t_", "no head"),
        (7, "7\tle\t_\t_\t_\t_\t5\tdet\t_\t_", "numbered"),
    ],
)
def test_a_broken_sentence_is_set_aside_with_its_line(file, line, broken, reason):
    lines = FRENCH.splitlines()
    lines[line - 1] = broken
    read = read_treebank(file(ENGLISH + "\n" + "\n".join(lines) + "\n"))
    assert len(read.sentences) == 1
    (why,) = read.set_aside
    assert reason in why
    number = int(why.split("line ")[1].split(":")[0])
    assert number in (ENGLISH.count("\n") + 2, ENGLISH.count("\n") + 1 + line)


def test_files_that_hold_no_treebank_are_refused(file, tmp_path):
    with pytest.raises(InputError, match="nothing that could be used"):
        read_treebank(file("The cat sat.\n"))
    with pytest.raises(InputError, match="no sentence"):
        read_treebank(file(""))
    with pytest.raises(UnreadableFile, match="cannot be read"):
        read_treebank(tmp_path / "none.conllu")
    (tmp_path / "b").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UnreadableFile, match="UTF-8"):
        read_treebank(tmp_path / "b")


def test_a_treebank_that_was_read_is_taken_as_it_is(file):
    read = read_treebank(file(FRENCH))
    assert isinstance(read, Treebank)
    assert read_treebank(read) is read
