/** Where the grid stands: the room that it has, and what of it is in sight. */

import { visibleHeightOf } from "../../heads/visible-height";
import type { Field } from "./field";
import { type Room, roomFor } from "./plot";
import { clamped, fitted, type ViewBox } from "./viewbox";

const READABLE = 14; // px of a row
type Sight = { top: number; bottom: number };

export class Placement {
  box: ViewBox | null = null;
  room: Room | null = null;
  private name = "";
  private size = "";

  constructor(
    private readonly element: HTMLElement,
    private readonly viewport: () => Sight,
  ) {}

  /** Where everything stands; what is zoomed stays zoomed as long as the axes stay. */
  lay(field: Field, axes: string | undefined): void {
    const width = this.element.clientWidth;
    if (!width) return;
    const view = this.viewport();
    const first = roomFor(field, width, 100);
    const around = first.top + first.bottom + 12;
    // without scrolling where the cells then are large enough to read, else as much as is ever in sight
    const sight = visibleHeightOf(this.element, view);
    const atOnce = sight.atOnce - around;
    const high = atOnce / field.rows >= READABLE ? atOnce : Math.max(300, sight.always - around);
    this.room = roomFor(field, width, Math.min(high, 900));
    this.size = this.sizeOf(width, view);
    const name = `${field.rows} ${field.columns} ${axes}`;
    if (!this.box || name !== this.name) this.box = fitted(field.columns, field.rows, this.room.plot);
    this.name = name;
    this.show(this.box, field);
  }

  /** The same part of the grid in new room; all of it where all of it was in sight. */
  layAnew(field: Field, axes: string | undefined): void {
    if (!this.away(field)) this.box = null;
    this.lay(field, axes);
  }

  show(box: ViewBox, field: Field): void {
    if (this.room) this.box = clamped(box, field.columns, field.rows, this.room.plot);
  }

  /** The room is another than when it was laid. */
  get changed(): boolean {
    const width = this.element.clientWidth;
    return width > 0 && this.sizeOf(width, this.viewport()) !== this.size;
  }

  /** Zoomed: not all of it is in sight. */
  away(field: Field | null): boolean {
    const { box, room } = this;
    if (!box || !field || !room) return false;
    const all = fitted(field.columns, field.rows, room.plot);
    return box.cellX > all.cellX * 1.001 || box.cellY > all.cellY * 1.001;
  }

  /** What `lay` depends on beside the field. */
  private sizeOf(width: number, { top, bottom }: Sight): string {
    return `${width} ${bottom - top} ${getComputedStyle(this.element).getPropertyValue("--bar")}`;
  }
}
