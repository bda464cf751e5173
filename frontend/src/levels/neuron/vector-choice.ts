/** Where there is no room for all vectors: which one stands beside the weights. None at first. */
import { button, h } from "../../base/dom";
import type { Vector } from "./columns";

const NAMES: Record<Vector, string> = { k: "k", product: "q × k", v: "v" };

export class VectorChoice {
  readonly element: HTMLElement;
  private readonly buttons: [Vector, HTMLButtonElement][];
  private unfolded: Vector | null = null;

  /** `unfold`: the vector that is to be seen; null folds it away. */
  constructor(unfold: (vector: Vector | null) => void) {
    this.buttons = (Object.keys(NAMES) as Vector[]).map((vector) => [
      vector,
      button(NAMES[vector], { "data-unfold": vector }, () => unfold(vector === this.unfolded ? null : vector)),
    ]);
    const group = h("span", { class: "switch", role: "group", "aria-label": "vectors beside the weights" });
    group.append(...this.buttons.map(([, one]) => one));
    this.element = h("div", { class: "vector-choice" }, h("span", {}, "vectors"), group);
  }

  /** `folded`: those that there are. */
  draw(folded: Vector[], unfolded: Vector | null): void {
    this.unfolded = unfolded;
    this.element.hidden = folded.length === 0;
    for (const [vector, one] of this.buttons) {
      one.hidden = !folded.includes(vector);
      one.setAttribute("aria-pressed", String(vector === unfolded));
    }
  }
}
