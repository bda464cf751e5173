"""Links of the user's own: pairs of places in a text, of which a head should look from one at the other."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from attnscope.errors import InputError
from attnscope.head_roles.alignment import align
from attnscope.head_roles.cases import TO_HEAD, Task
from attnscope.head_roles.texts import Text, check_offsets
from attnscope.head_roles.treebank import Sentence

Ends = tuple[str, str]
Span = tuple[int, int]

EXAMPLE = (
    'such as [("the cat sat", {("agent", "noun", "verb"): [((4, 7), (8, 11))]})], where a place is a (start, stop) of characters '
    "or the number of a token"
)


def read_links(tokenizer: Any, links: Any, limit: int | None) -> tuple[list[Text], dict[str, Ends], list[str]]:
    """The texts with their links, the two ends of each relation by its name, and one line of prose for each text that is
    left out. Each text is a document.

    `links`: (text, {relation: [(place, place), …]}) of each text. A relation is a name, or (name, from, to). A place is a
    (start, stop) of characters, or the number of a token. The tokens of one place count as one.
    Raises InputError for anything else, and where nothing is left.
    """
    check_offsets(tokenizer)
    ends: dict[str, Ends] = {}
    texts, left_out = [], []
    for number, (text, relations) in enumerate(_items(links)):
        encoded = tokenizer(text, return_offsets_mapping=True, return_special_tokens_mask=True)
        special, offsets = (
            tuple(map(bool, encoded.pop("special_tokens_mask"))),
            list(map(tuple, encoded.pop("offset_mapping"))),
        )
        where = f"links, text {number}"
        pieces: list[tuple[Span, Span, str]] = []
        for relation, pairs in relations.items():
            name, *sides = (relation,) if isinstance(relation, str) else relation
            if ends.setdefault(name, tuple(sides) or ("one end", "the other")) != (
                tuple(sides) or ("one end", "the other")
            ):
                raise InputError(
                    f"a relation of the links has two pairs of ends: {name!r} has others in {where} than before. Give each its own name."
                )
            for pair in pairs:
                if not isinstance(pair, Sequence) or len(pair) != 2:
                    raise InputError(
                        f"expected links as a list of (text, relations), {EXAMPLE}; got {pair!r} as a pair of text {number}."
                    )
                one, other = (_span(place, offsets, special, text, where) for place in pair)
                pieces.append((one, other, name))
        spans = _spans({span for *both, _ in pieces for span in both}, offsets, special)
        arcs = [(spans.index(one), spans.index(other), name) for one, other, name in pieces]
        alignment = align(text, spans, offsets, special)
        if limit is not None and len(special) > limit:
            left_out.append(f"{where}: {len(special)} tokens, and the model reads {limit}")
        elif alignment.units < 2:
            left_out.append(f"{where}: fewer than two tokens")
        else:
            sentence = Sentence(text, tuple(spans), tuple(arcs), f"link {number}")
            texts.append(
                Text(dict(encoded), special, sentence.document, alignment, sentence, characters=len(sentence.text))
            )
    if not texts:
        raise InputError(
            f"expected links as a list of (text, relations), {EXAMPLE}; got {'; '.join(left_out) or 'an empty list'}."
        )
    return texts, ends, left_out


def link_task(name: str, direction: str, ends: Ends) -> Task:
    """A relation of the user's own in one direction, as a task."""
    one, other = ends if direction == TO_HEAD else ends[::-1]
    return Task(name, f"{one} to {other}", "link", f"links {one} to {other} ({name})")


def _items(links: Any) -> list[tuple[str, Mapping[Any, Any]]]:
    if isinstance(links, (str, bytes, Mapping)) or not isinstance(links, Iterable):
        raise InputError(f"expected links as a list of (text, relations), {EXAMPLE}; got {type(links).__name__}.")
    items = []
    for item in links:
        fits = isinstance(item, Sequence) and len(item) == 2 and isinstance(item[0], str)
        if not fits or not isinstance(item[1], Mapping) or not all(map(_is_relation, item[1])):
            raise InputError(f"expected links as a list of (text, relations), {EXAMPLE}; got {item!r:.80}.")
        items.append((item[0], item[1]))
    return items


def _is_relation(given: Any) -> bool:
    named = isinstance(given, tuple) and len(given) == 3 and all(isinstance(part, str) for part in given)
    return named or isinstance(given, str)


def _span(place: Any, offsets: Sequence[Span], special: Sequence[bool], text: str, where: str) -> Span:
    """The characters of a place."""
    if isinstance(place, int) and not isinstance(place, bool):
        if not 0 <= place < len(offsets) or special[place]:
            which = "is special" if 0 <= place < len(offsets) else f"is none of its {len(offsets)} tokens"
            raise InputError(
                f"links are between tokens of the text, counted from 0: in {where}, token {place} {which}."
            )
        return offsets[place]
    if not isinstance(place, Sequence) or isinstance(place, str) or len(place) != 2:
        raise InputError(f"expected links as a list of (text, relations), {EXAMPLE}; got {place!r} as a place.")
    start, stop = place
    if not all(isinstance(one, int) for one in place) or not 0 <= start < stop <= len(text):
        raise InputError(
            f"links are between characters of the text: in {where}, {place!r} are no characters of it; it has {len(text)}."
        )
    return start, stop


def _spans(linked: set[Span], offsets: Sequence[Span], special: Sequence[bool]) -> list[Span]:
    """The places that are linked and the tokens between them, in the order of the text."""
    others = {
        span
        for span, marker in zip(offsets, special, strict=True)
        if not marker and all(span[1] <= start or stop <= span[0] for start, stop in linked)
    }
    return sorted(linked | others)
