"use strict";
// The index of an atlas: a scatter on a canvas, and a list of which only the rows in sight exist.
const data = JSON.parse(document.getElementById("data").textContent);
const find = (selector) => document.querySelector(selector);
const { heads, statistics, roles } = data;
const names = heads.map(([layer, head]) => `L${layer}H${head}`);
const byName = new Map(statistics.map((one) => [one.name, one]));
const rolesOf = (i) => roles[i] ?? [];
const best = (i) => Math.max(-1, ...rolesOf(i).filter(([, , rests]) => !rests).map(([, , , value]) => value));
// what the search looks through
const texts = names.map((name, i) => `${name} layer ${heads[i][0]} head ${heads[i][1]} ${rolesOf(i).map(([role, said]) => `${role} ${said}`).join(" ")}`.toLowerCase());
const ROW = 30;
const pages = (i) => `heads/${names[i]}.html`;

const state = { x: data.first[0], y: data.first[1], find: "", sort: "y", down: true };
let order = heads.map((_, i) => i);
let matching = order;
let cursor = 0; // place in `matching`
let under = -1; // the head under the pointer

const [plot, canvas, tip, rows, columns] = [".plot", "canvas", ".tip", ".rows", ".columns"].map(find);
const [xMenu, yMenu, search] = ["[data-axis=x]", "[data-axis=y]", "input"].map(find);
const context = canvas.getContext("2d");

function element(tag, attributes, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) if (value !== null) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

function written(value, unit) {
  if (value === null) return "–";
  if (unit === "part") return value === 0 ? "0 %" : value > 0 && value < 0.0005 ? "<0.1 %" : `${(100 * value).toFixed(1)} %`;
  return value.toFixed(unit === "tokens" || unit === "patches" ? 1 : 2);
}

const full = ({ title, unit }) => (unit && unit !== "part" ? `${title}, ${unit}` : title);

// --- the address keeps what is shown
function readAddress() {
  const given = new URLSearchParams(location.hash.slice(1));
  for (const name of ["x", "y"]) if (byName.has(given.get(name))) state[name] = given.get(name);
  if (["head", "x", "y", "role"].includes(given.get("sort"))) state.sort = given.get("sort");
  if (given.has("up")) state.down = false;
  state.find = given.get("find") ?? state.find;
}

function writeAddress() {
  const kept = new URLSearchParams({ x: state.x, y: state.y, sort: state.sort });
  if (!state.down) kept.set("up", "");
  if (state.find) kept.set("find", state.find);
  history.replaceState(null, "", `#${kept}`);
}

// --- order and search
function sortedAndFound() {
  const values = { x: byName.get(state.x).values, y: byName.get(state.y).values }[state.sort];
  const key = values ? (i) => values[i] : state.sort === "role" ? best : (i) => i;
  const keys = heads.map((_, i) => key(i) ?? Number.NaN);
  const sign = state.down ? -1 : 1;
  order = heads.map((_, i) => i).sort((a, b) => {
    const [p, q] = [keys[a], keys[b]];
    if (p !== p || q !== q) return (p !== p) - (q !== q) || a - b; // without a number: last
    return sign * (p - q) || a - b;
  });
  const words = state.find.toLowerCase().split(/\s+/).filter(Boolean);
  matching = words.length ? order.filter((i) => words.every((word) => (/^l\d+h\d+$/.test(word) ? names[i].toLowerCase() === word : texts[i].includes(word)))) : order;
  cursor = 0;
}

// --- the list
function header() {
  const title = { head: "head", x: byName.get(state.x).title, y: byName.get(state.y).title, role: "roles" };
  columns.replaceChildren(
    ...Object.entries(title).map(([name, text]) => {
      const on = state.sort === name;
      const button = element("button", { type: "button", class: name === "x" || name === "y" ? "n" : "", "aria-pressed": String(on), "data-sort": name }, `${text}${on ? (state.down ? " ↓" : " ↑") : ""}`);
      button.addEventListener("click", () => {
        state.down = on ? !state.down : name !== "head";
        state.sort = name;
        update();
        find(`[data-sort=${name}]`).focus();
      });
      return button;
    }),
  );
}

function badges(i) {
  return rolesOf(i).flatMap(([name, said, rests]) => [element("span", { class: rests ? "rests" : "badge", title: said }, name), " "]);
}

function drawRows() {
  const first = Math.max(0, Math.floor(rows.scrollTop / ROW) - 5);
  const last = Math.min(matching.length, first + Math.ceil(rows.clientHeight / ROW) + 10);
  const [x, y] = [byName.get(state.x), byName.get(state.y)];
  const made = [element("div", {})];
  made[0].style.height = `${matching.length * ROW}px`;
  for (let at = first; at < last; at++) {
    const i = matching[at];
    const row = element(
      "a",
      { class: at === cursor ? "row here" : "row", href: pages(i), role: "option", id: `row-${i}`, tabindex: "-1", "aria-selected": String(at === cursor), "data-head": names[i] },
      element("b", { class: "num" }, names[i]),
      element("span", { class: "n num" }, written(x.values[i], x.unit)),
      element("span", { class: "n num" }, written(y.values[i], y.unit)),
      element("span", { class: "of" }, ...badges(i)),
    );
    row.style.top = `${at * ROW}px`;
    made.push(row);
  }
  if (!matching.length) made.push(element("p", { class: "none" }, "No head fits. A name (L2H8), a layer (layer 3) or a role (obj) finds some."));
  rows.replaceChildren(...made);
  rows.setAttribute("aria-activedescendant", matching.length ? `row-${matching[cursor]}` : "");
}

// --- the scatter
const EDGE = { left: 54, right: 14, top: 26, bottom: 40 };
let placed = { x: new Float32Array(0), y: new Float32Array(0) };

function ticks(low, high, count) {
  const rough = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((n) => n * power).find((n) => n >= rough);
  const found = [];
  for (let at = Math.ceil(low / step) * step; at <= high + step * 1e-6; at += step) found.push(at);
  return found;
}

function reach({ values, unit }) {
  let [low, high] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];
  for (const value of values) if (value !== null) [low, high] = [Math.min(low, value), Math.max(high, value)];
  if (low > high) return [0, 1];
  if (unit === "part") low = 0;
  const room = (high - low || 1) * 0.03;
  return [low - room, high + room];
}

function drawPlot() {
  const { clientWidth: width, clientHeight: height } = canvas;
  const ratio = devicePixelRatio || 1;
  [canvas.width, canvas.height] = [Math.round(width * ratio), Math.round(height * ratio)];
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  const style = getComputedStyle(document.documentElement);
  const colour = (name) => style.getPropertyValue(`--${name}`).trim();
  const [x, y] = [byName.get(state.x), byName.get(state.y)];
  const [[xLow, xHigh], [yLow, yHigh]] = [reach(x), reach(y)];
  const [w, h] = [width - EDGE.left - EDGE.right, height - EDGE.top - EDGE.bottom];
  const atX = (value) => EDGE.left + ((value - xLow) / (xHigh - xLow)) * w;
  const atY = (value) => EDGE.top + h - ((value - yLow) / (yHigh - yLow)) * h;
  context.font = "11px system-ui, sans-serif";
  context.lineWidth = 1;
  context.strokeStyle = colour("line");
  context.fillStyle = colour("muted");
  const label = (value, { unit }) => (unit === "part" ? `${+(100 * value).toFixed(2)} %` : String(+value.toFixed(4)));
  context.beginPath();
  context.textAlign = "center";
  for (const value of ticks(xLow, xHigh, width < 500 ? 4 : 7)) {
    context.moveTo(Math.round(atX(value)) + 0.5, EDGE.top);
    context.lineTo(Math.round(atX(value)) + 0.5, EDGE.top + h);
    context.fillText(label(value, x), atX(value), EDGE.top + h + 15);
  }
  context.textAlign = "right";
  for (const value of ticks(yLow, yHigh, 6)) {
    context.moveTo(EDGE.left, Math.round(atY(value)) + 0.5);
    context.lineTo(EDGE.left + w, Math.round(atY(value)) + 0.5);
    context.fillText(label(value, y), EDGE.left - 6, atY(value) + 4);
  }
  context.stroke();
  context.fillStyle = colour("text");
  context.font = "12px system-ui, sans-serif";
  context.fillText(`${full(x)} →`, EDGE.left + w, height - 6);
  context.textAlign = "left";
  context.fillText(`↑ ${full(y)}`, 6, 12);
  placed = { x: new Float32Array(heads.length).fill(Number.NaN), y: new Float32Array(heads.length).fill(Number.NaN) };
  const some = matching.length < heads.length;
  const shown = some ? new Set(matching) : null;
  const size = heads.length > 4000 ? 2 : heads.length > 800 ? 2.6 : 3.4;
  // faint ones first, then those that fit the search, then those with a role
  const groups = [[], [], []];
  for (let i = 0; i < heads.length; i++) {
    if (x.values[i] === null || y.values[i] === null) continue;
    [placed.x[i], placed.y[i]] = [atX(x.values[i]), atY(y.values[i])];
    groups[shown && !shown.has(i) ? 0 : best(i) >= 0 ? 2 : 1].push(i);
  }
  [["pale-ink", 0.25], ["pale-ink", some ? 1 : 0.75], ["text", 1]].forEach(([name, alpha], n) => {
    context.globalAlpha = alpha;
    context.fillStyle = colour(some && n === 1 ? "text" : name);
    context.beginPath();
    for (const i of groups[n]) {
      const radius = size + (n === 2 ? 0.8 : 0);
      context.moveTo(placed.x[i] + radius, placed.y[i]);
      context.arc(placed.x[i], placed.y[i], radius, 0, 2 * Math.PI);
    }
    context.fill();
  });
  context.globalAlpha = 1;
  const ring = under >= 0 ? under : (document.activeElement === rows ? matching[cursor] : -1) ?? -1;
  if (ring >= 0 && placed.x[ring] === placed.x[ring]) {
    context.strokeStyle = colour("text");
    context.lineWidth = 2;
    context.beginPath();
    context.arc(placed.x[ring], placed.y[ring], 8, 0, 2 * Math.PI);
    context.stroke();
  }
  showTip(ring);
}

function showTip(i) {
  tip.hidden = !(i >= 0 && placed.x[i] === placed.x[i]);
  if (tip.hidden) return;
  const [x, y] = [byName.get(state.x), byName.get(state.y)];
  tip.replaceChildren(
    element("a", { href: pages(i), tabindex: "-1" }, names[i]),
    ...[x, y].map((one) => element("div", {}, `${one.title} ${written(one.values[i], one.unit)}`)),
    element("div", {}, ...badges(i)),
  );
  const left = placed.x[i] > canvas.clientWidth / 2;
  tip.style.left = left ? "" : `${placed.x[i] + 14}px`;
  tip.style.right = left ? `${canvas.clientWidth - placed.x[i] + 14}px` : "";
  tip.style.top = `${Math.min(Math.max(0, placed.y[i] - 20), canvas.clientHeight - 90)}px`;
}

function nearest(event) {
  const { left, top } = canvas.getBoundingClientRect();
  const [px, py] = [event.clientX - left, event.clientY - top];
  let [found, closest] = [-1, 20 * 20];
  for (const i of matching) {
    const distance = (placed.x[i] - px) ** 2 + (placed.y[i] - py) ** 2;
    if (distance < closest) [found, closest] = [i, distance];
  }
  return found;
}

// --- together
function update() {
  sortedAndFound();
  header();
  rows.scrollTop = 0;
  drawRows();
  drawPlot();
  const [x, y] = [byName.get(state.x), byName.get(state.y)];
  find(".about").textContent = [...new Set([x, y])].map((one) => `${one.title[0].toUpperCase()}${one.title.slice(1)}: ${one.words}`).join(" ");
  find(".count").textContent = matching.length === heads.length ? "" : `${matching.length.toLocaleString("en")} of ${heads.length.toLocaleString("en")} heads`;
  writeAddress();
}

for (const [menu, axis] of [[xMenu, "x"], [yMenu, "y"]]) {
  menu.append(...statistics.map(({ name, title }) => element("option", { value: name }, title)));
  menu.addEventListener("change", () => {
    state[axis] = menu.value;
    update();
  });
}
search.addEventListener("input", () => {
  state.find = search.value;
  update();
});
rows.addEventListener("scroll", drawRows, { passive: true });
for (const name of ["focus", "blur"]) rows.addEventListener(name, drawPlot);
rows.addEventListener("keydown", (event) => {
  const by = Math.max(1, Math.floor(rows.clientHeight / ROW) - 1);
  const to = { ArrowDown: cursor + 1, ArrowUp: cursor - 1, PageDown: cursor + by, PageUp: cursor - by, Home: 0, End: matching.length - 1 }[event.key];
  if (event.key === "Enter" && matching.length) location.href = pages(matching[cursor]);
  if (to === undefined || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  cursor = Math.max(0, Math.min(matching.length - 1, to));
  const top = cursor * ROW;
  if (top < rows.scrollTop) rows.scrollTop = top;
  if (top + ROW > rows.scrollTop + rows.clientHeight) rows.scrollTop = top + ROW - rows.clientHeight;
  under = -1;
  drawRows();
  drawPlot();
});
let touch = false;
canvas.addEventListener("pointerdown", (event) => {
  touch = event.pointerType === "touch";
});
canvas.addEventListener("pointermove", (event) => {
  const found = nearest(event);
  if (found === under) return;
  under = found;
  drawPlot();
});
canvas.addEventListener("pointerleave", (event) => {
  if (event.pointerType === "touch") return; // what was touched stays, with its link
  under = -1;
  drawPlot();
});
canvas.addEventListener("click", (event) => {
  const found = nearest(event);
  if (touch) {
    under = found;
    drawPlot();
  } else if (found >= 0) location.href = pages(found);
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawPlot);
readAddress();
xMenu.value = state.x;
yMenu.value = state.y;
search.value = state.find;
for (const part of document.querySelectorAll("[hidden]:not(.tip)")) part.hidden = false;
update();
new ResizeObserver(() => {
  drawRows();
  drawPlot();
}).observe(plot);
document.documentElement.dataset.drawn = performance.now().toFixed(1);
