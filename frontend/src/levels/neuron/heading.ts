/** The heading of the table: a name, what it is and its domain per column, each a button that explains itself. */
import { button, h, setAttribute, setText } from "../../base/dom";
import { explained } from "../../base/explained";
import type { Scene } from "../../scene/scene";
import { type Column, explanation, heading, type Layout } from "./columns";

export class Heading {
  readonly element = h("div", { class: "thead" });
  private readonly row = h("div", { class: "row row-head", role: "row", "aria-rowindex": 1 });
  private readonly explain = h("p", { class: "explain", "data-explain": true, role: "status" });
  private readonly buttons = new Map<Column, HTMLButtonElement>();
  private open: Column | null = null;
  private built = "";
  private scene: Scene | null = null;
  private layout: Layout | null = null;

  constructor() {
    this.explain.hidden = true;
    this.element.append(this.row, this.explain);
  }

  draw(scene: Scene, layout: Layout): void {
    this.scene = scene;
    this.layout = layout;
    const key = `${layout.columns} ${layout.mode}`;
    if (key !== this.built) {
      this.built = key;
      this.buttons.clear();
      this.row.replaceChildren(...layout.columns.map((column, i) => this.cell(column, i)));
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
    this.open = null;
    this.tell();
    return true;
  }

  private tell(): void {
    const { open, scene, layout } = this;
    for (const [column, element] of this.buttons) setAttribute(element, "aria-expanded", String(open === column));
    this.explain.hidden = open === null || !layout?.columns.includes(open);
    if (open && scene) setText(this.explain, explanation(open, scene));
  }

  private cell(column: Column, i: number): HTMLElement {
    const name = button("", { class: "heading", "data-heading": column }, () => {
      this.open = this.open === column ? null : column;
      this.tell();
    });
    // once it is open, the same words stand below
    explained(name, () => (this.scene && this.open !== column ? explanation(column, this.scene) : ""));
    name.append(h("b"), h("span", { class: "detail" }), h("span", { class: "domain" }));
    this.buttons.set(column, name);
    return h("div", { class: `c h-${column}`, role: "columnheader", "aria-colindex": i + 1 }, name);
  }
}
