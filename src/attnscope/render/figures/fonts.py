"""Fonts: those of rcParams["font.family"], then matplotlib's own DejaVu; and the characters that they lack."""

import unicodedata
import warnings
from collections.abc import Iterable
from functools import cache

from attnscope.text.characters import printable

_GENERIC = {"serif", "sans-serif", "sans", "monospace", "cursive", "fantasy"}


def prose_fonts() -> list[str]:
    return [*_chosen(), "DejaVu Sans"]


def token_fonts() -> list[str]:
    return ["DejaVu Sans Mono", *_chosen(), "DejaVu Sans"]


def _chosen() -> list[str]:
    """The fonts that rcParams names, if they are installed."""
    from matplotlib import rcParams

    return [name for name in rcParams["font.family"] if name.lower() not in _GENERIC and _characters(name) is not None]


@cache
def _characters(family: str) -> frozenset[int] | None:
    """The characters of a font; None if it is not installed."""
    from matplotlib.font_manager import FontProperties, findfont, get_font

    try:
        path = findfont(FontProperties(family=[family]), fallback_to_default=False)
    except ValueError:
        return None
    return frozenset(get_font(path).get_charmap())


def missing(text: str) -> list[str]:
    """The characters of a token that no font has, without joiners and variation marks, which are not drawn."""
    known = [found for name in token_fonts() if (found := _characters(name)) is not None]
    return [
        c
        for c in dict.fromkeys(text)
        if not any(ord(c) in font for font in known) and unicodedata.category(c) not in ("Mn", "Cf")
    ]


def warn_of_missing(tokens: Iterable[str]) -> None:
    """One UserWarning, which names the tokens with missing characters."""
    lacking = [(token, found) for token in tokens if (found := missing(token))]
    if lacking:
        named = ", ".join(f"“{token}” ({' '.join(f'U+{ord(c):04X}' for c in found)})" for token, found in lacking[:8])
        more = f" and {len(lacking) - 8} more" if len(lacking) > 8 else ""
        warnings.warn(
            f"the fonts lack characters of these tokens, which appear as boxes: {printable(named)}{more}. Name a font that has them, for "
            'example: matplotlib.rcParams["font.family"] = ["Noto Sans CJK JP"].',
            UserWarning,
            stacklevel=4,
        )
