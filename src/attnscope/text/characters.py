"""Characters that no text should hold, and characters that a terminal would act on."""

import re

# All control characters but tab and new line, both separators of Unicode, those that turn the direction of what follows
# (attnscope's own isolates, U+2068 and U+2069, stay), and halves of characters, which no terminal can be sent.
_ACTED_ON = "[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066\u2067\ud800-\udfff]"
_SHOWN = re.compile(_ACTED_ON)
_SHOWN_BUT_COLOURS = re.compile(rf"(\x1b\[[0-9;]*m)|{_ACTED_ON}")
_HALVES = re.compile("[\ud800-\udfff]")


def half_character(text: str) -> int | None:
    """The position of the first lone surrogate: half of a character, which no file and no tokenizer can hold."""
    found = _HALVES.search(text)
    return None if found is None else found.start()


def printable(text: str, colours: bool = False) -> str:
    """The text with every character shown that a terminal would act on: "⟨U+001B⟩".

    For all that comes from outside: tokens, names, paths, messages of exceptions. `colours`: True leaves the sequences
    that only change colours.
    """
    if colours:
        return _SHOWN_BUT_COLOURS.sub(lambda found: found[1] or _name(found[0]), text)
    return _SHOWN.sub(lambda found: _name(found[0]), text)


def _name(character: str) -> str:
    return f"⟨U+{ord(character):04X}⟩"
