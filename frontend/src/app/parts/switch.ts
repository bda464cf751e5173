/** The switch between levels; lines and grid are two drawings of one head. */
import { button, h } from "../../base/dom";
import type { LevelName } from "../../base/state";
import { type Drawing, drawingOf, type Has, rungs } from "../level-order";

/** Each level in a line. */
export const ABOUT: Record<LevelName, string> = {
  model: "model: every head of every layer",
  head: "head: its weights as lines between tokens",
  matrix: "head: its weights as a grid",
  neuron: "neuron: one query against every key, number by number",
  steps: "steps: the arithmetic written out",
};

export class Switch {
  readonly element: HTMLElement;
  private readonly buttons = new Map<LevelName, HTMLButtonElement>();
  private readonly drawings: HTMLElement;
  private readonly drawn = new Map<Drawing, HTMLButtonElement>();
  private last: Drawing = "head";

  constructor(has: Has, go: (name: LevelName) => void) {
    const ladder = h("div", { class: "levels", role: "group", "aria-label": "level" });
    for (const name of rungs(has, "head")) {
      const head = drawingOf(name) !== null;
      const choose = () => go(head && has(this.last) ? this.last : name);
      const attributes = { "data-level-switch": head ? "head" : name, title: head ? "head: its weights" : ABOUT[name] };
      const one = button(head ? "head" : name, attributes, choose);
      this.buttons.set(head ? "head" : name, one);
      ladder.append(one);
    }
    this.drawings = h("div", { class: "levels", role: "group", "aria-label": "drawing of the head" });
    for (const [name, text] of [
      ["head", "lines"],
      ["matrix", "grid"],
    ] as const) {
      const one = button(text, { "data-drawing": name, title: ABOUT[name] }, () => go(name));
      this.drawn.set(name, one);
      if (has("head") && has("matrix")) this.drawings.append(one);
    }
    this.element = h("div", { class: "switches" }, ladder, this.drawings);
  }

  show(level: LevelName): void {
    const drawing = drawingOf(level);
    this.last = drawing ?? this.last;
    for (const [name, one] of this.buttons)
      one.setAttribute("aria-pressed", String(name === level || (name === "head" && drawing !== null)));
    for (const [name, one] of this.drawn) one.setAttribute("aria-pressed", String(name === drawing));
    this.drawings.hidden = drawing === null || this.drawings.childElementCount === 0;
  }
}
