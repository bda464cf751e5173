/** The grid as the keyboard and screen readers meet it. */

import { h } from "../../base/dom";
import type { CursorView } from "./cursor";

/** `cell`: the id of the active cell. */
export function gridElement(cell: string, ...inside: HTMLElement[]): HTMLElement {
  return h(
    "div",
    {
      class: "grid-picture",
      role: "grid",
      tabindex: 0,
      "data-grid": "matrix",
      "aria-label":
        "weights as a grid: a row for each query, a column for each key; arrow keys walk, Space pins, plus and minus zoom",
      "aria-activedescendant": cell,
    },
    ...inside,
  );
}

export function listenToGrid(grid: HTMLElement, cursor: CursorView): void {
  grid.addEventListener("keydown", (event) => {
    if (!cursor.key(event)) return;
    event.preventDefault();
    event.stopPropagation();
  });
  grid.addEventListener("focus", () => {
    const { row, column } = cursor.cursor;
    if (grid.matches(":focus-visible")) cursor.walk(row, column);
  });
  grid.addEventListener("blur", () => cursor.leave());
}
