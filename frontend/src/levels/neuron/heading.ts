/** The heading of the table: a name, what it is and its domain per column, each a button that explains itself. */
import { button, h, setAttribute, setText } from "../../base/dom";
import type { Scene } from "../../scene/scene";
import { type Column, explanation, heading, type Layout } from "./columns";

export class Heading {
  readonly element = h("div", { class: "thead" });
  private readonly row = h("div", { class: "row row-head", role: "row", "aria-rowindex": 1 });
  private readonly explain = h("p", { class: "explain", "data-explain": true, role: "status" });
  private readonly buttons = new Map<Column, HTMLButtonElement>();
  private explained: Column | null = null;
  private built = "";
  private scene: Scene | null = null;
  private layout: Layout | null = null;

  /** `choose`: the strips show something else. */
  constructor(private readonly choose: (shared: Column) => void) {
    this.explain.hidden = true;
    this.element.append(this.row, this.explain);
  }

  draw(scene: Scene, layout: Layout, shared: Column): void {
    this.scene = scene;
    this.layout = layout;
    const key = `${layout.columns} ${layout.mode}`;
    if (key !== this.built) {
      this.built = key;
      this.buttons.clear();
      this.row.replaceChildren(...layout.columns.map((column, i) => this.cell(column, i, scene, layout, shared)));
    }
    for (const [column, element] of this.buttons) {
      const { title, detail, domain } = heading(column, scene, layout);
      [title, detail, domain || "\u00a0"].forEach((text, i) => {
        setText(element.children[i], text);
      });
    }
    this.tell();
  }

  /** True when an explanation was open. */
  close(): boolean {
    if (this.explain.hidden) return false;
    this.explained = null;
    this.tell();
    return true;
  }

  private tell(): void {
    const { explained, scene, layout } = this;
    for (const [column, element] of this.buttons) setAttribute(element, "aria-expanded", String(explained === column));
    this.explain.hidden = explained === null || !layout?.columns.includes(explained);
    if (explained && scene) setText(this.explain, explanation(explained, scene));
  }

  private cell(column: Column, i: number, scene: Scene, layout: Layout, shared: Column): HTMLElement {
    const name = button("", { class: "heading", "data-heading": column, title: "what is this?" }, () => {
      this.explained = this.explained === column ? null : column;
      this.tell();
    });
    name.append(h("b"), h("span", { class: "detail" }), h("span", { class: "domain" }));
    this.buttons.set(column, name);
    const cell = h("div", { class: `c h-${column}`, role: "columnheader", "aria-colindex": i + 1 }, name);
    if (layout.mode !== "wide" && column === shared && !scene.site.weights_only)
      cell.append(this.switch(layout, shared));
    return cell;
  }

  /** k, q × k (and v where it is narrow) take turns in one column. */
  private switch(layout: Layout, shared: Column): HTMLElement {
    const names: [Column, string][] = [
      ["k", "k"],
      ["product", "q × k"],
    ];
    if (layout.mode === "narrow") names.push(["v", "v"]);
    const group = h("div", { class: "switch", role: "group", "aria-label": "what the strips show" });
    for (const [column, name] of names) {
      const attributes = { "aria-pressed": String(shared === column), "data-switch": column };
      const choose = () => {
        this.choose(column);
        this.row.querySelector<HTMLElement>(`[data-switch="${column}"]`)?.focus();
      };
      group.append(button(name, attributes, choose));
    }
    return group;
  }
}
