/** The switch between levels; and between the drawings of one, where there are several. */
import { button, h } from "../../base/dom";
import type { LevelName } from "../../base/state";
import type { LevelEntry } from "../../scene/level";
import { drawingsOf, type Has, isDrawing, levelsInOrder } from "../level-order";
import { aboutLevel, levelNamed } from "../level-registry";

export class Switch {
  readonly element: HTMLElement;
  private readonly buttons = new Map<string, HTMLButtonElement>();
  private readonly drawings: HTMLElement;
  private readonly drawn = new Map<LevelName, HTMLButtonElement>();
  private last: LevelName = "head";

  constructor(has: Has, go: (name: LevelName) => void) {
    const levels = h("div", { class: "levels", role: "group", "aria-label": "level" });
    this.drawings = h("div", { class: "levels", role: "group", "aria-label": "drawing of the head" });
    for (const name of levelsInOrder(has, this.last)) {
      const level = levelNamed(name) as LevelEntry;
      const several = isDrawing(name);
      const title = several ? `${level.group}: its weights` : aboutLevel(level);
      const choose = () => go(several && has(this.last) ? this.last : name);
      const one = button(level.group, { "data-level-switch": level.group, title }, choose);
      this.buttons.set(level.group, one);
      levels.append(one);
      const others = drawingsOf(name).filter(has);
      if (others.length > 1) for (const other of others) this.addDrawing(levelNamed(other) as LevelEntry, go);
    }
    this.element = h("div", { class: "switches" }, levels, this.drawings);
  }

  private addDrawing(level: LevelEntry, go: (name: LevelName) => void): void {
    const one = button(level.title, { "data-drawing": level.name, title: aboutLevel(level) }, () => go(level.name));
    this.drawn.set(level.name, one);
    this.drawings.append(one);
  }

  show(name: LevelName): void {
    if (isDrawing(name)) this.last = name;
    const group = levelNamed(name)?.group;
    for (const [one, element] of this.buttons) element.setAttribute("aria-pressed", String(one === group));
    for (const [one, element] of this.drawn) element.setAttribute("aria-pressed", String(one === name));
    this.drawings.hidden = !this.drawn.has(name);
  }
}
