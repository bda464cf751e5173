/** The neuron level: one query against every key, number by number. */

import { button, h, setAttribute } from "../../base/dom";
import { levels } from "../../generated/words.json";
import { QueryDataTable } from "../../heads/query-data-table";
import { queryLegends } from "../../scene/legends";
import type { Actions, Level, LevelEntry, Picture } from "../../scene/level";
import type { Scene } from "../../scene/scene";
import { picture } from "./export-svg";
import { Lens } from "./lens";
import { PairNeuron } from "./pair-level";
import css from "./style.css";
import { Table, type Viewport } from "./table";

export class NeuronLevel implements Level {
  readonly name = "neuron";
  readonly element = h("div", { class: "neuron", "data-level": "neuron" });
  readonly tools: HTMLElement[];
  readonly keys = "↑ ↓ ← → move · Enter pins";
  readonly legends = queryLegends;
  private readonly lens: Lens;
  private readonly table: Table;
  private readonly figures = new QueryDataTable();
  private readonly figuresTool: HTMLButtonElement;
  private readonly message = h("p", { class: "message", role: "note" });
  private readonly fold: HTMLButtonElement;
  private readonly observer: ResizeObserver;
  private scene: Scene | null = null;
  private width = 0;
  private below = "";

  constructor(actions: Actions, viewport: () => Viewport) {
    this.lens = new Lens(actions);
    this.table = new Table(actions, viewport);
    this.message.hidden = true;
    this.element.append(this.message, this.lens.element, this.table.element, this.figures.element);
    const order = button("sort by weight", { class: "tool", "aria-pressed": "false", "data-tool": "order" }, () => {
      this.table.byWeight = !this.table.byWeight;
      order.setAttribute("aria-pressed", String(this.table.byWeight));
      this.redraw();
    });
    this.fold = button("unfold all", { class: "tool", "aria-pressed": "false", "data-tool": "expand" }, () => {
      this.table.expanded = !this.table.expanded;
      this.redraw();
    });
    this.figuresTool = button("data table", { class: "tool", "aria-pressed": "false", "data-tool": "table" }, () =>
      this.toggleFigures(),
    );
    this.tools = [order, this.fold, this.figuresTool];
    this.observer = new ResizeObserver(() => this.measure());
    this.observer.observe(this.element);
    this.observer.observe(this.lens.element);
  }

  draw(scene: Scene): void {
    const first = this.scene === null;
    this.scene = scene;
    if (first) this.measure();
    const { site, tensors } = scene;
    const notes: string[] = [];
    if (site.weights_only)
      notes.push("Only weights were captured here, without query and key vectors, so there are no products to show.");
    if (tensors.broken)
      notes.push(
        `${tensors.broken} of this head's numbers are NaN or infinite. They are the model's own and are drawn barred.`,
      );
    this.message.textContent = notes.join(" ");
    this.message.hidden = notes.length === 0;
    setAttribute(this.message, "data-flag", tensors.broken ? "broken" : null);
    this.lens.draw(scene);
    this.redraw(scene);
  }

  look(): void {
    this.table.look();
  }

  arrive(within: Element): void {
    this.table.revealPinned(within);
  }

  close(): boolean {
    if (this.table.close()) return true;
    if (this.figures.element.hidden) return false;
    this.toggleFigures();
    return true;
  }

  picture(): Picture | null {
    return this.scene && picture(this.scene);
  }

  private toggleFigures(): void {
    if (!this.scene) return;
    const open = this.figures.toggle(this.scene, this.table.byWeight);
    this.figuresTool.setAttribute("aria-pressed", String(open));
  }

  destroy(): void {
    this.observer.disconnect();
    this.table.destroy();
  }

  private redraw(scene = this.scene): void {
    if (!scene) return;
    this.table.draw(scene);
    this.figures.draw(scene, this.table.byWeight);
    this.fold.hidden = !this.table.folds;
    this.fold.setAttribute("aria-pressed", String(this.table.expanded));
  }

  private measure(): void {
    const width = this.element.clientWidth;
    if (width !== 0 && width !== this.width) {
      this.width = width;
      this.lens.resize(width);
      this.table.resize(width);
    }
    const lens = `${this.lens.element.offsetHeight}px`;
    // not on this element: all within it would be restyled
    if (lens !== this.below)
      for (const { style } of [this.table.heading, this.figures.element]) style.setProperty("--lens", lens);
    this.below = lens;
    this.table.look();
  }
}

export const neuronLevel: LevelEntry = {
  name: "neuron",
  ...levels.neuron,
  css,
  make: (actions, viewport) => new NeuronLevel(actions, viewport),
  makePair: (actions) => new PairNeuron(actions),
};
