"""A treebank of made sentences: a small grammar whose phrases are longer or shorter by chance, with the arcs it gives them."""

import random
from pathlib import Path

NOUNS = "teacher dog painter river letter farmer window soldier garden bird doctor bridge child engine baker".split()
VERBS = "watched found carried followed painted helped built heard moved cleaned".split()
ADJECTIVES = "small old quiet green heavy young bright tall cold busy".split()
PLACES = "near behind beside above under".split()
ADVERBS = "quickly quietly slowly often never".split()
REAL = (
    Path(__file__).parents[3] / "shared" / "data" / "ud-en-ewt"
)  # a treebank beside the repository, where there is one

Word = tuple[str, int | None, str]  # form, the head as an index into the list, relation


def _noun_phrase(draw: random.Random, words: list[Word], deep: bool = True) -> int:
    """Adds a noun phrase; gives the place of its noun, whose head is filled in later."""
    first = len(words)
    words.append((draw.choice(["the", "a"]), None, "det"))
    for _ in range(draw.choice([0, 0, 1, 2])):
        words.append((draw.choice(ADJECTIVES), None, "amod"))
    noun = len(words)
    words.append((draw.choice(NOUNS), None, ""))
    for place in range(first, noun):
        words[place] = (words[place][0], noun, words[place][2])
    if deep and draw.random() < 0.3:
        _phrase(draw, words, noun, "nmod")
    return noun


def _phrase(draw: random.Random, words: list[Word], head: int | None, relation: str) -> int:
    case = len(words)
    words.append((draw.choice(PLACES), None, "case"))
    noun = _noun_phrase(draw, words, deep=False)
    words[case] = (words[case][0], noun, "case")
    words[noun] = (words[noun][0], head, relation)
    return noun


def _sentence(draw: random.Random) -> list[Word]:
    words: list[Word] = []
    waiting: list[tuple[int, str]] = []  # what depends on the verb, which comes later
    if draw.random() < 0.4:
        waiting.append((_phrase(draw, words, None, "obl"), "obl"))
        waiting.append((len(words), "punct"))
        words.append((",", None, "punct"))
    waiting.append((_noun_phrase(draw, words), "nsubj"))
    if draw.random() < 0.4:
        waiting.append((len(words), "advmod"))
        words.append((draw.choice(ADVERBS), None, "advmod"))
    verb = len(words)
    words.append((draw.choice(VERBS), -1, "root"))
    waiting.append((_noun_phrase(draw, words), "obj"))
    if draw.random() < 0.4:
        waiting.append((_phrase(draw, words, None, "obl"), "obl"))
    waiting.append((len(words), "punct"))
    words.append((".", None, "punct"))
    for place, relation in waiting:
        words[place] = (words[place][0], verb, relation)
    return words


def sentences(count: int, documents: int = 11, seed: int = 3) -> str:
    """CoNLL-U of `count` sentences, dealt out over some documents."""
    draw, lines, each = random.Random(seed), [], -(-count // documents)
    for number in range(count):
        if number % each == 0:
            lines.append(f"# newdoc id = document-{number // each}")
        words = _sentence(draw)
        text = " ".join(form for form, _, _ in words).replace(" .", ".").replace(" ,", ",")
        lines += [f"# sent_id = {number}", f"# text = {text}"]
        for place, (form, head, relation) in enumerate(words):
            tight = place + 1 < len(words) and words[place + 1][0] in ".,"
            lines.append(
                f"{place + 1}\t{form}\t_\t_\t_\t_\t{(head or 0) + 1}\t{relation}\t_\t{'SpaceAfter=No' if tight else '_'}"
            )
        lines.append("")
    return "\n".join(lines) + "\n"


def written(folder: Path, count: int = 400) -> Path:
    """The same as a file."""
    path = folder / "small.conllu"
    path.write_text(sentences(count), encoding="utf-8")
    return path
