"""Motion where it explains: lines, bars and thumbnails go from where they were, and stay still for a reader who wants less of it."""

import pytest

# Clicks, stops what has begun to move halfway, and reads where it is: before the click, halfway, and at the end.
HALFWAY = """async ([press, moving, change]) => {
  const root = document.querySelector('[data-attnscope]').shadowRoot;
  const all = () => [...root.querySelectorAll(moving)], motions = () => all().flatMap(e => e.getAnimations());
  const see = () => Object.fromEntries(all().map(e => READ));
  await window.settledForTests();
  const before = see(), element = root.querySelector(press);
  if (change === null) element.click();
  else { element.value = change; element.dispatchEvent(new Event('change')); }
  for (let i = 0; i < 30 && !motions().length; i++) await new Promise(requestAnimationFrame);
  const found = motions(), lasts = found.map(a => a.effect.getTiming().duration);
  found.forEach(a => { a.pause(); a.currentTime = 60; });
  const half = see();
  found.forEach(a => a.finish());
  await new Promise(requestAnimationFrame);
  return {before, half, after: see(), most: Math.max(0, ...lasts)};
}"""
LINES = (
    "[e.dataset.key, [...getComputedStyle(e).d.matchAll(/-?[\\d.]+/g)].map(Number).filter((_, i) => i === 1 || i === 7)]",
    ['[data-token="11"]', ".lines path", None],
)
BARS = (
    "[e.closest('[data-row-key]').dataset.rowKey, [e.getBoundingClientRect().width]]",
    ['[data-token="11"]', "[data-row-key] .bar-weight", None],
)
# the thumbnails that fly, by where they will be
THUMBS = (
    "[`${e.style.left} ${e.style.top}`, [e.getBoundingClientRect().left, e.getBoundingClientRect().top]]",
    ['[data-tool="sort"]', ".model-flight canvas", "entropy"],
)


def halfway(page, what):
    read, how = what
    return page.evaluate(HALFWAY.replace("READ", read), how)


@pytest.fixture
def view(open_view, demo_trace):
    def opened(level: str):
        made = demo_trace.show(level=level, layer=2, head=8, query="it")
        return open_view(made, hash=f"#level={level}&threshold=0&layer=2&head=8&query=7")

    return opened


@pytest.mark.parametrize(("level", "what", "least"), [("head", LINES, 8), ("neuron", BARS, 4)])
def test_another_query_moves_lines_and_bars_from_where_they_were(view, level, what, least):
    page = view(level)
    seen = halfway(page, what)
    assert 0 < seen["most"] <= 250
    moved = 0
    for key, half in seen["half"].items():
        for was, now, then in zip(seen["before"].get(key, half), half, seen["after"][key], strict=True):
            low, high = sorted((was, then))
            assert low - 0.11 <= now <= high + 0.11
            moved += high - low > 1 and low + 0.2 < now < high - 0.2
    assert moved >= least  # of 24 keys; bars that hardly change stand still
    page.emulate_media(reduced_motion="reduce")
    still = halfway(page, (what[0], ['[data-token="7"]', *what[1][1:]]))
    assert still["most"] == 0
    assert still["half"] == still["after"] == seen["before"] != still["before"]


def test_another_order_moves_thumbnails_from_where_they_were(view, demo_trace):
    page = view("model")
    seen = halfway(page, THUMBS)
    assert 0 < seen["most"] <= 250
    assert len(seen["half"]) == sum(site.heads for site in demo_trace.sites)
    inside = page.locator(".model-picture").bounding_box()
    moved = 0
    for place, at in seen["half"].items():
        to = [float(one.removesuffix("px")) + inside[axis] for one, axis in zip(place.split(), "xy", strict=True)]
        moved += max(abs(one - other) for one, other in zip(at, to, strict=True)) > 3
    assert moved > 0.9 * len(seen["half"])
    assert seen["after"] == {}  # the lines are back
    assert page.locator(".model-line canvas").first.is_visible()
    page.emulate_media(reduced_motion="reduce")
    still = halfway(page, (THUMBS[0], [*THUMBS[1][:2], "layer"]))
    assert still["most"] == 0
    assert still["half"] == {}
