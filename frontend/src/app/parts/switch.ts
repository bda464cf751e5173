/** The switch between levels; and between the drawings of one, where there are several. */
import { button, h } from "../../base/dom";
import { explained } from "../../base/explained";
import type { LevelName } from "../../base/state";
import type { LevelEntry } from "../../scene/level";
import { drawingsOf, type Has, isDrawing, keyOf, levelsInOrder } from "../level-order";
import { aboutLevel, levelNamed } from "../level-registry";

export class Switch {
  readonly element: HTMLElement;
  private readonly buttons = new Map<string, HTMLButtonElement>();
  private readonly drawings: HTMLElement;
  private readonly drawn = new Map<LevelName, HTMLButtonElement>();
  private last: LevelName = "head";

  /** `missing`: what levels this data lacks, in sentences; the outermost level there is says so. */
  constructor(has: Has, missing: string[], go: (name: LevelName) => void) {
    const levels = h("div", { class: "levels", role: "group", "aria-label": "level" });
    this.drawings = h("div", { class: "levels", role: "group", "aria-label": "drawing of the head" });
    for (const name of levelsInOrder(has, this.last)) {
      const level = levelNamed(name) as LevelEntry;
      const several = isDrawing(name);
      const about = several ? `${level.group}: its weights` : aboutLevel(level);
      const said = several ? about : `${about} · key ${keyOf(name)}`;
      const words = this.buttons.size ? said : [said, ...missing].join(". ");
      const choose = () => go(several && has(this.last) ? this.last : name);
      const one = explained(button(level.group, { "data-level-switch": level.group }, choose), words);
      this.buttons.set(level.group, one);
      levels.append(one);
      const others = drawingsOf(name).filter(has);
      if (others.length > 1) for (const other of others) this.addDrawing(levelNamed(other) as LevelEntry, go);
    }
    this.element = h("div", { class: "switches" }, levels, this.drawings);
  }

  private addDrawing(level: LevelEntry, go: (name: LevelName) => void): void {
    const keys = { "data-drawing": level.name, "aria-keyshortcuts": keyOf(level.name) };
    const one = explained(
      button(level.title, keys, () => go(level.name)),
      `${aboutLevel(level)} · key ${keyOf(level.name)}`,
    );
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
