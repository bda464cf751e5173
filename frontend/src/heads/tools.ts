/** The controls that both drawings of a head share. */

import { button, h } from "../base/dom";
import { CHOICES, type State } from "../base/state";
import type { Actions } from "../scene/level";
import type { Scene } from "../scene/scene";

const NAMES: Record<State["average"], string> = {
  none: "one head",
  heads: "mean of heads",
  layers: "mean of layers",
  all: "mean of all",
};

export function menu<T extends string>(
  name: string,
  tool: string,
  options: readonly (readonly [T, string])[],
  choose: (value: T) => void,
): { element: HTMLElement; select: HTMLSelectElement } {
  const select = h(
    "select",
    { "aria-label": name, "data-tool": tool },
    ...options.map(([value, text]) => h("option", { value }, text)),
  );
  select.addEventListener("change", () => choose(select.value as T));
  return { element: h("span", { class: "menu" }, select), select };
}

export class SharedTools {
  readonly elements: HTMLElement[];
  readonly table: HTMLButtonElement;
  private readonly average: HTMLSelectElement;

  constructor(actions: Actions, toggleTable: () => void) {
    const average = menu(
      "mean over heads or layers",
      "average",
      CHOICES.average.map((value) => [value, NAMES[value]] as const),
      (value) => actions.set({ average: value }),
    );
    this.average = average.select;
    this.table = button("data table", { class: "tool", "aria-pressed": "false", "data-tool": "table" }, toggleTable);
    this.elements = [average.element, this.table];
  }

  show({ state }: Scene): void {
    this.average.value = state.average;
  }
}
