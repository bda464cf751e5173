"""The one style and the one script of the report; its policy allows them by their hashes."""

from attnscope.render.figures.colours import PAGE


def _colours(theme: str) -> str:
    return "".join(f"--{name}:{colour};" for name, colour in PAGE[theme].items())


STYLE = (
    f"""
:root {{ color-scheme: light dark; {_colours("light")} }}
@media (prefers-color-scheme: dark) {{ :root {{ {_colours("dark")} }} }}
"""
    """
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 74rem; padding: 2.5rem 1.5rem 4rem; background: var(--ground); color: var(--text);
  font: 16px/1.5 system-ui, sans-serif; }
h1 { margin: 0 0 .5rem; font-size: 1.75rem; line-height: 1.2; letter-spacing: -.01em; text-wrap: balance; }
h2 { margin: 3rem 0 .25rem; font-size: 1.2rem; }
p { margin: .25rem 0; }
.lead, .note, .about { max-width: 46rem; color: var(--muted); }
.note { font-size: .9rem; }
ol.claims { margin: 0; padding: 0; list-style: none; }
.claims li { display: grid; grid-template-columns: minmax(0, 1fr) 212px; gap: .1rem 2rem; padding: 1.15rem 0 1rem;
  border-bottom: 1px solid var(--line); }
.claims h3 { margin: 0; font-size: 1.05rem; font-weight: 600; }
.claims .head { font-weight: 400; color: var(--muted); font-variant-numeric: tabular-nums; }
.claims .evidence { grid-column: 1; max-width: 44rem; font-size: .92rem; color: var(--muted); }
.claims .big { grid-column: 2; grid-row: 1 / span 2; text-align: right; }
.claims .big b { display: block; font-size: 1.35rem; line-height: 1.3; font-variant-numeric: tabular-nums; }
dl.examples { grid-column: 1 / -1; display: grid; grid-template-columns: 8.5rem minmax(0, 1fr); gap: .3rem 1rem; margin: .6rem 0 0;
  font-size: .95rem; }
.examples dt { color: var(--muted); font-size: .85rem; line-height: 1.45rem; }
.examples dd { margin: 0; overflow-wrap: anywhere; }
.query { padding: 0 .25em; border: 1.5px solid var(--text); border-radius: 4px; }
.top { font-weight: 650; text-decoration: underline; text-decoration-thickness: 2.5px; text-underline-offset: 3px; text-decoration-skip-ink: none; }
.weight { white-space: nowrap; }
.right { text-decoration: underline dotted; text-decoration-thickness: 2px; text-underline-offset: 3px; }
a { color: inherit; text-underline-offset: 3px; }
a.open { margin-left: .6em; color: var(--muted); font-size: .85rem; white-space: nowrap; }
a:hover { color: var(--text); }
:focus-visible { outline: 2px solid var(--text); outline-offset: 2px; border-radius: 2px; }
.strip { display: block; max-width: 100%; overflow: visible; }
.big .strip { margin-left: auto; }
.axis { stroke: var(--line); stroke-width: 2; }
.interval { stroke: var(--ink); stroke-width: 4; stroke-opacity: .45; stroke-linecap: round; }
.offset { stroke: var(--muted); stroke-width: 2; }
.word { fill: var(--ground); stroke: var(--muted); stroke-width: 1.5; }
.dot { fill: var(--text); stroke: var(--ground); stroke-width: 1; }
.legend { display: flex; flex-wrap: wrap; gap: .2rem 1.4rem; margin: .6rem 0; font-size: .85rem; color: var(--muted); }
.legend span { display: inline-flex; align-items: center; gap: .45em; }
table { width: 100%; border-collapse: collapse; font-size: .88rem; font-variant-numeric: tabular-nums; }
th { position: sticky; top: 0; background: var(--ground); text-align: left; vertical-align: bottom; font-weight: 600; line-height: 1.25; z-index: 1; }
th, td { padding: .3rem .8rem .3rem 0; border-bottom: 1px solid var(--line); }
td { white-space: nowrap; }
td:nth-child(2), td.offset-cell { white-space: normal; }
td.offset-cell { min-width: 6.9rem; }
th.p, th.all, th.measure { max-width: 5.2rem; }
td.strip-cell { min-width: 165px; }
td.word-cell { max-width: 8.5rem; overflow: hidden; text-overflow: ellipsis; }
th:first-child { white-space: nowrap; }
td.number, th.number { text-align: right; }
th button { all: unset; cursor: pointer; padding: .3rem 0; }
th button:focus-visible { outline: 2px solid var(--text); outline-offset: 2px; }
th button::after { content: " ↕"; color: var(--strong-line); }
th[aria-sort=ascending] button::after { content: " ↑"; color: var(--text); }
th[aria-sort=descending] button::after { content: " ↓"; color: var(--text); }
tbody tr:hover { background: var(--zero); }
tr.claimed td:first-child { font-weight: 650; }
tr:not(.claimed) td { color: var(--muted); }
tr:not(.claimed) .dot { fill: var(--pale-ink); }
.yes::before { content: "✓"; color: var(--text); }
.chosen-order { display: none; }
@media (max-width: 1180px) and (min-width: 1061px) { .measure { display: none; } }
@media (max-width: 1060px) {
  thead { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
  .chosen-order { display: flex; align-items: center; gap: .6em; margin: .8rem 0; font-size: .9rem; }
  .chosen-order select { font: inherit; min-height: 2.2rem; background: var(--raised); color: inherit; border: 1px solid var(--strong-line); border-radius: 4px; }
  tbody tr { display: grid; grid-template-columns: 4.2rem minmax(0, 1fr) 200px; gap: 0 .8rem; padding: .5rem 0; border-bottom: 1px solid var(--line); }
  td { padding: 0; border: 0; white-space: normal; }
  td.strip-cell { min-width: 0; }
  td.number { text-align: left; }
  td.share { grid-column: 2; }
  td.strip-cell { grid-column: 3; grid-row: 1; align-self: center; }
  td[data-label]::before { content: attr(data-label) " "; color: var(--muted); font-weight: 400; }
  td.offset-cell, td.word-cell { grid-column: 2 / -1; }
  td.p, td.all { grid-column: auto; }
  td.p { grid-column: 2; }
  td.offset-cell { min-width: 0; }
  td.measure { grid-column: 2; }
  td.measure + td.measure { grid-column: 3; }
  td:empty, td.mark { display: none; }
}
@media (max-width: 560px) {
  body { padding: 1.5rem 1rem 3rem; }
  h1 { font-size: 1.4rem; }
  .claims li { grid-template-columns: minmax(0, 1fr); }
  .claims .big { grid-column: 1; grid-row: auto; display: flex; flex-direction: row-reverse; justify-content: space-between; align-items: center; gap: 1rem; text-align: left; }
  .big .strip { margin: 0; min-width: 0; }
  .claims .big b { font-size: 1.1rem; white-space: nowrap; }
  dl.examples { grid-template-columns: minmax(0, 1fr); gap: 0; }
  .examples dt { margin-top: .35rem; }
  tbody tr { grid-template-columns: 3.6rem minmax(0, 1fr); }
  td.strip-cell { grid-column: 2; grid-row: auto; }
  td.share, td.all { grid-column: 2; }
  td.measure { display: none; }
}
@media print { th { position: static; } a.open { display: none; } .claims li, tr { break-inside: avoid; } }
"""
)

# Sorts the rows of the table by the number, or the text, that each cell carries.
SCRIPT = """
const table = document.querySelector("table"), body = table.tBodies[0];
const heads = [...table.tHead.rows[0].cells], menu = document.querySelector("select");
const value = (row, at) => row.cells[at].dataset.sort ?? "";
function sort(at, down) {
  const sign = down ? -1 : 1;
  const rows = [...body.rows].sort((a, b) => {
    const [x, y] = [value(a, at), value(b, at)];
    if (x === "" || y === "") return (x === "") - (y === "");
    return sign * (isNaN(x) || isNaN(y) ? x.localeCompare(y) : x - y);
  });
  body.append(...rows);
  heads.forEach((head, i) => (i === at ? head.setAttribute("aria-sort", down ? "descending" : "ascending") : head.removeAttribute("aria-sort")));
}
heads.forEach((head, at) => {
  if (!head.dataset.first) return;
  const button = document.createElement("button");
  button.type = "button";
  button.append(...head.childNodes);
  head.append(button);
  button.addEventListener("click", () => {
    const now = head.getAttribute("aria-sort");
    sort(at, now ? now === "ascending" : head.dataset.first === "down");
  });
});
menu.addEventListener("change", () => sort(Number(menu.value), heads[menu.value].dataset.first === "down"));
menu.parentElement.hidden = false;
"""
