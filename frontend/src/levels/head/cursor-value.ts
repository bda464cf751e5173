/** The weight of the line under the pointer, beside the pointer. */

import { h } from "../../base/dom";
import { percent } from "../../base/format";
import type { Axes } from "../../heads/axes";
import { tokenElement } from "../../scene/token-element";
import type { Lines } from "./lines";

export class CursorValue {
  readonly element = h("span", { class: "cursor-value", hidden: true, "aria-hidden": "true" });

  /** `said`: which head, where there are several. */
  constructor(lines: Lines, axes: () => Axes | null, said: (head: number) => string) {
    lines.element.append(this.element);
    lines.element.addEventListener("pointermove", (event) => {
      const box = lines.element.getBoundingClientRect();
      const [x, y] = [event.clientX - box.left, event.clientY - box.top];
      const line = lines.at(x, y);
      const known = axes();
      this.element.hidden = !line || !known;
      if (!line || !known) return;
      const { queries, keys } = known;
      const head = said(line.head);
      this.element.replaceChildren(
        tokenElement(queries.slots[line.query].text),
        " → ",
        tokenElement(keys.slots[line.key].text),
        ` ${percent(line.value)}`,
        head && ` · ${head}`,
      );
      const { style } = this.element;
      const left = x > box.width / 2;
      style.left = left ? "" : `${x + 12}px`;
      style.right = left ? `${box.width - x + 12}px` : "";
      style.top = `${Math.max(0, Math.min(box.height - 26, y - 30))}px`;
    });
    lines.element.addEventListener("pointerleave", () => {
      this.element.hidden = true;
    });
  }
}
