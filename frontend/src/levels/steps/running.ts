/** The running dot product: q × k added up dimension by dimension, as far as the reader has stepped. */

import { button, h, setAttribute, setText } from "../../base/dom";
import { precise } from "../../base/format";
import type { Actions } from "../../scene/level";
import type { Scene } from "../../scene/scene";

const WIDTH = 640;
const HEIGHT = 132;
const SVG = "http://www.w3.org/2000/svg";

export class Running {
  readonly element = h("div", { class: "running", "data-running": true });
  private readonly svg = document.createElementNS(SVG, "svg");
  private readonly slider: HTMLInputElement;
  private readonly words = h("p", { class: "running-words", "aria-live": "polite" });
  private readonly back: HTMLButtonElement;
  private readonly forth: HTMLButtonElement;
  private readonly whole: HTMLButtonElement;
  private scene: Scene | null = null;

  constructor(private readonly actions: Actions) {
    this.slider = h("input", {
      type: "range",
      min: 0,
      step: 1,
      "aria-label": "added up to this dimension",
      "data-slider": true,
    });
    this.slider.addEventListener("input", () => this.to(Number(this.slider.value)));
    const attributes = { class: "tool", "data-dim-step": "" };
    this.back = button("‹ one back", { ...attributes, "data-dim-step": "back" }, () => this.to(this.dim - 1));
    this.forth = button("one more ›", { ...attributes, "data-dim-step": "forth" }, () => this.to(this.dim + 1));
    this.whole = button("all", { ...attributes, "data-dim-step": "all" }, () => this.actions.set({ dim: null }));
    setAttribute(this.svg, "viewBox", `0 0 ${WIDTH} ${HEIGHT}`);
    setAttribute(this.svg, "role", "img");
    this.svg.addEventListener("click", (event) => {
      const box = this.svg.getBoundingClientRect();
      this.to(Math.floor(((event.clientX - box.left) / box.width) * this.size));
    });
    this.element.append(
      this.svg,
      h("div", { class: "running-tools" }, this.back, this.slider, this.forth, this.whole),
      this.words,
    );
  }

  draw(scene: Scene): void {
    this.scene = scene;
    const { dim, size } = this;
    const { q, k } = this.vectors();
    this.slider.max = String(size - 1);
    this.slider.value = String(dim);
    this.back.disabled = dim <= 0;
    this.forth.disabled = dim >= size - 1;
    setAttribute(this.whole, "aria-pressed", String(scene.state.dim === null));
    const sums = new Float64Array(size);
    for (let d = 0, sum = 0; d < size; d++) sums[d] = sum += q[d] * k[d];
    const before = dim > 0 ? sums[dim - 1] : 0;
    const product = q[dim] * k[dim];
    const value = (text: string, number: number, name: string) =>
      h("b", { class: "num", "data-value": String(number), "data-running-part": name }, text);
    const signed = product < 0 ? `− ${precise(-product)}` : `+ ${precise(product)}`;
    this.words.replaceChildren(
      h("span", { class: "role" }, `dimension ${dim}: `),
      `q[${dim}] · k[${dim}] = ${precise(q[dim])} · ${k[dim] < 0 ? `(${precise(k[dim])})` : precise(k[dim])} = `,
      value(precise(product), product, "product"),
      h(
        "span",
        { class: "role" },
        dim === size - 1 ? `   all ${size} added up: ` : `   ${dim + 1} of ${size} added up: `,
      ),
      `${precise(before)} ${signed} = `,
      value(precise(sums[dim]), sums[dim], "sum"),
    );
    setAttribute(this.slider, "aria-valuetext", `dimension ${dim}: sum ${precise(sums[dim])}`);
    setAttribute(
      this.svg,
      "aria-label",
      `q × k in each of ${size} dimensions as bars, and their running sum as a line, up to dimension ${dim}: ${precise(sums[dim])}`,
    );
    this.chart(q, k, sums, dim);
  }

  private get size(): number {
    return this.scene?.site.head_size ?? 1;
  }

  private get dim(): number {
    const { size } = this;
    return Math.min(size - 1, this.scene?.state.dim ?? size - 1);
  }

  private vectors(): { q: Float32Array; k: Float32Array } {
    const scene = this.scene as Scene;
    return { q: scene.q, k: scene.tensors.key(scene.key) };
  }

  private to(dim: number): void {
    const next = Math.max(0, Math.min(this.size - 1, dim));
    this.actions.set({ dim: next });
  }

  /** Bars of the products and the line of their sum, on one scale. */
  private chart(q: Float32Array, k: Float32Array, sums: Float64Array, dim: number): void {
    const size = q.length;
    let low = 0;
    let high = 0;
    for (let d = 0; d < size; d++) {
      for (const value of [q[d] * k[d], sums[d]]) {
        if (!Number.isFinite(value)) continue;
        low = Math.min(low, value);
        high = Math.max(high, value);
      }
    }
    const span = high - low || 1;
    const y = (value: number) => 12 + ((high - value) / span) * (HEIGHT - 30);
    const step = WIDTH / size;
    const make = (name: string, attributes: Record<string, string | number>) => {
      const element = document.createElementNS(SVG, name);
      for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, String(value));
      return element;
    };
    const parts: Element[] = [make("line", { class: "axis", x1: 0, x2: WIDTH, y1: y(0), y2: y(0) })];
    let path = "";
    for (let d = 0; d < size; d++) {
      const product = q[d] * k[d];
      if (!Number.isFinite(product)) continue;
      const [top, bottom] = [y(Math.max(0, product)), y(Math.min(0, product))];
      const ahead = d > dim ? " ahead" : "";
      const sign = product < 0 ? "negative" : "positive";
      const gap = Math.min(1.5, step / 4);
      parts.push(
        make("rect", {
          class: `bar-of ${sign}${ahead}`,
          x: d * step + gap,
          y: top,
          width: step - 2 * gap,
          height: Math.max(0.75, bottom - top),
        }),
      );
      if (d <= dim) path += `${path ? "L" : "M"}${(d + 0.5) * step} ${y(sums[d])}`;
    }
    parts.push(make("path", { class: "sum-line-of", d: path || "M0 0" }));
    parts.push(make("circle", { class: "sum-point", cx: (dim + 0.5) * step, cy: y(sums[dim]), r: 4 }));
    parts.push(make("rect", { class: "here", x: dim * step, y: 2, width: step, height: HEIGHT - 16 }));
    for (const d of ticks(size)) {
      const tick = make("text", {
        class: "tick",
        x: (d + 0.5) * step,
        y: HEIGHT - 2,
        "text-anchor": d === 0 ? "start" : "middle",
      });
      setText(tick, String(d));
      parts.push(tick);
    }
    this.svg.replaceChildren(...parts);
  }
}

function ticks(size: number): number[] {
  const by = [1, 2, 4, 8, 16, 32, 64].find((one) => size / one <= 16) ?? 128;
  return Array.from({ length: Math.ceil(size / by) }, (_, i) => i * by);
}
