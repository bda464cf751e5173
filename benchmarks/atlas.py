"""The index of an atlas of 12,000 heads: how long it takes to write, its size, and when a headless Chromium has drawn it."""

import sys
import tempfile
import time
from pathlib import Path

from playwright.sync_api import sync_playwright

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "helpers"))
from attnscope.surveys.atlas.index_page import index_page
from attnscope.surveys.atlas.read import read_tables
from browser_tools import launch
from made_survey import made_survey

with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
    made = made_survey(Path(folder) / "survey", 100, 120, detail=False)
    before = time.perf_counter()
    text = index_page(read_tables(made), {})
    (made / "index.html").write_text(text)
    print(f"12,000 heads: index of {len(text) / 1e6:.1f} MB, written in {time.perf_counter() - before:.2f} s")
    browser = launch(playwright)
    found = []
    for _ in range(5):
        page = browser.new_page()
        page.goto((made / "index.html").as_uri())
        page.wait_for_selector("html[data-drawn]")
        found.append(float(page.get_attribute("html", "data-drawn") or "nan"))
        page.close()
    print(f"first draw after {sorted(found)[2]:.0f} ms (median of 5)")
    browser.close()
