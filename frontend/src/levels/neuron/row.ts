/** One line of the table; made once, filled again and again while the reader scrolls. */

import { h, setAttribute, setText } from "../../base/dom";
import { count, decimals, fixed, percent } from "../../base/format";
import { setBar } from "../../base/motion";
import { drawStrip } from "../../base/scale";
import { isMasked } from "../../chain/chain";
import type { Label } from "../../scene/labels";
import type { Scene } from "../../scene/scene";
import { setToken } from "../../scene/token-element";
import { type Column, isVector, type Layout } from "./columns";
import type { Line } from "./folding";

export const ROW_HEIGHT = 24;
export const STRIP_HEIGHT = 16;

/** A word with this token in full ink and the rest of it pale. */
export function tokenText(label: Label): (HTMLElement | string)[] {
  if (!label.before && !label.after) return [label.text];
  return [h("span", { class: "rest" }, label.before), label.text, h("span", { class: "rest" }, label.after)];
}

interface Cell {
  element: HTMLElement;
  canvas?: HTMLCanvasElement;
  number?: HTMLElement;
  bar?: HTMLElement;
}

/** What a strip was drawn from; an unchanged one is not drawn again. */
type Drawn = { values: unknown; key: number; domain: number; width: number; ramp: unknown; query: number };

export class RowView {
  readonly element = h("div", { class: "row", role: "row" });
  private cells = new Map<Column, Cell>();
  private layout: Layout | null = null;
  private readonly drawn = new Map<Column, Drawn>();
  private kind = "";
  private label: Label | null = null;
  private shown: { key: number; scene: Scene } | null = null;
  /** The key stays and the query is another: bars go from where they were. */
  private moves = false;

  constructor(private readonly id: string) {}

  /** It shows this key already, though perhaps with the numbers of another query. */
  has(line: Line): boolean {
    return line.kind === "key" && this.kind === "key" && this.element.dataset.rowKey === String(line.key);
  }

  cell(column: Column): HTMLElement | undefined {
    return this.cells.get(column)?.element;
  }

  fill(line: Line, index: number, top: number, scene: Scene, layout: Layout): void {
    const { element } = this;
    if (this.layout?.columns.join() !== layout.columns.join() || this.kind !== line.kind) this.build(line.kind, layout);
    this.layout = layout;
    element.style.top = `${top}px`;
    setAttribute(element, "aria-rowindex", String(index + 2));
    element.dataset.line = String(index);
    if (line.kind === "key") this.fillKey(line.key, scene, layout);
    else if (line.kind === "sink") this.fillSink(scene);
    else this.fillFold(line);
  }

  private build(kind: Line["kind"], layout: Layout): void {
    this.kind = kind;
    this.cells.clear();
    this.drawn.clear();
    this.label = null;
    const { element } = this;
    element.className = `row row-${kind}`;
    element.removeAttribute("data-row-key");
    const parts: HTMLElement[] = [];
    if (kind === "fold") {
      const cell = h("div", {
        class: "cell-fold",
        role: "gridcell",
        "data-col": "token",
        id: `${this.id}-token`,
        "aria-colspan": layout.columns.length,
      });
      this.cells.set("token", { element: cell });
      parts.push(cell);
    } else {
      layout.columns.forEach((column, i) => {
        const cell = this.makeCell(column, kind);
        setAttribute(cell.element, "aria-colindex", String(i + 1));
        this.cells.set(column, cell);
        parts.push(cell.element);
      });
    }
    element.replaceChildren(...parts);
  }

  private makeCell(column: Column, kind: Line["kind"]): Cell {
    const element = h("div", {
      class: `c c-${column}`,
      role: "gridcell",
      "data-col": column,
      id: `${this.id}-${column}`,
    });
    if (column === "token") {
      const position = h("span", { class: "position" });
      const number = h("span", { class: "tok", dir: "auto" });
      element.append(position, number);
      return { element, number, bar: position };
    }
    if (isVector(column)) {
      if (kind === "sink") return { element };
      const canvas = h("canvas", { "aria-hidden": "true" });
      element.append(canvas);
      return { element, canvas };
    }
    const number = h("span", { class: "n" });
    element.append(number);
    if (column === "dot") return { element, number };
    const bar = h("i", { class: `bar bar-${column}` });
    element.append(h("span", { class: `track track-${column}` }, bar));
    return { element, number, bar };
  }

  private fillKey(key: number, scene: Scene, layout: Layout): void {
    const { chain, keyLabels, tensors, domains, site } = scene;
    const { element } = this;
    const label = keyLabels[key];
    const masked = isMasked(chain, key);
    const before = this.shown?.key === key ? this.shown.scene : null;
    this.moves = before?.tensors === tensors && before.query !== scene.query;
    this.shown = { key, scene };
    element.dataset.rowKey = String(key);
    element.classList.toggle("pinned", key === scene.key);
    element.classList.toggle("is-query", site.kind === "self" && key === scene.query);
    element.classList.toggle("masked", masked);
    element.classList.toggle("generated", key === scene.meta.tokens[site.key_tokens].border);
    const aside = scene.aside.keys[key] === 1;
    element.classList.toggle("special", aside);
    element.classList.toggle("dimmed", aside && scene.dimSpecial && key !== scene.key && key !== scene.query);
    setAttribute(element, "aria-selected", String(key === scene.key));
    const token = this.cells.get("token");
    if (token?.number && token.bar && this.label !== label) {
      this.label = label;
      setText(token.bar, String(key));
      setToken(token.number, label.text, ...tokenText(label));
    }
    this.strip("k", tensors.k, () => tensors.key(key), key, -1, domains.k, scene, layout);
    this.strip(
      "product",
      tensors.k,
      () => product(scene.q, tensors.key(key)),
      key,
      scene.query,
      domains.product,
      scene,
      layout,
    );
    this.strip("v", tensors.v, () => tensors.value(key), key, -1, domains.v, scene, layout);
    if (chain.dot && chain.biased) {
      this.number("dot", fixed(chain.dot[key], decimals(Math.max(1, Math.abs(chain.dot[key])))), chain.dot[key]);
      this.number("score", masked ? "masked" : fixed(chain.biased[key], 2), chain.biased[key]);
      this.scoreBar(masked ? 0 : chain.biased[key], scene.scoreEnd);
    }
    const none = masked && !(chain.weights[key] > 0);
    this.number("weight", none ? "masked" : percent(chain.weights[key]), chain.weights[key]);
    this.partBar("weight", chain.weights[key], scene.weightEnd);
    this.number("share", none ? "masked" : percent(chain.share[key]), chain.share[key]);
    this.partBar("share", chain.share[key], scene.weightEnd);
  }

  private fillSink(scene: Scene): void {
    const token = this.cells.get("token");
    if (token?.number && token.bar) {
      setText(token.bar, "");
      setText(token.number, "sink (no token)");
    }
    this.element.dataset.row = "sink";
    this.number("weight", percent(scene.chain.sink), scene.chain.sink);
    this.partBar("weight", scene.chain.sink, scene.weightEnd);
  }

  private fillFold(line: Extract<Line, { kind: "fold" }>): void {
    const { keys, weight, masked, open } = line;
    const what =
      masked === keys.length ? "masked" : `${percent(weight)} together${masked ? `, ${masked} of them masked` : ""}`;
    const cell = this.cells.get("token") as Cell;
    const { group } = line;
    const name = group ? `${group.name}: ` : "";
    const share = group ? `, share ${percent(group.share)}` : "";
    setText(cell.element, `${open ? "▾" : "▸"} ${name}${count(keys.length, "key")}, ${what}${share}`);
    cell.element.style.paddingInlineStart = group ? `${8 + group.depth * 14}px` : "";
    cell.element.classList.toggle("of-group", group !== undefined);
    this.element.dataset.fold = String(line.id);
    setAttribute(this.element, "aria-expanded", String(open));
  }

  private strip(
    column: Column,
    values: Float32Array,
    read: () => Float32Array,
    key: number,
    query: number,
    domain: number,
    scene: Scene,
    layout: Layout,
  ): void {
    const cell = this.cells.get(column);
    if (!cell?.canvas || values.length === 0) return;
    const strip = column === "v" ? layout.value : layout.key;
    const old = this.drawn.get(column);
    const width = strip.cell * 10_000 + strip.cells;
    if (
      old &&
      old.values === values &&
      old.key === key &&
      old.query === query &&
      old.domain === domain &&
      old.width === width &&
      old.ramp === scene.ramp
    )
      return;
    this.drawn.set(column, { values, key, query, domain, width, ramp: scene.ramp });
    drawStrip(cell.canvas, read(), strip, domain, scene.ramp, STRIP_HEIGHT);
  }

  private number(column: Column, text: string, value: number): void {
    const cell = this.cells.get(column);
    if (!cell?.number) return;
    setText(cell.number, text);
    cell.element.dataset.value = String(value);
    cell.element.classList.toggle("broken", !Number.isFinite(value));
  }

  private partBar(column: "weight" | "share", part: number, end: number): void {
    const bar = this.cells.get(column)?.bar;
    if (!bar) return;
    const length = Number.isFinite(part) ? Math.min(1, part / end) : 0;
    bar.classList.toggle("beyond", part > end * 1.0001);
    setBar(bar, length, part >= 0.0005 ? `max(1px, ${(length * 100).toFixed(2)}%)` : "0", this.moves);
  }

  private scoreBar(score: number, end: number): void {
    const bar = this.cells.get("score")?.bar;
    if (!bar) return;
    const length = Number.isFinite(score) ? Math.min(1, Math.abs(score) / end) * 50 : 0;
    bar.style.width = `${length.toFixed(2)}%`;
    bar.style.left = score < 0 ? `${(50 - length).toFixed(2)}%` : "50%";
    bar.classList.toggle("negative", score < 0);
  }
}

let buffer = new Float32Array(0);

/** q × k into one buffer that is drawn at once and used again. */
export function product(q: Float32Array, k: Float32Array): Float32Array {
  if (buffer.length !== q.length) buffer = new Float32Array(q.length);
  for (let d = 0; d < q.length; d++) buffer[d] = q[d] * k[d];
  return buffer;
}
