"""What a text must be before a tokenizer reads it."""

from attnscope.errors import InputError
from attnscope.text.characters import half_character


def check_characters(text: str, what: str) -> None:
    """Raises InputError for half of a character, of which tokenizers say that it is no string."""
    if (place := half_character(text)) is not None:
        raise InputError(
            f"{what} holds half of a character (a lone surrogate) at position {place}. Give the whole character, or leave "
            "it out."
        )
