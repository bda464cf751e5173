/** The cursor on the grid: the cell under the pointer or reached with the arrow keys, and the zoom. */
import type { Actions } from "../../scene/level";
import type { GestureHost } from "./gestures";
import { pressed } from "./keys";
import type { Cursor, Laid } from "./marks";
import { clamped, fitted, panned, revealed, type ViewBox, zoomed } from "./viewbox";

export interface CursorHost {
  laid(): Laid | null;
  /** Draws what lies over the cells; returns the text about the cell under the cursor. */
  mark(): string;
  show(box: ViewBox): void;
  /** See `Tiles.small`. */
  small(): { left: number; top: number; size: number } | null;
}

const within = (value: number, n: number) => Math.max(0, Math.min(n - 1, Math.floor(value)));

export class CursorView implements GestureHost {
  cursor: Cursor = { row: 0, column: 0 };
  pointed = false;

  constructor(
    private readonly actions: Actions,
    private readonly host: CursorHost,
  ) {}

  point(x: number, y: number): void {
    const at = this.at(x, y);
    if (!at || (!at.inRow && !at.inColumn)) {
      this.leave();
      return;
    }
    const { row, column } = at;
    if (!this.pointed || row !== this.cursor.row || column !== this.cursor.column) this.see({ row, column });
  }

  leave(): void {
    if (!this.pointed) return;
    this.pointed = false;
    this.host.mark();
  }

  /** On a label: the query or the key alone. */
  click(x: number, y: number): void {
    const at = this.at(x, y);
    const tokens = this.tokens();
    if (!at || !tokens) return;
    const { query, key } = tokens;
    if (at.inRow && at.inColumn) this.actions.set({ query, key });
    else if (at.inRow) this.actions.set({ query });
    else if (at.inColumn) this.actions.set({ key });
  }

  enter(x: number, y: number): void {
    const at = this.at(x, y);
    const tokens = this.tokens();
    if (tokens && at?.inRow && at.inColumn) this.actions.go({ level: "neuron", ...tokens });
  }

  zoom(factor: number, x: number, y: number): void {
    const { box, room } = this.host.laid() ?? {};
    if (box && room) this.host.show(zoomed(box, factor, x - room.left, y - room.top));
  }

  pan(dx: number, dy: number): boolean {
    const laid = this.host.laid();
    if (!laid) return false;
    const { box, room, field } = laid;
    const next = clamped(panned(box, dx, dy), field.columns, field.rows, room.plot);
    if (Math.abs(next.x - box.x) + Math.abs(next.y - box.y) < 1e-6) return false;
    this.host.show(next);
    return true;
  }

  jump(x: number, y: number, held: boolean): boolean {
    const { box, room, field } = this.host.laid() ?? {};
    const small = this.host.small();
    if (!box || !room || !field || !small) return false;
    const [column, row] = [(x - small.left) / small.size, (y - small.top) / small.size];
    if (!held && (column < 0 || column >= field.columns || row < 0 || row >= field.rows)) return false;
    const { width, height } = room.plot;
    this.host.show({ ...box, x: column - width / box.cellX / 2, y: row - height / box.cellY / 2 });
    return true;
  }

  /** About the cell under the cursor; 0 shows all. */
  zoomBy(factor: number): void {
    const laid = this.host.laid();
    if (!laid) return;
    const { box, room, field } = laid;
    const { plot } = room;
    if (factor === 0) {
      this.host.show(fitted(field.columns, field.rows, plot));
      return;
    }
    const x = (this.cursor.column + 0.5 - box.x) * box.cellX;
    const y = (this.cursor.row + 0.5 - box.y) * box.cellY;
    const inside = x >= 0 && y >= 0 && x <= plot.width && y <= plot.height;
    this.host.show(zoomed(box, factor, inside ? x : plot.width / 2, inside ? y : plot.height / 2));
  }

  walk(row: number, column: number): void {
    const laid = this.host.laid();
    if (!laid) return;
    const { field, room, box } = laid;
    const cursor = { row: within(row, field.rows), column: within(column, field.columns) };
    const seen = revealed(box, cursor.column, cursor.row, room.plot);
    const next = clamped(seen, field.columns, field.rows, room.plot);
    if (next.x !== box.x || next.y !== box.y) this.host.show(next);
    this.see(cursor);
  }

  /** True where the key was for the grid. */
  key(event: KeyboardEvent): boolean {
    const laid = this.host.laid();
    const tokens = this.tokens();
    if (!laid || !tokens) return false;
    const { field, box, room } = laid;
    const page = Math.max(1, Math.floor(Math.min(room.plot.height / box.cellY, field.rows)) - 1);
    // of a long text a step goes as far as can be seen
    const far = field.tiled ? Math.max(1, Math.round(3 / Math.min(box.cellX, box.cellY))) : 1;
    const what = pressed(event, this.cursor, field, page, far);
    if (!what) return false;
    if (what === "pin") this.actions.set(tokens);
    else if (what === "enter") this.actions.go({ level: "neuron", ...tokens });
    else if ("walk" in what) this.walk(...what.walk);
    else this.zoomBy(what.zoom);
    return true;
  }

  private see(cursor: Cursor): void {
    this.cursor = cursor;
    this.pointed = true;
    this.actions.say(this.host.mark());
  }

  private tokens(): { query: number; key: number } | null {
    const { axes } = this.host.laid() ?? {};
    if (!axes) return null;
    return { query: axes.queries.slots[this.cursor.row].tokens[0], key: axes.keys.slots[this.cursor.column].tokens[0] };
  }

  private at(x: number, y: number): (Cursor & { inRow: boolean; inColumn: boolean }) | null {
    const laid = this.host.laid();
    if (!laid) return null;
    const { box, room, field, covered } = laid;
    const [px, py] = [x - room.left, y - room.top];
    const inColumn = px >= 0 && px < covered.width;
    const inRow = py >= 0 && py < covered.height;
    return {
      column: inColumn ? within(box.x + px / box.cellX, field.columns) : this.cursor.column,
      row: inRow ? within(box.y + py / box.cellY, field.rows) : this.cursor.row,
      inRow,
      inColumn,
    };
  }
}
