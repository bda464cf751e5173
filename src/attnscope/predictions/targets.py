"""What may be predicted, by name or id, and at which position."""

import operator
from collections.abc import Sequence
from typing import Any

from attnscope.errors import InputError
from attnscope.tracing.places import is_number
from attnscope.tracing.stream import Stream
from attnscope.tracing.stream_table import Target
from attnscope.tracing.tokens import Tokens, tokens_of
from attnscope.tracing.trace import Trace


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


def target_of(stream: Stream, wanted: Any, what: str) -> Target:
    """A token or a label by its id or as written; `what`: the argument's name. Raises InputError for what is none, or several
    tokens."""
    names = () if stream.returned is None else stream.returned.names
    count = _count(stream)
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
    ids = [int(i) for i in stream.tokenizer(wanted, add_special_tokens=False)["input_ids"]]
    if len(ids) != 1:
        pieces = ", ".join(f"{text_of(stream, i)!r} ({i})" for i in ids) or "nothing"
        raise InputError(
            f"{what}={wanted!r} is {len(ids)} tokens: {pieces}. Give one token; a word in the middle of a text usually begins with its "
            "space. Or give an id."
        )
    return Target(ids[0], text_of(stream, ids[0]))


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


def _count(stream: Stream) -> int:
    if stream.returned is not None:
        return stream.returned.logits.shape[-1]
    return stream.head.logits.width[0] if stream.head is not None else 0
