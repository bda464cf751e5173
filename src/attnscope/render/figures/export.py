"""A figure as the bytes of a file."""

import io
import warnings
from typing import TYPE_CHECKING, Any

from attnscope.errors import InputError
from attnscope.render.figures.metadata import for_file

if TYPE_CHECKING:
    from matplotlib.figure import Figure

KINDS = ("png", "svg", "pdf")
TEXTS = {"text": "none", "outlines": "path"}


def check_file(kind: str, text: str, dpi: Any) -> None:
    """Raises InputError for a kind, text or dpi that does not exist."""
    if kind not in KINDS:
        raise InputError(f"kind is {kind!r}; expected one of {', '.join(map(repr, KINDS))}.")
    if text not in TEXTS:
        raise InputError(
            f"text is {text!r}; expected 'text' (letters stay letters) or 'outlines' (they become shapes)."
        )
    if text == "outlines" and kind != "svg":
        raise InputError(
            f"text='outlines' is for SVG; a {kind} {'embeds its fonts' if kind == 'pdf' else 'has pixels'}."
        )
    if isinstance(dpi, bool) or not isinstance(dpi, int | float) or not 20 <= dpi <= 2400:
        raise InputError(f"dpi is {dpi!r}; expected pixels per inch, from 20 to 2400.")


def to_bytes(figure: "Figure", kind: str, told: dict[str, Any], text: str = "text", dpi: float = 300) -> bytes:
    """The figure as a png, an svg (`text`: "text" keeps letters, "outlines" makes shapes of them) or a pdf (with TrueType
    fonts), on white.

    `told` is the metadata, from `describe`. Equal figures are equal bytes.
    """
    import matplotlib

    check_file(kind, text, dpi)
    options: Any = {
        "pdf.fonttype": 42,
        "svg.fonttype": TEXTS[text],
        "svg.hashsalt": "attnscope",
        "image.composite_image": False,
        "hatch.linewidth": 0.5,
    }
    buffer = io.BytesIO()
    with matplotlib.rc_context(options), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")  # warn_of_missing has named the tokens
        figure.savefig(buffer, format=kind, dpi=dpi, facecolor="white", metadata=for_file(kind, told))
    return buffer.getvalue()
