/** Over the canvas, as elements: the selected row and column, rows without keys, and the one cell under the cursor. */

import { h, setAttribute } from "../../base/dom";
import { change, decimals, fixed, percent } from "../../base/format";
import type { Axes } from "../../heads/axes";
import type { Slot, SlotRow } from "../../heads/axis";
import { slotRow } from "../../heads/rows";
import { isolated } from "../../scene/labels";
import { besideSaid } from "../../scene/pair-sentence";
import { type Field, valuesOf } from "./field";
import type { Room } from "./plot";
import type { Plot, ViewBox } from "./viewbox";

const SAID = 11; // px of a row in which "no key allowed" can be written

export interface Cursor {
  row: number;
  column: number;
}

export interface Laid {
  field: Field;
  axes: Axes;
  box: ViewBox;
  room: Room;
  /** Cells in sight take this much of the plot. */
  covered: Plot;
}

export class Marks {
  private readonly row = h("div", { class: "cross cross-row", "aria-hidden": "true" });
  private readonly column = h("div", { class: "cross cross-column", "aria-hidden": "true" });
  private readonly empty = h("div", { class: "empty-rows" });
  readonly over = h("div", { class: "grid-over" }, this.row, this.column, this.empty);
  private readonly cell: HTMLElement;
  readonly cellRow: HTMLElement;

  /** `id`: of the cell, for `aria-activedescendant`. */
  constructor(id: string) {
    this.cell = h("div", { role: "gridcell", class: "grid-cell", id });
    this.cellRow = h("div", { role: "row", class: "grid-row" }, this.cell);
  }

  /** The cell's numbers, in words. */
  get said(): string {
    return this.cell.getAttribute("aria-label") ?? "";
  }

  point(on: boolean): void {
    this.cell.classList.toggle("at", on);
  }

  draw(laid: Laid, cursor: Cursor): void {
    const { field, axes, box, room, covered } = laid;
    const x = (column: number) => (column - box.x) * box.cellX;
    const y = (row: number) => (row - box.y) * box.cellY;
    // on whole pixels of the screen, so that all four edges are equally thick
    const ratio = devicePixelRatio || 1;
    const whole = (length: number) => Math.round(length * ratio) / ratio;
    const put = (element: HTMLElement, left: number, top: number, width: number, height: number) => {
      const [x0, y0] = [whole(Math.max(0, left)), whole(Math.max(0, top))];
      const x1 = whole(Math.min(covered.width, left + width));
      const y1 = whole(Math.min(covered.height, top + height));
      element.hidden = x1 <= x0 || y1 <= y0;
      element.style.transform = `translate(${room.left + x0}px, ${room.top + y0}px)`;
      element.style.width = `${x1 - x0}px`;
      element.style.height = `${y1 - y0}px`;
    };
    if (axes.query >= 0) put(this.row, 0, y(axes.query), covered.width, box.cellY);
    else this.row.hidden = true;
    if (axes.key >= 0) put(this.column, x(axes.key), 0, box.cellX, covered.height);
    else this.column.hidden = true;
    put(this.cell, x(cursor.column), y(cursor.row), box.cellX, box.cellY);
    const empty = [...field.empty].filter(
      (row) => y(row) >= -1 && y(row) + box.cellY <= covered.height + 1 && box.cellY >= SAID,
    );
    if (this.empty.childElementCount !== empty.length)
      this.empty.replaceChildren(...empty.map(() => h("span", {}, "no key allowed")));
    empty.forEach((row, i) => {
      (this.empty.children[i] as HTMLElement).style.transform =
        `translate(${room.left + 6}px, ${room.top + y(row) + box.cellY / 2}px)`;
    });
    this.describe(laid, cursor);
  }

  /** The one cell that assistive technology meets, with its numbers. */
  private describe({ field, axes }: Laid, { row: r, column: c }: Cursor): void {
    const row = slotRow(field.cache, axes, r, true);
    const { cell } = this;
    setAttribute(this.cellRow, "aria-rowindex", String(r + 1));
    setAttribute(cell, "aria-colindex", String(c + 1));
    setAttribute(cell, "aria-label", spoken(field, axes, row, r, c));
    cell.dataset.query = String(axes.queries.slots[r].tokens[0]);
    cell.dataset.key = String(axes.keys.slots[c].tokens[0]);
    cell.dataset.value = String(valuesOf(row, field.quantity)[c]);
    cell.dataset.weight = String(row.weights[c]);
    setAttribute(cell, "data-score", row.scores ? String(row.scores[c]) : null);
    setAttribute(cell, "data-dot", row.dot ? String(row.dot[c]) : null);
    setAttribute(cell, "data-masked", row.masked[c] ? "" : null);
  }
}

function spoken(field: Field, axes: Axes, row: SlotRow, r: number, c: number): string {
  const name = ({ text, tokens }: Slot) => `“${isolated(text)}” at ${tokens[0]}`;
  const number = (value: number) => fixed(value, decimals(Math.max(1, Math.abs(value))));
  const { signed } = field.cache;
  const weight = signed ? `B − A ${change(row.weights[c])}` : `weight ${percent(row.weights[c])}`;
  const parts = [row.masked[c] && !row.weights[c] ? (signed ? "masked, or only in one" : "masked") : weight];
  if (signed) parts.push(...besideSaid(field.cache.members, axes.queries.slots[r].tokens, axes.keys.slots[c].tokens));
  if (row.scores && !row.masked[c]) parts.push(`score ${number(row.scores[c])}`);
  if (row.dot) parts.push(`q · k ${number(row.dot[c])}`);
  if (row.empty) parts.push("no key allowed");
  if (!signed) parts.push(`row sum ${fixed(field.rowSums[r], 3)}`);
  if (field.complete && !signed) parts.push(`received ${fixed(field.columnSums[c], 2)}`);
  return `${name(axes.queries.slots[r])} → ${name(axes.keys.slots[c])}: ${parts.join(" · ")}`;
}
