"""Characters that no text should hold, and characters that a terminal would act on."""

import re

_HALVES = re.compile("[\ud800-\udfff]")


def half_character(text: str) -> int | None:
    """The position of the first lone surrogate: half of a character, which no file and no tokenizer can hold."""
    found = _HALVES.search(text)
    return None if found is None else found.start()
