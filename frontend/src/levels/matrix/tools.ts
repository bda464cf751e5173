/** The controls of the grid: what the cells hold, on which scale, how near. */

import { button, h, setAttribute } from "../../base/dom";
import { explained } from "../../base/explained";
import { menu } from "../../heads/tools";
import type { Actions } from "../../scene/level";
import type { Scene } from "../../scene/scene";
import type { Quantity } from "./field";

export class GridTools {
  readonly elements: HTMLElement[];
  private readonly quantity: HTMLSelectElement;
  private readonly log: HTMLInputElement = h("input", { type: "checkbox", "data-tool": "log" });
  private readonly logLabel = h("label", { class: "tool check" }, this.log, "log scale");
  private readonly out: HTMLButtonElement;
  private readonly all: HTMLButtonElement;

  constructor(actions: Actions, zoom: (by: number) => void) {
    const quantity = menu<Quantity>(
      "what the cells hold",
      "quantity",
      [
        ["weights", "weights"],
        ["scores", "scores"],
        ["dot", "q · k"],
      ],
      (value) => actions.set({ quantity: value }),
    );
    this.quantity = quantity.select;
    this.log.addEventListener("change", () => actions.set({ log: this.log.checked }));
    // greyed, yet within reach of finger and keyboard, which ask why
    this.log.addEventListener("click", (event) => {
      if (this.log.getAttribute("aria-disabled") === "true") event.preventDefault();
    });
    const tool = (text: string, name: string, tool: string, by: number) =>
      button(text, { class: "tool zoom", "aria-label": name, title: name, "data-tool": tool }, () => zoom(by));
    this.out = tool("−", "zoom out", "zoom-out", 1 / 1.5);
    this.all = tool("fit", "fit all cells", "zoom-fit", 0);
    const zooms = h(
      "span",
      { class: "zooms", role: "group", "aria-label": "zoom" },
      this.out,
      this.all,
      tool("+", "zoom in", "zoom-in", 1.5),
    );
    this.elements = [quantity.element, this.logLabel, zooms];
  }

  show({ state, pair }: Scene, quantity: Quantity, hasScores: boolean): void {
    this.quantity.value = quantity;
    for (const option of this.quantity.options) option.disabled = option.value !== "weights" && !hasScores;
    this.log.checked = state.log;
    const signed = pair !== null ? "differences" : quantity !== "weights" ? "scores" : null;
    setAttribute(this.log, "aria-disabled", signed && "true");
    explained(
      this.logLabel,
      signed ? `only weights have a logarithmic scale: ${signed} have a sign` : "small weights told apart",
    );
  }

  zoomed(away: boolean): void {
    this.out.disabled = !away;
    this.all.disabled = !away;
  }
}
