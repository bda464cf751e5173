"""Every level looks as it did: screenshots, coarse enough for another machine's fonts, against small stored ones.

Where a picture is meant to change, look at it, then: ATTNSCOPE_RENEW_PICTURES=1 pytest tests/browser/test_pictures.py
"""

import io
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from attnscope.views.levels import ALWAYS_THERE as LEVELS
from browser_tools import settled
from levels_in import open_level

PICTURES = Path(__file__).parent / "pictures"
STORED = (320, 225)  # pixels of a stored picture: a quarter of the window
BLOCKS = (40, 28)  # what is compared: about two words wide, so that letters do not count
INK, COLOUR = 0.3, 0.2  # how much of either may differ: another font family makes 0.04 to 0.22, and up to 0.12
FAINT = 0.004  # a block with less in it hardly counts: a palette is not exact


def shot(page) -> Image.Image:
    page.mouse.move(1279, 1)
    settled(page)  # the browser has checked the receipt and drawn all that it put off
    picture = Image.open(io.BytesIO(page.screenshot(clip={"x": 0, "y": 0, "width": 1280, "height": 900})))
    return picture.convert("RGB").resize(STORED, Image.Resampling.BOX)


def oklab(picture: Image.Image) -> np.ndarray:
    """Lightness and two opponent colours of each block: even steps for the eye (Björn Ottosson, 2020). [rows, columns, 3]"""
    coarse = np.asarray(picture.resize(BLOCKS, Image.Resampling.BOX), dtype=np.float64) / 255
    linear = np.where(coarse <= 0.04045, coarse / 12.92, ((coarse + 0.055) / 1.055) ** 2.4)
    cones = linear @ np.array(
        [
            [0.4122214708, 0.2119034982, 0.0883024619],
            [0.5363325363, 0.6806995451, 0.2817188376],
            [0.0514459929, 0.1073969566, 0.6299787005],
        ]
    )
    return np.cbrt(cones) @ np.array(
        [
            [0.2104542553, 1.9779984951, 0.0259040371],
            [0.7936177850, -2.4285922050, 0.7827717662],
            [-0.0040720468, 0.4505937099, -0.8086757660],
        ]
    )


def differences(one: Image.Image, other: Image.Image) -> tuple[float, float]:
    """Of lightness and of colour: 0 the same, 1 nothing in common; as parts of what stands out from the ground."""
    a, b = oklab(one), oklab(other)
    ground = np.median(b.reshape(-1, 3), axis=0)

    def part(channels: slice) -> float:
        far = lambda x, y: np.linalg.norm((x - y)[..., channels], axis=-1)  # noqa: E731
        return float(far(a, b).sum() / (np.maximum(far(a, ground), far(b, ground)) + FAINT).sum())

    return part(slice(0, 1)), part(slice(1, 3))


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("level", LEVELS)
def test_it_looks_as_it_did(open_view, demo_trace, level, dark, tmp_path):
    stored = PICTURES / f"{level}-{'dark' if dark else 'light'}.png"
    page = open_level(
        open_view, demo_trace.show(level="neuron", layer=2, head=8, query="it"), level, dark=dark, height=900
    )
    now = shot(page)
    if os.environ.get("ATTNSCOPE_RENEW_PICTURES"):
        now.quantize(128, dither=Image.Dither.NONE).save(stored, optimize=True)
        assert stored.stat().st_size <= 40_000
    ink, colour = differences(now, Image.open(stored).convert("RGB"))
    now.save(tmp_path / stored.name)
    assert ink <= INK, f"{ink:.2f} of what is drawn differs: compare {tmp_path / stored.name} with {stored}"
    assert colour <= COLOUR, f"{colour:.2f} of the colour differs: compare {tmp_path / stored.name} with {stored}"


GONE, TURNED, INVERTED = (
    "[data-level] { visibility: hidden }",
    "[data-level] { filter: hue-rotate(180deg) }",
    "main.scope { filter: invert(1) }",
)


@pytest.mark.parametrize("level", LEVELS)
def test_a_broken_picture_is_noticed(open_view, demo_trace, level):
    """The checks above can fail. One head alone is drawn in ink, without colours that could be turned."""
    stored = Image.open(PICTURES / f"{level}-light.png").convert("RGB")
    page = open_level(open_view, demo_trace.show(level="neuron", layer=2, head=8, query="it"), level, height=900)
    page.evaluate(
        """() => { window.broken = new CSSStyleSheet();
             document.querySelector('[data-attnscope]').shadowRoot.adoptedStyleSheets.push(window.broken); }"""
    )
    for css in (GONE, INVERTED, *([TURNED] if level != "head" else [])):
        page.evaluate("css => window.broken.replaceSync(css)", css)
        ink, colour = differences(shot(page), stored)
        assert ink > INK or colour > COLOUR, (css, ink, colour)
