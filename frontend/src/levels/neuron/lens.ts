/** The lens: one pair of query and key, multiplied out number by number down to its weight. */

import { button, h, setAttribute, setText } from "../../base/dom";
import { count, decimals, fixed, percent, precise } from "../../base/format";
import { isMasked } from "../../chain/chain";
import type { Actions } from "../../scene/level";
import type { Scene } from "../../scene/scene";
import { scalingName } from "../../scene/text";
import { setToken } from "../../scene/token-element";

const CELL = 34; // narrowest cell that holds a number
const HEAD = 62;
const ROWS = ["q", "k", "product", "sum"] as const;
type Row = (typeof ROWS)[number];

/** Decimals that have room in the narrowest cell: five characters with the sign. */
const digitsIn = (value: number) => (Math.abs(value) >= 99.95 ? 0 : Math.abs(value) >= 9.995 ? 1 : 2);

export class Lens {
  readonly element = h("section", { class: "lens", "aria-label": "the pinned pair, number by number" });
  private readonly title = h("div", { class: "lens-title" });
  private readonly pager = h("div", { class: "pager" });
  private readonly pageText = h("span", { class: "num" });
  private readonly grid = h("div", {
    class: "lens-grid",
    role: "group",
    tabindex: 0,
    "aria-label": "the pinned pair, dimension by dimension; arrow keys walk its numbers",
  });
  private readonly steps = h("ol", { class: "steps", "aria-label": "from q · k to the weight" });
  private readonly cells: Record<Row | "index", HTMLElement[]> = { index: [], q: [], k: [], product: [], sum: [] };
  private readonly heads: Record<Row | "index", HTMLElement>;
  private page = 0;
  private width = 0;
  /** The cell under the keyboard: a row, and a dimension of the whole vector. */
  private walk: { row: number; dim: number } | null = null;
  private scene: Scene | null = null;
  private shownTensors: unknown = null;
  private readonly back: HTMLButtonElement;
  private readonly forth: HTMLButtonElement;

  constructor(private readonly actions: Actions) {
    this.back = button("‹", { class: "quiet", "aria-label": "earlier dimensions", "data-lens-page": "previous" }, () =>
      this.turn(-1),
    );
    this.forth = button("›", { class: "quiet", "aria-label": "later dimensions", "data-lens-page": "next" }, () =>
      this.turn(1),
    );
    this.pager.append(this.back, this.pageText, this.forth);
    this.title.append(
      h("span", { class: "role" }, "query "),
      h("span", { class: "tok boxed", dir: "auto" }),
      h("span", { class: "arrow", "aria-hidden": "true" }, " → "),
      h("span", { class: "role" }),
      h("span", { class: "tok ringed", dir: "auto" }),
      h("span", { class: "role" }),
    );
    const head = (name: Row | "index") => h("span", { class: `lens-head head-${name}` });
    this.heads = { index: head("index"), q: head("q"), k: head("k"), product: head("product"), sum: head("sum") };
    this.element.append(h("div", { class: "lens-top" }, this.title, this.pager), this.grid, this.steps);
    this.grid.addEventListener("pointerover", (event) => this.hover(event));
    this.grid.addEventListener("keydown", (event) => this.key(event));
    this.grid.addEventListener("focus", () => this.goTo(this.walk ?? { row: 0, dim: this.page * this.cells.q.length }));
    this.grid.addEventListener("blur", () => this.mark(null));
  }

  resize(width: number): void {
    if (width === this.width) return;
    this.width = width;
    if (this.scene) this.draw(this.scene);
  }

  draw(scene: Scene): void {
    this.scene = scene;
    const { site, tensors, query, key } = scene;
    this.drawTitle(scene);
    const only = site.weights_only;
    this.grid.hidden = only;
    if (!only) {
      const D = site.head_size;
      const room = Math.max(4, Math.floor((this.width - HEAD) / CELL));
      const pages = Math.ceil(D / room);
      const size = Math.ceil(D / pages);
      if (this.shownTensors !== tensors.site) this.page = 0;
      this.shownTensors = tensors.site;
      this.page = Math.min(this.page, pages - 1);
      const from = this.page * size;
      const to = Math.min(D, from + size);
      this.build(size);
      this.fill(scene, from, to, size);
      this.pager.hidden = pages === 1;
      setText(this.pageText, `dimensions ${from}–${to - 1} of ${D}`);
      this.back.disabled = this.page === 0;
      this.forth.disabled = this.page === pages - 1;
    } else this.pager.hidden = true;
    this.element.dataset.lens = `${query},${key}`;
    this.drawSteps(scene);
  }

  private turn(by: number): void {
    this.page = Math.max(0, this.page + by);
    if (this.scene) this.draw(this.scene);
  }

  private drawTitle({ chain, queryLabels, keyLabels, query, key, pinned, site }: Scene): void {
    const [, q, , role, k, where] = this.title.children;
    setToken(q as HTMLElement, queryLabels[query].text);
    setText(role, pinned ? "pinned key " : chain.empty ? "key " : "strongest key ");
    setToken(k as HTMLElement, keyLabels[key].text);
    setText(where, ` · ${site.kind === "cross" ? "across: " : ""}positions ${query} and ${key}`);
  }

  /** As many cells as a page has; reused from then on. */
  private build(size: number): void {
    if (this.cells.q.length === size) return;
    const rows: HTMLElement[] = [];
    for (const name of ["index", ...ROWS] as const) {
      this.cells[name] = Array.from({ length: size }, () => h("span", { class: `cell cell-${name}` }));
      rows.push(h("div", { class: `lens-row row-${name}` }, this.heads[name], ...this.cells[name]));
    }
    this.grid.replaceChildren(...rows);
    this.grid.style.setProperty("--lens-columns", String(size));
  }

  private fill(scene: Scene, from: number, to: number, size: number): void {
    const { tensors, domains, ramp, key } = scene;
    const { q } = scene;
    const k = tensors.key(key);
    setText(this.heads.index, "");
    setText(this.heads.q, "q");
    setText(this.heads.k, "× k");
    setText(this.heads.product, "= q × k");
    setText(this.heads.sum, from > 0 ? "… + sum" : "sum");
    let sum = 0;
    for (let d = 0; d < from; d++) sum += q[d] * k[d];
    const digits: Record<Row, number> = {
      q: decimals(domains.q),
      k: decimals(domains.k),
      product: decimals(domains.product),
      sum: 2,
    };
    for (let i = 0; i < size; i++) {
      const d = from + i;
      const beyond = d >= to;
      const product = beyond ? 0 : q[d] * k[d];
      sum += product;
      this.cells.index[i].hidden = beyond;
      setText(this.cells.index[i], String(d));
      const values: [Row, number, number][] = [
        ["q", q[d], domains.q],
        ["k", k[d], domains.k],
        ["product", product, domains.product],
        ["sum", sum, 0],
      ];
      for (const [row, value, domain] of values) {
        const cell = this.cells[row][i];
        cell.hidden = beyond;
        if (beyond) continue;
        setText(cell, fixed(value, Math.min(digitsIn(value), digits[row])));
        cell.dataset.value = String(value);
        cell.dataset.dim = String(d);
        if (domain === 0) continue;
        const finite = Number.isFinite(value);
        cell.style.backgroundColor = finite ? ramp.css(value, domain) : "";
        cell.style.color = finite ? ramp.on(value, domain) : "";
        cell.classList.toggle("clipped", Math.abs(value) > domain);
        cell.classList.toggle("broken", !finite);
      }
      this.cells.sum[i].classList.toggle("last", d === q.length - 1);
    }
  }

  private drawSteps(scene: Scene): void {
    const { chain, key, site } = scene;
    const steps: { name: string; text: string; link: string; value: number | null; note?: string }[] = [];
    const put = (link: string, name: string, value: number) =>
      steps.push({ link, name, text: fixed(value, decimals(Math.max(1, Math.abs(value)))), value });
    if (chain.dot && chain.scaled && chain.capped && chain.biased) {
      put("dot", "q · k", chain.dot[key]);
      put("scaled", scalingName(scene.site), chain.scaled[key]);
      if (site.softcap !== null) put("capped", `softcap ±${Number(site.softcap.toPrecision(4))}`, chain.capped[key]);
      if (chain.bias) put("biased", `+ position bias ${fixed(chain.bias[key], 2)}`, chain.biased[key]);
    }
    const masked = isMasked(chain, key);
    if (!site.weights_only) {
      const rule = chain.allowed && site.mask.words ? `${site.mask.words}: ` : "";
      const text = `${rule}${masked ? "masked" : "allowed"}`;
      steps.push({ link: "masked", name: chain.allowed ? "mask" : "mask (none)", text, value: null });
    }
    const among = chain.allowed ? chain.allowed.reduce((total, one) => total + one, 0) : site.keys;
    steps.push({
      link: "weight",
      name: site.weights_only
        ? "weight, as captured"
        : chain.empty
          ? "no key allowed"
          : `softmax over ${count(among, "key")}${chain.hasSink ? " and the sink" : ""}`,
      text: masked && !chain.weights[key] ? "masked" : percent(chain.weights[key]),
      value: chain.weights[key],
    });
    if (this.steps.children.length !== steps.length) {
      this.steps.replaceChildren(
        ...steps.map(() =>
          h("li", {}, h("span", { class: "lens-step-name" }), h("span", { class: "lens-step-value" })),
        ),
      );
    }
    steps.forEach((step, i) => {
      const [name, value] = this.steps.children[i].children as unknown as HTMLElement[];
      setText(name, step.name);
      setText(value, step.text);
      setAttribute(value, "data-link", step.link);
      setAttribute(value, "data-value", step.value === null ? null : String(step.value));
    });
    setAttribute(this.steps, "data-only", site.weights_only ? "weights" : null);
  }

  private key(event: KeyboardEvent): void {
    const { row, dim } = this.walk ?? { row: 0, dim: 0 };
    const size = this.cells.q.length;
    const moves: Record<string, [number, number]> = {
      ArrowLeft: [row, dim - 1],
      ArrowRight: [row, dim + 1],
      ArrowUp: [row - 1, dim],
      ArrowDown: [row + 1, dim],
      PageUp: [row, dim - size],
      PageDown: [row, dim + size],
      Home: [row, 0],
      End: [row, Number.MAX_SAFE_INTEGER],
    };
    const move = moves[event.key];
    if (!move || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    event.stopPropagation();
    this.goTo({ row: move[0], dim: move[1] });
  }

  /** Walk to a cell, turning the page where it stands on another. */
  private goTo({ row, dim }: { row: number; dim: number }): void {
    if (!this.scene || this.scene.site.weights_only) return;
    const last = this.scene.site.head_size - 1;
    this.walk = { row: Math.min(ROWS.length - 1, Math.max(0, row)), dim: Math.min(last, Math.max(0, dim)) };
    const page = Math.floor(this.walk.dim / this.cells.q.length);
    if (page !== this.page) this.turn(page - this.page);
    const cell = this.cells[ROWS[this.walk.row]][this.walk.dim - this.page * this.cells.q.length];
    this.mark(cell);
    this.sayCell(cell);
  }

  private mark(cell: HTMLElement | null): void {
    this.grid.querySelector(".walked")?.classList.remove("walked");
    cell?.classList.add("walked");
  }

  private hover(event: Event): void {
    const cell = (event.target as Element).closest<HTMLElement>("[data-dim]");
    if (cell && this.scene) this.sayCell(cell);
  }

  private sayCell(cell: HTMLElement): void {
    const name = ROWS.find((row) => cell.classList.contains(`cell-${row}`)) as Row;
    const words: Record<Row, string> = { q: "q", k: "k", product: "q × k", sum: "sum of q × k up to here" };
    this.actions.say(`${words[name]} · dimension ${cell.dataset.dim}: ${precise(Number(cell.dataset.value))}`);
  }
}
