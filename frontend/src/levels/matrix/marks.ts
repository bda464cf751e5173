/** Over the canvas, as elements: the selected row and column, rows without keys, and the one cell under the cursor. */

import { h, setAttribute, setText } from "../../base/dom";
import { change, decimals, fixed, percent } from "../../base/format";
import type { Picture, Span } from "../../data/pictured";
import type { Axes } from "../../heads/axes";
import type { Axis, Slot, SlotRow } from "../../heads/axis";
import type { RowCache } from "../../heads/row-cache";
import { slotRow } from "../../heads/rows";
import { fromRight, isolated, joins } from "../../scene/labels";
import { besideSaid } from "../../scene/pair-sentence";
import { type Field, valuesOf } from "./field";
import { short } from "./labels";
import type { Room } from "./plot";
import type { Plot, ViewBox } from "./viewbox";

const SAID = 11; // px of a row in which "no key allowed" can be written

type Patch = ReturnType<Picture["at"]>;

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

/** The numbers of the row under the cursor, which stays while the view moves. */
interface Known {
  cache: RowCache;
  axes: Axes;
  at: number;
  row: SlotRow;
}

export class Marks {
  private readonly row = h("div", { class: "cross cross-row", "aria-hidden": "true" });
  private readonly column = h("div", { class: "cross cross-column", "aria-hidden": "true" });
  private readonly empty = h("div", { class: "empty-rows" });
  /** While a cell is pointed at: the names of its row and column, and its number. */
  private readonly query = h("div", { class: "axis-at axis-query", "aria-hidden": "true" });
  private readonly key = h("div", { class: "axis-at axis-key", "aria-hidden": "true" });
  private readonly value = h("div", { class: "value-at", "aria-hidden": "true" });
  readonly over = h("div", { class: "grid-over" }, this.row, this.column, this.empty, this.query, this.key, this.value);
  private readonly cell: HTMLElement;
  private known: Known | null = null;
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
    this.over.classList.toggle("pointed", on);
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
    const patch = field.picture?.at(cursor.row, cursor.column);
    const [left, right] = patch?.keys ?? [cursor.column, cursor.column];
    const [top, bottom] = patch?.queries ?? [cursor.row, cursor.row];
    put(this.cell, x(left), y(top), (right - left + 1) * box.cellX, (bottom - top + 1) * box.cellY);
    const empty = [...field.empty].filter(
      (row) => y(row) >= -1 && y(row) + box.cellY <= covered.height + 1 && box.cellY >= SAID,
    );
    if (this.empty.childElementCount !== empty.length)
      this.empty.replaceChildren(...empty.map(() => h("span", {}, "no key allowed")));
    empty.forEach((row, i) => {
      (this.empty.children[i] as HTMLElement).style.transform =
        `translate(${room.left + 6}px, ${room.top + y(row) + box.cellY / 2}px)`;
    });
    if (patch) {
      this.describePatch(laid, cursor, patch);
      this.lightUp(laid, cursor, patchValue(patch), x(cursor.column), y(cursor.row));
      return;
    }
    const known = this.known;
    if (known?.cache !== field.cache || known.axes !== axes || known.at !== cursor.row)
      this.known = {
        ...{ cache: field.cache, axes, at: cursor.row },
        row: slotRow(field.cache, axes, cursor.row, true),
      };
    const { row } = this.known as Known;
    this.describe(laid, cursor, row);
    this.lightUp(laid, cursor, valueAt(field, row, cursor.column), x(cursor.column), y(cursor.row));
  }

  /** `left`, `top`: of the cell, within the plot. */
  private lightUp({ axes, box, room, covered }: Laid, cursor: Cursor, text: string, left: number, top: number): void {
    const slots = [axes.queries.slots[cursor.row], axes.keys.slots[cursor.column]];
    for (const [i, element] of [this.query, this.key].entries()) {
      setText(element, short(slots[i].text));
      element.classList.toggle("joins", joins(slots[i].text));
      element.dir = fromRight(slots[i].text) ? "rtl" : "ltr";
    }
    this.query.style.right = `calc(100% - ${room.left - 4}px)`;
    this.query.style.top = `${room.top + top + box.cellY / 2}px`;
    this.key.style.left = `${room.left + left + box.cellX / 2}px`;
    this.key.style.top = `${room.top - 7}px`;
    setText(this.value, text);
    const wide = 8 * text.length + 14;
    const beside = left + box.cellX + 6;
    const fits = room.left + beside + wide <= room.left + covered.width + room.right;
    this.value.style.left = `${room.left + (fits ? beside : Math.max(0, left - wide - 6))}px`;
    this.value.style.top = `${room.top + Math.max(2, Math.min(covered.height - 22, top + box.cellY / 2 - 11))}px`;
  }

  /** Of a head that is not here: what its picture tells. */
  private describePatch({ axes }: Laid, { row: r, column: c }: Cursor, patch: Patch): void {
    const { cell } = this;
    this.place(axes, r, c);
    const of = (axis: Axis, [from, to]: Span) =>
      [from, to].map((at) => `“${isolated(axis.slots[at].text)}” at ${axis.slots[at].tokens[0]}`).join(" to ");
    const where = `queries ${of(axes.queries, patch.queries)} → keys ${of(axes.keys, patch.keys)}`;
    setAttribute(
      cell,
      "aria-label",
      `${where}: ${patch.value < 0 ? "masked" : `largest weight ${percent(patch.value)}`}`,
    );
    cell.dataset.value = String(patch.value);
    for (const name of ["data-weight", "data-score", "data-dot"]) cell.removeAttribute(name);
    setAttribute(cell, "data-masked", patch.value < 0 ? "" : null);
  }

  private place(axes: Axes, r: number, c: number): void {
    setAttribute(this.cellRow, "aria-rowindex", String(r + 1));
    setAttribute(this.cell, "aria-colindex", String(c + 1));
    this.cell.dataset.query = String(axes.queries.slots[r].tokens[0]);
    this.cell.dataset.key = String(axes.keys.slots[c].tokens[0]);
  }

  /** The one cell that assistive technology meets, with its numbers. */
  private describe({ field, axes }: Laid, { row: r, column: c }: Cursor, row: SlotRow): void {
    const { cell } = this;
    this.place(axes, r, c);
    setAttribute(cell, "aria-label", spoken(field, axes, row, r, c));
    cell.dataset.value = String(valuesOf(row, field.quantity)[c]);
    cell.dataset.weight = String(row.weights[c]);
    setAttribute(cell, "data-score", row.scores ? String(row.scores[c]) : null);
    setAttribute(cell, "data-dot", row.dot ? String(row.dot[c]) : null);
    setAttribute(cell, "data-masked", row.masked[c] ? "" : null);
  }
}

const patchValue = ({ value }: Patch) => (value < 0 ? "masked" : `≤ ${percent(value)}`);

/** The number of a cell, as its colour shows it. */
function valueAt(field: Field, row: SlotRow, c: number): string {
  if (row.masked[c] && !row.weights[c]) return "masked";
  const value = valuesOf(row, field.quantity)[c];
  if (field.quantity === "weights") return field.cache.signed ? change(value) : percent(value);
  return fixed(value, decimals(Math.max(1, Math.abs(value))));
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
  if (!signed && field.row(r)) parts.push(`row sum ${fixed(field.rowSums[r], 3)}`);
  if (field.complete && !signed) parts.push(`received ${fixed(field.columnSums[c], 2)}`);
  return `${name(axes.queries.slots[r])} → ${name(axes.keys.slots[c])}: ${parts.join(" · ")}`;
}
