"""What may be predicted, by name or id, and at which position."""

import operator
from collections.abc import Mapping, Sequence
from typing import Any

from jaxtyping import Float
from torch import Tensor

from attnscope.errors import InputError
from attnscope.predictions.streams import label_position
from attnscope.tracing.places import is_number
from attnscope.tracing.stream import Stream
from attnscope.tracing.stream_table import Target
from attnscope.tracing.tokens import Tokens, tokens_of
from attnscope.tracing.trace import Trace

NO_PREDICTIONS = (
    "this model predicts nothing; load it with its head, such as AutoModelForMaskedLM or AutoModelForCausalLM"
)


def read_tokens(trace: Trace, stream: Stream) -> Tokens:
    """The tokens along the positions of a stream."""
    site = next((site for site in trace.sites if site.stack == stream.stack), None)
    return trace.tokens if site is None else trace.query_tokens(site)


def position_of(trace: Trace, stream: Stream, query: Any) -> int:
    """The position of a token in the stream. `query`: from 0, negative ones count from the end, or a token as written.

    Raises InputError for one that is not there, or whose stream was not kept.
    """
    position = read_tokens(trace, stream).find(query, "query")
    if position not in stream.positions:
        raise InputError(
            f"query {query} is token {position}, and the stream was kept for {len(stream.positions)} others. Trace again with "
            'keep={"stream"}, or pass model=….'
        )
    return position


def place_of(trace: Trace, stream: Stream, query: Any) -> int:
    """The position at which a prediction stands: that of `query`, or the one from which the labels of the whole text are read.

    Raises InputError as position_of does, NotCaptured as label_position.
    """
    whole = stream.returned is not None and stream.returned.rows is None
    return label_position(stream) if whole else position_of(trace, stream, query)


def target_of(stream: Stream, wanted: Any, what: str) -> Target:
    """A token or a label by its id or as written; `what`: the argument's name. Raises InputError for what is none, or several
    tokens."""
    names = () if stream.returned is None else stream.returned.names
    count = target_count(stream)
    if count == 0:
        raise InputError(f"{what}={wanted!r} has no logit: {NO_PREDICTIONS}.")
    if is_number(wanted):
        number = operator.index(wanted)
        if not 0 <= number < count:
            raise InputError(f"{what}={number} is out of range: this model predicts ids from 0 to {count - 1}.")
        return Target(number, text_of(stream, number))
    if not isinstance(wanted, str):
        raise InputError(f"expected {what} as an id or as text, such as {what}=' Mary', got {wanted!r}.")
    if names:
        if wanted not in names:
            raise InputError(f"{what}={wanted!r} is none of the labels of this model: {', '.join(names)}.")
        return Target(names.index(wanted), wanted)
    if stream.tokenizer is None:
        raise InputError(
            f"{what}={wanted!r} needs the tokenizer, which this trace does not have: give the id of the token, or pass tokenizer=…."
        )
    ids, _ = ids_of_text(stream.tokenizer, wanted, what)
    if len(ids) != 1:
        pieces = ", ".join(f"{text_of(stream, i)!r} ({i})" for i in ids) or "nothing"
        raise InputError(
            f"{what}={wanted!r} is {len(ids)} tokens: {pieces}. Give one token; a word in the middle of a text usually begins with its "
            "space. Or give an id."
        )
    return Target(ids[0], text_of(stream, ids[0]))


def ids_of_text(tokenizer: Any, text: str, what: str) -> tuple[tuple[int, ...], str]:
    """The ids of a target that is given as text, and what a reader must know of them ("": nothing). One rule for every function that
    takes a target.

    The text counts as it is written: "Mary" and " Mary" are two tokens where the vocabulary has both. A text that is no token as
    written, and is one with a space before it, is that token, and `what`, the name of the argument, says so. A tokenizer that puts
    a space before every text by itself ("▁Mary") needs none.
    """

    def ids(written: str) -> tuple[int, ...]:
        return tuple(int(one) for one in tokenizer(written, add_special_tokens=False)["input_ids"])

    found = ids(text)
    if len(found) <= 1 or not text.strip():
        return found, ""
    if text[0] == " ":
        bare = ids(text.lstrip(" "))
        own = len(bare) == 1 and tokens_of(tokenizer, bare).strings[0].startswith("▁")
        return (bare, "") if own else (found, "")
    spaced = ids(f" {text}")
    if len(spaced) != 1:
        return found, ""
    return spaced, f"{what} {text!r} is {len(found)} tokens, and {f' {text}'!r} is one: that one is taken."


def notes_on(tokenizer: Any, given: Mapping[str, Any], logits: Float[Tensor, " V"]) -> tuple[str, ...]:
    """What a reader must know of targets that are given as text, by the names of their arguments. `logits`: where they stand."""
    notes = []
    for what, text in given.items():
        if not isinstance(text, str) or not text.strip() or not callable(tokenizer):
            continue
        ids, note = ids_of_text(tokenizer, text, what)
        if not note and len(ids) == 1 and text[0] != " ":
            spaced, _ = ids_of_text(tokenizer, f" {text}", what)
            if len(spaced) == 1 and spaced != ids and bool(logits[spaced[0]] > logits[ids[0]]):
                note = f"{what} {text!r} is the token without a space before it; {f' {text}'!r} is another, and more probable here."
        notes += [note] if note else []
    return tuple(notes)


def text_of(stream: Stream, number: int) -> str:
    """A token or label as people read it, a space before it kept."""
    if stream.returned is not None and stream.returned.names:
        return stream.returned.names[number]
    return texts_of(stream.tokenizer, [number])[0]


def texts_of(tokenizer: Any, ids: Sequence[int]) -> list[str]:
    """Tokens as people read them, each by itself; their numbers without a tokenizer."""
    found = []
    for number in ids:
        token = tokens_of(tokenizer, [number])
        raw = token.strings[0]
        found.append(
            (" " if raw[:1] in ("Ġ", "▁") and len(raw) > 1 and token.shown[0][:1] != " " else "") + token.shown[0]
        )
    return found


def target_count(stream: Stream) -> int:
    """How many tokens or labels the model chooses among; 0 where it predicts nothing."""
    if stream.returned is not None:
        return stream.returned.logits.shape[-1]
    return stream.head.logits.width[0] if stream.head is not None else 0
