"""Names cut to the room that there is."""


def cut(text: str, most: int) -> str:
    """At most so many characters, the last of them … where some were cut off."""
    return text if len(text) <= most else text[: max(1, most - 1)] + "…"
