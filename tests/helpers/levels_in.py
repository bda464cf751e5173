"""Levels of a view in a browser: which there are, and a view opened on one."""

from browser_tools import settled, until


def levels_there(page) -> list[str]:
    """The levels that the switch offers, outermost first; the two drawings of a head count as two."""
    return page.evaluate(
        """() => { const root = document.querySelector('[data-attnscope]').shadowRoot;
             const drawings = [...root.querySelectorAll('[data-drawing]')].map(b => b.dataset.drawing);
             return [...root.querySelectorAll('[data-level-switch]')].flatMap(
               b => b.dataset.levelSwitch === 'head' && drawings.length ? drawings : [b.dataset.levelSwitch]); }"""
    )


def switch_to(page, level: str) -> None:
    """Go to a level by its button, and wait until it is drawn."""
    drawn = page.locator("[data-attnscope]").get_attribute("data-drawn")
    if page.locator("main").get_attribute("data-shows") == level:
        return
    if level in ("head", "matrix"):
        page.locator('[data-level-switch="head"]').click()
        if page.locator("main").get_attribute("data-shows") != level:
            page.locator(f'[data-drawing="{level}"]').click()
    else:
        page.locator(f'[data-level-switch="{level}"]').click()
    until(
        page,
        "([level, drawn]) => { const e = document.querySelector('[data-attnscope]'); return e.dataset.drawn !== drawn && e.shadowRoot.querySelector('main').dataset.shows === level }",
        arg=[level, drawn],
    )
    settled(page)


def open_level(open_view, view, level: str, **options):
    """The view's page, looking at a level."""
    page = open_view(view, **options)
    assert level in levels_there(page)
    switch_to(page, level)
    return page
