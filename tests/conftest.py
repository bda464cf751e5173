"""Shapes are enforced: every jaxtyping annotation of attnscope is checked at run time in tests, for the first calls in each."""

import copy

from jaxtyping import install_import_hook

import typecheck
from typecheck import shaped_modules

typecheck.check_first_calls()
install_import_hook(shaped_modules("attnscope"), "typecheck.check")

import os  # noqa: E402

THREADS = os.environ.get("ATTNSCOPE_TEST_THREADS", "1")  # two tests run side by side, on tensors too small for more
os.environ.setdefault("OMP_NUM_THREADS", THREADS)  # of the processes that tests start
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("ATTNSCOPE_COMPILED", "0")  # tests that are about it ask for it

import pytest  # noqa: E402
import torch  # noqa: E402
from hypothesis import settings  # noqa: E402

from attnscope.text.example import SENTENCE  # noqa: E402

APART = {"exactness", "properties", "browser", "notebook", "packaging"}  # what has none of these marks is a unit test


def pytest_collection_modifyitems(items):
    for item in items:
        if not APART & {mark.name for mark in item.iter_markers()}:
            item.add_marker("unit")
    # Files with slow tests first: a worker that begins one at the end lets the others wait.
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


def pytest_runtest_setup():
    typecheck.begin_test()


settings.register_profile("quick", max_examples=60, deadline=None)  # no deadline on a busy machine
settings.load_profile("quick")
torch.set_num_threads(int(THREADS))


@pytest.fixture(scope="session")
def demo():
    """(model, tokenizer) of the packaged demo."""
    import attnscope

    return attnscope.load("demo")


@pytest.fixture(scope="module")
def few_probes():
    """Ten sequences of random tokens in the place of forty: enough for what is claimed of copies, and most of the time."""
    from attnscope.head_roles import tasks

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tasks, "LENGTHS", tasks.LENGTHS[:10])
        yield


@pytest.fixture(scope="session")
def demo_trace(demo):
    import attnscope

    return attnscope.trace(*demo, SENTENCE)


@pytest.fixture(scope="session")
def texts(demo, demo_trace):
    """A comparison of two texts: words that are equal, exchanged, and in one only."""
    import attnscope

    other = "As the old aircraft becomes heavier, it flies lower in the air of high density."
    return attnscope.compare(demo_trace, attnscope.trace(*demo, other))


@pytest.fixture(scope="session")
def tuned(demo, demo_trace):
    """A comparison of two models: the demo, and itself with noise on the queries of layer 3."""
    import attnscope

    model = copy.deepcopy(demo[0])
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        weight = model.encoder.layer[3].attention.self.query.weight
        weight += 0.03 * torch.randn(*weight.shape, generator=generator)
    return attnscope.compare(demo_trace, attnscope.trace(model, demo[1], SENTENCE))


@pytest.fixture(scope="session")
def browser():
    """One headless Chromium for all tests that look at pages (Playwright allows one at a time)."""
    from playwright.sync_api import sync_playwright

    from browser_tools import PatientBrowser, launch

    with sync_playwright() as playwright:
        browser = launch(playwright)
        yield PatientBrowser(browser)
        browser.close()
