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
    """Raises InputError for a file that cannot be asked for."""
    if kind not in KINDS:
        raise InputError(f"there is no figure of kind {kind!r}: it is one of {', '.join(map(repr, KINDS))}.")
    if text not in TEXTS:
        raise InputError(f"text is {text!r}; it is 'text' (letters stay letters) or 'outlines' (they become shapes).")
    if text == "outlines" and kind != "svg":
        raise InputError(
            f"text='outlines' is for SVG; a {kind} {'embeds its fonts' if kind == 'pdf' else 'has pixels'}."
        )
    if isinstance(dpi, bool) or not isinstance(dpi, int | float) or not 20 <= dpi <= 2400:
        raise InputError(f"dpi is {dpi!r}; it is the pixels of an inch, from 20 to 2400.")


def to_bytes(figure: "Figure", kind: str, told: dict[str, Any], text: str = "text", dpi: float = 300) -> bytes:
    """The figure as a png, an svg (`text`: letters stay letters, or "outlines") or a pdf (TrueType embedded), on white.

    `told` is what it says about itself (`describe`). Equal figures are equal bytes.
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
        warnings.filterwarnings("ignore", message="Glyph .* missing from")  # said by token when it was drawn
        figure.savefig(buffer, format=kind, dpi=dpi, facecolor="white", metadata=for_file(kind, told))
    return buffer.getvalue()
