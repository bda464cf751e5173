"""What became of the residual stream at one position, in one sentence; and its receipt. The page's levels/stream/sentence.ts says the same."""

import math

from attnscope.text.format import count, fixed, listed, percent_in_words
from attnscope.views.sentences.labels import Part, Token
from attnscope.views.stream_column import Column, Line, parts_of, shown

MENTIONED = 0.1  # of the largest part


def signed(value: float, digits: int = 1) -> str:
    """A number of logits with its sign: "+2.5", "−0.9"."""
    return f"{'+' if value > 0 else ''}{fixed(value, digits)}"


def sentence_of_stream(column: Column) -> list[Part]:
    """ "Mary over John by 4.0: most of it from L23H3 (+2.5), …"; without contributions, how the stream turned and grew."""
    return _attributed(column) if column.attributed else _changed(column)


def _attributed(column: Column) -> list[Part]:
    target, against, difference = column.target, column.against, column.difference
    assert target is not None
    lead: list[Part] = [Token(target.text), f" has a logit of {fixed(difference, 1)}"]
    if against is not None:
        over = " under " if difference < 0 else " over "
        lead = [Token(target.text), over, Token(against.text), f" by {fixed(abs(difference), 1)}"]
    sign = -1 if difference < 0 else 1
    known = [(line, sign * (line.value or 0.0)) for line in parts_of(column.lines) if _finite(line.value)]
    order = sorted(known, key=lambda one: -one[1])
    if not order or order[0][1] <= 0:
        return [*lead, ".", *_chance(column)]
    most, own = order[0]
    following = [line for line, value in order[1:3] if value > MENTIONED * own]
    parts: list[Part] = [*lead, f": {_share(own, abs(difference))} from {_said(most)}"]
    if following:
        parts.append(f", then from {listed([_said(line) for line in following])}")
    least, against_it = order[-1]
    if -against_it > MENTIONED * own:
        parts.append(f"; most against it {_said(least)}")
    return [*parts, ".", *_chance(column)]


def _share(part: float, whole: float) -> str:
    """A part may be larger than the whole: others are against it."""
    if part > whole:
        return "the strongest push"
    return "most of it" if part >= whole / 2 else "the largest part"


def _said(line: Line) -> str:
    name = "the embedding" if line.name == "embedding" else line.name
    return f"{name} ({signed(line.value or 0.0)})"


def _chance(column: Column) -> list[Part]:
    if column.target is None:
        return []
    return [" ", Token(column.target.text), f" has {percent_in_words(column.target.probability)}."]


def _changed(column: Column) -> list[Part]:
    """Which block turned the stream most, and how its length changed."""
    if not column.passed:
        return ["The numbers of this stream do not match the model, so nothing is attributed here."]
    turned = [line for line in column.lines if _finite(line.turn)]
    if not turned:
        return ["Nothing is known of this stream."]
    most = max(turned, key=lambda line: line.turn or 0.0)
    sizes = column.table.sizes[column.row]
    grew = f"from {fixed(float(sizes[0]), 1)} to {fixed(float(sizes[-1]), 1)}"
    turned_most = f"{most.name} turns the stream most, by {fixed(most.turn or 0.0, 0)}°"
    return [f"{turned_most}; from the embedding to the end its length goes {grew}.", *_chance(column)]


def sentence_of_lens(column: Column) -> list[Part]:
    """ "From L29 on the lens reads Mary, at the end with 92 %; before that, from L23 on, the." """
    table = column.table
    assert table.lens_probabilities is not None
    texts = [shown(text) for text in table.lens_text[column.row]]

    def since(stage: int) -> int:
        while stage > 0 and texts[stage - 1] == texts[stage]:
            stage -= 1
        return stage

    begin = since(len(texts) - 1)
    chance = percent_in_words(float(table.lens_probabilities[column.row, -1]))
    said: list[Part] = [
        f"From {stage_name(begin)} on the lens reads ",
        Token(texts[-1]),
        f", at the end with {chance}",
    ]
    if begin == 0:
        return [*said, "."]
    return [*said, f"; before that, from {stage_name(since(begin - 1))} on, ", Token(texts[begin - 1]), "."]


def stage_name(stage: int) -> str:
    """What a stage is called: 0 is the embedding, l + 1 layer l."""
    return "the embedding" if stage == 0 else f"L{stage - 1}"


def _small(error: float) -> str:
    """2.1e-7, as the page writes it."""
    if error == 0 or 0.01 <= error < 1000:
        return f"{float(f'{error:.2g}'):g}"
    return f"{error:.1e}".replace(".0e", "e").replace("e-0", "e-").replace("e+0", "e")


def _finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def receipt_of_stream(column: Column) -> str:
    """Whether the parts are the model's own numbers, in sentences."""
    given = column.table.receipt
    said = ["✓" if column.passed else "✕"]
    if column.attributed and column.target is not None:
        total = sum(line.value or 0.0 for line in column.lines)
        name = f"logit({column.target.text})"
        what = f"{name} − logit({column.against.text})" if column.against else name
        parts = count(len(column.table.parts), "part")
        said.append(f"{parts} add up to {fixed(total, 3)}; {what} is {fixed(column.difference, 3)}.")
    if column.mine is not None:
        said.append(f"Largest difference of a sum from its logit: {_small(column.mine)}.")
    said.append(
        "The embedding and all that was written, against what the model's final norm received: "
        f"{_small(given.stream_error)} of the largest number."
    )
    if given.logit_error is not None:
        said.append(f"Logits from that sum, against the model's own: {_small(given.logit_error)}.")
    return " ".join([*said, f"Up to {_small(given.tolerance)} is rounding."])


def strongest_parts(column: Column, rows: int) -> tuple[list[str], list[list[str]]]:
    """Titles and cells of a table: the parts that add most; without contributions, the blocks that turn the stream most."""
    if column.attributed:
        parts = sorted(parts_of(column.lines), key=lambda line: -abs(line.value or 0.0))[:rows]
        return ["part", f"adds to {column.pair}"], [[line.name, signed(line.value or 0.0, 2)] for line in parts]
    turned = sorted((line for line in column.lines if _finite(line.turn)), key=lambda line: -(line.turn or 0.0))[:rows]
    return ["block", "turns x by"], [[line.name, f"{fixed(line.turn or 0.0, 1)}°"] for line in turned]
