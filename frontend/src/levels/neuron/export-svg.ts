/** The neuron level on paper: the sentence, the pair multiplied out, the keys with their numbers, the scales. */

import { count, decimals, fixed, percent } from "../../base/format";
import { escaped, sheet, tag, wrapped } from "../../base/svg";
import { isMasked } from "../../chain/chain";
import { columns } from "../../generated/words.json";
import { queryLegends } from "../../scene/legends";
import type { Picture } from "../../scene/level";
import type { Scene } from "../../scene/scene";
import { sentence } from "../../scene/sentence";
import { asText } from "../../scene/text";
import { type Column, ORDER, type Vector } from "./columns";

const WIDTH = 1000;
const LEFT = 24;
const RIGHT = WIDTH - LEFT;
const ROW = 19;
const MOST = 40; // keys with a line of their own
const DIMS = 32; // dimensions in a line of the lens
const COLUMN: Record<Column, number> = {
  token: 178,
  weight: 190,
  share: 314,
  k: 440,
  product: 584,
  dot: 776,
  score: 832,
  v: 844,
};
const STRIP = 132;
const BAR = 66;

type Cells = (values: ArrayLike<number>, end: number, x: number, y: number, width: number, height: number) => string[];

export function picture(scene: Scene): Picture {
  const { palette } = scene.ramp;
  const parts: string[] = [];
  let y = 0;
  const text = (words: string, x: number, at: number, more: Record<string, string | number> = {}) =>
    parts.push(tag("text", { x, y: at, ...more }, escaped(words)));
  const muted = { opacity: 0.7 };
  const end = { "text-anchor": "end" };
  const cells: Cells = (values, domain, x, top, width, height) =>
    Array.from(values, (value, i) => {
      const [left, across] = [x + (i * width) / values.length, Math.max(0.6, width / values.length - 0.6)];
      const at = { x: left, y: top, width: across, height };
      const fill = Number.isFinite(value) ? scene.ramp.css(value, domain) : "url(#barred)";
      const cell = tag("rect", { ...at, fill, "data-dim": i, "data-value": String(value) });
      if (!(Math.abs(value) > domain)) return cell;
      const [middle, reach] = [left + across / 2, Math.min(4, across / 2)];
      const notch = `${middle - reach},${top} ${middle + reach},${top} ${middle},${top + 4}`;
      return cell + tag("polygon", { points: notch, fill: palette.ground });
    });

  for (const line of wrapped(asText(sentence(scene)), 108)) {
    y += 24;
    text(line, LEFT, y + 8, { "font-size": 17 });
  }
  y += 30;
  text(place(scene), LEFT, y, muted);
  if (!scene.site.weights_only) y = lens(scene, y + 14, parts, cells, text);
  y = keys(scene, y + 26, parts, cells, text);

  y += 20;
  parts.push(tag("line", { x1: LEFT, x2: RIGHT, y1: y - 12, y2: y - 12, stroke: palette.ink, opacity: 0.3 }));
  const said = queryLegends(scene).map((one) =>
    one.said.map(([name, domain]) => `${name} ${domain}`.trim()).join(", "),
  );
  for (const line of wrapped(said.join(" · "), 150)) {
    y += 16;
    text(line, LEFT, y - 10, muted);
  }
  const { status, max_error, write_error } = scene.site.receipt;
  const writes = typeof write_error === "number" ? `, of the writes ${write_error.toExponential(1)}` : "";
  const receipt = `receipt: ${status}${typeof max_error === "number" ? `, largest difference ${max_error.toExponential(1)}${writes}` : ""}`;
  text(`${receipt} · attnscope ${scene.meta.versions?.attnscope ?? ""}`, LEFT, y + 6, muted);
  text("layers and heads count from 0", RIGHT, y + 6, { ...muted, ...end });

  const height = y + 24;
  const barred = tag(
    "pattern",
    { id: "barred", width: 4, height: 4, patternUnits: "userSpaceOnUse" },
    tag("rect", { width: 4, height: 2, fill: palette.ink }),
  );
  return sheet(place(scene), [WIDTH, height], palette, 12, tag("defs", {}, barred), ...parts);
}

function place({ meta, site, state, queryLabels, keyLabels, query, key }: Scene): string {
  const where = `${meta.model.name} · ${site.stack ? `${site.stack} ` : ""}layer ${site.layer}, head ${state.head}`;
  return `${where} · query “${queryLabels[query].text}” at ${query}, key “${keyLabels[key].text}” at ${key}`;
}

type Text = (words: string, x: number, y: number, more?: Record<string, string | number>) => void;

/** q, k and their product, every dimension; then the way from the sum to the weight. */
function lens(scene: Scene, top: number, parts: string[], cells: Cells, text: Text): number {
  const { domains, q, tensors, key, chain, site, ramp } = scene;
  const k = tensors.key(key);
  const rows: [string, Float32Array, number][] = [
    ["q", q, domains.q],
    ["k", k, domains.k],
    ["q × k", q.map((value, d) => value * k[d]), domains.product],
  ];
  const width = (RIGHT - LEFT - 50) / DIMS;
  let y = top;
  for (let from = 0; from < q.length; from += DIMS) {
    y += 10;
    const to = Math.min(q.length, from + DIMS);
    for (let d = from; d < to; d++)
      text(String(d), LEFT + 50 + (d - from + 0.5) * width, y, {
        "font-size": 8,
        "text-anchor": "middle",
        opacity: 0.7,
      });
    y += 3;
    for (const [name, values, end] of rows) {
      text(name, LEFT, y + 13, { "font-weight": 600 });
      const part = values.subarray(from, to);
      parts.push(tag("g", { "data-lens": name }, ...cells(part, end, LEFT + 50, y, width * part.length, 17)));
      part.forEach((value, i) => {
        const fill = Number.isFinite(value) ? ramp.on(value, end) : ramp.palette.ink;
        const at = LEFT + 50 + (i + 0.45) * width;
        text(fixed(value, decimals(end)), at, y + 12, { "font-size": 9, "text-anchor": "middle", fill });
      });
      y += 18;
    }
  }
  const at = (values: ArrayLike<number> | null) => fixed(values?.[key] ?? Number.NaN, 4);
  const links = [`q · k = ${at(chain.dot)}`, `scaled ${at(chain.scaled)}`];
  if (site.softcap !== null) links.push(`capped ${at(chain.capped)}`);
  if (chain.bias) links.push(`with bias ${at(chain.biased)}`);
  links.push(isMasked(chain, key) ? "masked" : `weight ${percent(chain.weights[key])}`);
  text(links.join(" → "), LEFT + 50, y + 20, { "font-size": 14 });
  return y + 24;
}

/** The strongest keys in the order of the text, what they come to, and what is left out. */
function keys(scene: Scene, top: number, parts: string[], cells: Cells, text: Text): number {
  const { chain, tensors, keyLabels, site, domains, ramp, scoreEnd, weightEnd } = scene;
  const strong = [...scene.keys].sort((a, b) => chain.weights[b] - chain.weights[a]).slice(0, MOST);
  const shown = [...new Set([...strong, scene.key])].sort((a, b) => a - b);
  const vectors = !site.weights_only;
  const shares = tensors.v.length > 0;
  const drawn = (column: Column) =>
    column === "v" || column === "share" ? shares : vectors || column === "token" || column === "weight";
  const bold = { "font-weight": 600 };
  const end = { "text-anchor": "end" };
  let y = top;
  for (const column of ORDER)
    if (drawn(column))
      text(columns[column].title, COLUMN[column], y, {
        ...bold,
        ...(column === "token" || column === "dot" || column === "score" ? end : {}),
      });
  y += 8;
  const bar = (part: number, column: number, opacity: number, x: string) => {
    const length = Number.isFinite(part) ? Math.min(1, part / weightEnd) * BAR : 0;
    const at = { x: column, y: y + 4, width: length, height: 11, fill: ramp.palette.ink, opacity };
    parts.push(tag("rect", { ...at, "data-col": x, "data-value": String(part) }));
    text(percent(part), column + BAR + 6, y + 13);
  };
  for (const key of shown) {
    const masked = isMasked(chain, key);
    const inner: string[] = [];
    const strip = (column: Vector, values: ArrayLike<number>, end: number) =>
      inner.push(tag("g", { "data-col": column }, ...cells(values, end, COLUMN[column], y + 2, STRIP, ROW - 4)));
    text(String(key), LEFT, y + 13, { "font-size": 10, opacity: 0.7 });
    const name = keyLabels[key].text;
    text(name.length > 22 ? `${name.slice(0, 21)}…` : name, COLUMN.token, y + 13, {
      ...end,
      "font-weight": key === scene.key ? 700 : 400,
    });
    if (vectors) {
      const k = tensors.key(key);
      strip("k", k, domains.k);
      strip(
        "product",
        scene.q.map((value, d) => value * k[d]),
        domains.product,
      );
      if (shares) strip("v", tensors.value(key), domains.v);
      parts.push(tag("g", { "data-row-key": key }, ...inner));
      text(fixed(chain.dot?.[key] ?? Number.NaN, 2), COLUMN.dot, y + 13, end);
      text(fixed(chain.biased?.[key] ?? Number.NaN, decimals(scoreEnd)), COLUMN.score, y + 13, end);
    }
    if (masked && !chain.weights[key]) text("masked", COLUMN.weight, y + 13, { opacity: 0.7 });
    else {
      bar(chain.weights[key], COLUMN.weight, 1, "weight");
      if (shares) bar(chain.share[key], COLUMN.share, 0.5, "share");
    }
    if (key === scene.key)
      parts.push(
        tag("rect", {
          x: LEFT - 6,
          y,
          width: RIGHT - LEFT + 12,
          height: ROW,
          rx: 3,
          fill: "none",
          stroke: ramp.palette.ink,
        }),
      );
    y += ROW;
  }
  const rest = scene.keys.filter((key) => !shown.includes(key));
  if (rest.length) {
    const mass = rest.reduce((sum, key) => sum + chain.weights[key], 0);
    y += ROW;
    text(`… and ${count(rest.length, "key")} with ${percent(mass)} together`, LEFT, y - 5, { opacity: 0.7 });
  }
  if (chain.hasSink) {
    y += ROW;
    text(`sink (no token): weight ${percent(chain.sink)}`, LEFT, y - 5);
  }
  return y;
}
