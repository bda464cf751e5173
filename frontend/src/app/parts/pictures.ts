/** Images whose patches are tokens: the picture, where the query is picked, and beside it the weight of each patch. */

import { h, setAttribute } from "../../base/dom";
import { inkRamp } from "../../base/scale";
import type { PatchGrid } from "../../data/metadata";
import type { Scene } from "../../scene/scene";
import { queryRange } from "../validate-state";
import type { RibbonHost } from "./ribbon";
import { said } from "./said";

type Role = "both" | "query" | "key";

/** One image. `role`: whether its patches are queries to pick from, keys that carry weight, or both. */
class Picture {
  readonly element: HTMLElement;
  private readonly canvas = h("canvas", { "aria-hidden": "true" });
  private readonly query: HTMLElement;
  private readonly key = h("div", { class: "patch-key", "aria-hidden": "true" });
  private readonly panes: HTMLElement[] = [];
  private readonly at: Map<number, number>;
  private scene: Scene | null = null;

  constructor(
    private readonly grid: PatchGrid,
    private readonly role: Role,
    private readonly host: RibbonHost,
    id: string,
  ) {
    this.at = new Map(grid.tokens.map((token, place) => [token, place]));
    this.at.delete(-1); // a patch that is no token here
    this.query = h("div", { class: "patch-query", role: "option", id, "aria-selected": "true" });
    const source = grid.png ? `data:image/png;base64,${grid.png}` : "";
    const image = () => (source ? h("img", { src: source, alt: "", draggable: "false" }) : null);
    if (role !== "key") this.panes.push(this.pane("picture", image(), this.query));
    if (role !== "query") this.panes.push(this.pane("weights", image(), this.canvas, this.key));
    const names = { picture: "queries: pick a patch", weights: "weight of each patch" };
    this.element = h(
      "div",
      { class: "seen", "data-picture": role },
      ...this.panes.map((pane) =>
        h("figure", {}, pane, h("figcaption", {}, names[pane.dataset.pane as keyof typeof names])),
      ),
    );
    this.element.style.setProperty("--shape", String(grid.columns / grid.rows));
    const [first] = this.panes;
    first.tabIndex = 0;
    first.setAttribute("role", "listbox");
    first.setAttribute("aria-label", `the picture, ${grid.rows} × ${grid.columns} patches; arrow keys move over it`);
    first.setAttribute("aria-activedescendant", id);
    if (role === "key") first.append(this.query); // out of sight: what the keyboard is on, for screen readers
    this.query.classList.toggle("unseen", role === "key");
    first.addEventListener("keydown", (event) => this.walk(event));
  }

  private pane(name: "picture" | "weights", ...inside: (HTMLElement | null)[]): HTMLElement {
    const pane = h("div", { class: `patches pane-${name}`, "data-pane": name }, ...inside);
    pane.addEventListener("click", (event) => {
      const token = this.tokenAt(event, pane);
      if (token < 0) return;
      if (name === "picture") this.choose(token);
      else if (this.scene && token < this.scene.site.keys) this.host.pin(token);
    });
    pane.addEventListener("pointermove", (event) => {
      const token = this.tokenAt(event, pane);
      if (this.scene && token >= 0) this.host.say(said(this.scene, this.role === "query" ? "query" : "key", token));
    });
    return pane;
  }

  private tokenAt(event: MouseEvent, pane: HTMLElement): number {
    const { left, top, width, height } = pane.getBoundingClientRect();
    const { rows, columns, tokens } = this.grid;
    const place = (part: number, count: number) => Math.max(0, Math.min(count - 1, Math.floor(part * count)));
    const row = place((event.clientY - top) / height, rows);
    return tokens[row * columns + place((event.clientX - left) / width, columns)];
  }

  private choose(token: number): void {
    if (this.role === "key") this.host.pin(token);
    else this.host.pickQuery(token);
  }

  draw(scene: Scene): void {
    this.scene = scene;
    this.mark(this.query, this.role === "key" ? scene.key : scene.query);
    this.mark(this.key, scene.key);
    const own = this.role === "key" ? scene.key : scene.query;
    setAttribute(this.query, "aria-label", this.at.has(own) ? said(scene, this.role, own) : "no patch of this picture");
    if (this.role !== "query") this.paint(scene);
  }

  private mark(element: HTMLElement, token: number): void {
    const place = this.at.get(token);
    element.hidden = place === undefined;
    if (place === undefined) return;
    const { rows, columns } = this.grid;
    const part = (at: number, of: number) => `${(100 * at) / of}%`;
    Object.assign(element.style, {
      left: part(place % columns, columns),
      top: part(Math.floor(place / columns), rows),
      width: part(1, columns),
      height: part(1, rows),
    });
  }

  /** As the ink under a word: the weight's part of the scale, in the colour of weights, over a pale picture. */
  private paint({ chain, weightEnd, ramp, pair, aside, without }: Scene): void {
    const { canvas } = this;
    const { rows, columns, tokens } = this.grid;
    if (canvas.width !== columns || canvas.height !== rows) Object.assign(canvas, { width: columns, height: rows });
    const context = canvas.getContext("2d");
    if (!context) return;
    const image = context.createImageData(columns, rows);
    const pixels = new Uint32Array(image.data.buffer);
    const ink = inkRamp(ramp);
    tokens.forEach((token, place) => {
      const weight = without && aside.keys[token] ? 0 : (chain.weights[token] ?? 0);
      const part = Math.min(1, Math.abs(weight) / weightEnd);
      if (!(part > 0)) return;
      const colour = pair ? ramp.pixel(Math.sign(weight), 1) : ink.pixel(1, 1);
      pixels[place] = ((colour & 0xffffff) | (Math.round(255 * part) << 24)) >>> 0;
    });
    context.putImageData(image, 0, 0);
  }

  private walk(event: KeyboardEvent): void {
    const { scene } = this;
    if (!scene || event.ctrlKey || event.metaKey || event.altKey) return;
    const { rows, columns, tokens } = this.grid;
    const place = this.at.get(this.role === "key" ? scene.key : scene.query);
    const [row, column] = place === undefined ? [0, 0] : [Math.floor(place / columns), place % columns];
    const steps: Record<string, [number, number]> = {
      ArrowLeft: [row, column - 1],
      ArrowRight: [row, column + 1],
      ArrowUp: [row - 1, column],
      ArrowDown: [row + 1, column],
      Home: [row, 0],
      End: [row, columns - 1],
    };
    if (!(event.key in steps)) return;
    event.preventDefault();
    const [down, across] = place === undefined ? [0, 0] : steps[event.key];
    if (down < 0 || across < 0 || down >= rows || across >= columns) return;
    const token = tokens[down * columns + across];
    const [first, last] = queryRange(scene.site);
    if (token < 0 || token === tokens[place ?? -1] || (this.role !== "key" && (token < first || token > last))) return;
    this.choose(token);
  }
}

/** The images among the queries and the keys. */
export class Pictures {
  readonly element = h("div", { class: "pictures" });
  private views: Picture[] = [];

  constructor(
    private readonly host: RibbonHost,
    private readonly id: string,
  ) {
    this.element.hidden = true;
  }

  /** Other tokens stand along the axes now. */
  build({ meta, site: { query_tokens: queries, key_tokens: keys } }: Scene): void {
    const of = (table: number, role: Role) =>
      (meta.tokens[table].grids ?? []).map((grid, i) => new Picture(grid, role, this.host, `${this.id}${role}${i}`));
    this.views = queries === keys ? of(queries, "both") : [...of(queries, "query"), ...of(keys, "key")];
    this.element.replaceChildren(...this.views.map((one) => one.element));
    this.element.hidden = this.views.length === 0;
  }

  draw(scene: Scene): void {
    for (const one of this.views) one.draw(scene);
  }
}
