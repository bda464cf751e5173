"""What a page is checked for at every level: contrast, width, and what axe-core finds."""

from pathlib import Path

AXE = Path(__file__).parents[2] / "frontend" / "node_modules" / "axe-core" / "axe.min.js"
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]


def violations(page) -> list[str]:
    """What axe-core finds in the view (WCAG 2.2 A and AA, and its own good practice), a line each."""
    page.evaluate(AXE.read_text(encoding="utf-8"))
    found = page.evaluate(
        """async rules => (await axe.run(document, {runOnly: rules})).violations.map(
             v => `${v.id}: ${v.help}: ` + v.nodes.slice(0, 3).map(n => `${n.target.flat()} ${n.any.concat(n.all).map(c => c.message)}`).join(' | '))""",
        RULES,
    )
    assert isinstance(found, list)
    return found


# Contrast of every piece of text against the nearest opaque ground (WCAG 2.2, 1.4.3).
CONTRAST = """() => {
  const channel = c => { c /= 255; return c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4; };
  const parse = s => (s.match(/[\\d.]+/g) ?? []).map(Number);
  const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
  const over = (top, under) => { const a = top[3] ?? 1; return [0, 1, 2].map(i => top[i] * a + under[i] * (1 - a)); };
  const ground = e => {
    const chain = [];
    for (let n = e; n; n = n.parentElement ?? n.getRootNode().host) { chain.push(parse(getComputedStyle(n).backgroundColor)); }
    return chain.reverse().reduce((under, top) => top.length ? over(top, under) : under, [255, 255, 255]);
  };
  const root = document.querySelector('[data-attnscope]').shadowRoot, poor = [];
  for (const e of root.querySelectorAll('*')) {
    if (![...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim())) continue;
    const box = e.getBoundingClientRect(), style = getComputedStyle(e);
    if (!box.width || box.width <= 1 || style.visibility === 'hidden' || e.tagName === 'OPTION' || e.closest('[disabled]')) continue;
    let dim = 1; for (let n = e; n; n = n.parentElement) dim *= Number(getComputedStyle(n).opacity);
    const back = ground(e), ink = parse(style.color); ink[3] = (ink[3] ?? 1) * dim;
    const [a, b] = [light(over(ink, back)), light(back)];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) poor.push([e.className, e.textContent.slice(0, 30), Math.round(ratio * 100) / 100]);
  }
  return poor;
}"""


def sideways(page) -> int:
    """How far the page could be scrolled sideways, in pixels."""
    return page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
