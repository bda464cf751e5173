/** The middle of the frame: one level is shown, each is made when it is first shown, and keeps what it was until then. */

import { h } from "../base/dom";
import type { LevelName } from "../base/state";
import type { Source } from "../data/source";
import type { Actions, Level } from "../scene/level";
import { isDrawing } from "./level-order";
import { aboutLevel, levelNamed, makerOf } from "./level-registry";

export class LevelHost {
  private readonly title = h("h2", { class: "unseen" });
  readonly element = h("div", { class: "middle" }, this.title);
  /** How a head was drawn last. */
  drawing: LevelName = "head";
  private readonly made = new Map<LevelName, Level>();
  private shown: Level | null = null;

  constructor(
    private readonly actions: Actions,
    private readonly viewport: () => { top: number; bottom: number },
    private readonly source: Source,
  ) {}

  readonly has = (name: LevelName) => makerOf(name, this.source) !== undefined;

  get level(): Level | null {
    return this.shown;
  }

  show(name: LevelName): void {
    let level = this.made.get(name);
    if (!level) {
      const make = makerOf(name, this.source);
      if (!make) throw new Error(`There is no level ${name} in this view.`);
      level = make(this.actions, this.viewport, this.source);
      this.made.set(name, level);
      this.element.append(level.element);
    }
    if (this.shown && this.shown !== level) {
      this.shown.element.hidden = true;
      this.shown.leave?.();
    }
    level.element.hidden = false;
    this.shown = level;
    const entry = levelNamed(name);
    this.title.textContent = entry ? aboutLevel(entry) : "";
    if (isDrawing(name)) this.drawing = name;
  }

  /** Where the keyboard goes on: what was in focus is hidden now. */
  focus(): void {
    const element = this.shown?.element;
    if (!element) return;
    const grid = [...element.querySelectorAll<HTMLElement>("[data-grid]")].find((one) => !one.closest("[hidden]"));
    const stop = "[tabindex='0']"; // of a grid whose rows or cells take the focus themselves
    const target = grid?.matches("[tabindex]") ? grid : (grid ?? element).querySelector<HTMLElement>(stop);
    if (!target) element.tabIndex = -1;
    (target ?? element).focus({ preventScroll: true });
  }

  destroy(): void {
    for (const level of this.made.values()) level.destroy();
  }
}
