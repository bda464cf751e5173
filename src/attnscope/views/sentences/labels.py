"""What sentences are made of: text, and tokens that a page sets in a type of their own."""

from collections.abc import Iterable
from dataclasses import dataclass

from attnscope.text.spelling import isolated


@dataclass(frozen=True)
class Token:
    """A token in a sentence. `at`: its position, where the text has the token twice."""

    text: str
    at: int | None = None


Part = str | Token


def as_text(parts: Iterable[Part]) -> str:
    """The sentence as plain text, its tokens in quotation marks."""
    return "".join(part if isinstance(part, str) else _quoted(part) for part in parts)


def _quoted(token: Token) -> str:
    return f"“{isolated(token.text)}”" + ("" if token.at is None else f" at {token.at}")
