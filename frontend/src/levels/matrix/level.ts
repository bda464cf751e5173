/** The matrix level: the same head as a grid, a cell for every query and key. */

import { AfterFrame, h, setAttribute, setText } from "../../base/dom";
import { percent } from "../../base/format";
import type { Source } from "../../data/source";
import { levels } from "../../generated/words.json";
import { type Axes, AxesOf } from "../../heads/axes";
import { DataTable } from "../../heads/data-table";
import { completed, headSentence } from "../../heads/head-sentence";
import { titleOf } from "../../heads/members";
import { Notes } from "../../heads/notes";
import { Pending } from "../../heads/pending";
import { slotRow } from "../../heads/rows";
import { SharedTools } from "../../heads/tools";
import { visibleHeightOf } from "../../heads/visible-height";
import type { Actions, Legend, Level, LevelEntry, Picture } from "../../scene/level";
import type { Scene } from "../../scene/scene";
import type { Part } from "../../scene/text";
import { BackgroundFill } from "./background-fill";
import { CursorView } from "./cursor";
import { dataTableOf } from "./data-table";
import { exportSvg } from "./export-svg";
import type { Field } from "./field";
import { gestures } from "./gestures";
import { type Laid, Marks } from "./marks";
import { gridNotes } from "./notes";
import { pools } from "./paint";
import { type Colours, coveredBy, type Drawing, PlotView, type Room, roomFor, sumsOf } from "./plot";
import { DIFFERENCE, NAMES, Shade } from "./shade";
import css from "./style.css";
import { GridTools } from "./tools";
import { clamped, fitted, type ViewBox } from "./viewbox";

const READABLE = 14; // px of a row
let made = 0;

export class MatrixLevel implements Level {
  readonly name = "matrix";
  readonly element = h("div", { class: "matrix-level", "data-level": "matrix" });
  readonly tools: HTMLElement[];
  readonly keys = "arrows walk · Space pins · + − 0 zoom";
  private readonly shared: SharedTools;
  private readonly gridTools: GridTools;
  private readonly message = h("p", { class: "message", role: "note" });
  private readonly view = new PlotView();
  private readonly marks: Marks;
  private readonly cursor: CursorView;
  private readonly grid: HTMLElement;
  private readonly box_ = h("div", { class: "grid-box" });
  private readonly notes = new Notes();
  private readonly pages = new DataTable();
  private readonly later = new AfterFrame();
  private readonly arrivals: Pending;
  private readonly fill: BackgroundFill;
  private readonly axesOf = new AxesOf();
  private readonly observer: ResizeObserver;
  private readonly swatch = h("i", { class: "swatch" });
  private scene: Scene | null = null;
  private axes: Axes | null = null;
  private box: ViewBox | null = null;
  private boxName = "";
  private room: Room | null = null;
  private frame = 0;
  private stale = false;
  private size = "";
  private colours: { name: string; of: Colours } | null = null;

  constructor(
    private readonly actions: Actions,
    private readonly viewport: () => { top: number; bottom: number },
    source: Source,
  ) {
    const cell = `m${++made}`;
    this.marks = new Marks(cell);
    this.cursor = new CursorView(actions, {
      laid: () => this.laid(),
      mark: () => this.mark(),
      show: (box) => this.show(box),
    });
    this.grid = h(
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
      this.view.canvas,
      this.marks.over,
      this.marks.cellRow,
    );
    this.box_.append(this.grid);
    this.arrivals = new Pending(() => this.arrived(), actions.notice);
    const done = () => {
      this.paint();
      this.actions.set({});
    };
    this.fill = new BackgroundFill(source, () => this.paint(), done);
    this.shared = new SharedTools(actions, () => this.toggleTable());
    this.gridTools = new GridTools(actions, (by) => this.cursor.zoomBy(by));
    this.tools = [...this.gridTools.elements, ...this.shared.elements];
    this.message.hidden = true;
    this.element.append(this.message, this.box_, this.notes.element, this.pages.element);
    this.observer = new ResizeObserver(() => this.resize());
    this.observer.observe(this.element);
    this.grid.addEventListener("keydown", (event) => {
      if (!this.cursor.key(event)) return;
      event.preventDefault();
      event.stopPropagation();
    });
    this.grid.addEventListener("focus", () => {
      const { row, column } = this.cursor.cursor;
      if (this.grid.matches(":focus-visible")) this.cursor.walk(row, column);
    });
    this.grid.addEventListener("blur", () => this.cursor.leave());
    gestures(this.grid, this.cursor);
  }

  draw(scene: Scene): void {
    const axes = this.prepare(scene);
    const { field } = this;
    this.message.hidden = field !== null;
    this.box_.hidden = field === null;
    if (!field) {
      setText(this.message, this.why(scene));
      return;
    }
    this.shared.show(scene);
    this.gridTools.show(scene, field.quantity, field.cache.hasScores);
    const { row, column } = this.cursor.cursor;
    this.cursor.cursor = {
      row: Math.min(axes.query >= 0 ? axes.query : row, field.rows - 1),
      column: Math.min(axes.query >= 0 && axes.key >= 0 ? axes.key : column, field.columns - 1),
    };
    this.lay();
    this.mark();
    this.paintSoon();
    this.drawNotes(scene, axes);
    this.table();
  }

  /** Why there is no grid. */
  private why({ site }: Scene): string {
    const { found } = this.fill;
    if (found?.cache?.large)
      return `${site.queries} queries × ${site.keys} keys are more cells than a page can hold (16 million, a text of 4,000 tokens). The lines show one query at a time.`;
    if (found?.cache) return "Nothing is left to draw: every query or every key is hidden or outside the filter.";
    return found?.waiting.length
      ? "Waiting for the heads of this picture …"
      : "None of the heads of this picture are here.";
  }

  sentence(scene: Scene): Part[] | null {
    const axes = this.prepare(scene);
    if (!this.field || axes.query < 0) return null;
    const { cache } = this.field;
    completed(cache);
    const alone = { ...scene, state: { ...scene.state, queries: [] } };
    return headSentence(alone, cache, axes, slotRow(cache, axes, axes.query, true));
  }

  legends(): Legend[] {
    const { field } = this;
    const shade = this.shade();
    if (!field || !shade) return [];
    const gradient = shade.gradient();
    if (this.swatch.style.backgroundImage !== gradient) this.swatch.style.backgroundImage = gradient;
    const legends: Legend[] = [
      { swatch: this.swatch, said: [[shade.signed ? DIFFERENCE : NAMES[shade.quantity], shade.said]] },
    ];
    if (shade.clips) legends.push({ swatch: "notch", said: [["", `clipped: up to ${percent(shade.largest)}`]] });
    if (field.masked)
      legends.push({ swatch: "masked", said: [["", shade.signed ? "masked, or only in one" : "masked"]] });
    if (field.broken) legends.push({ swatch: "broken", said: [["", "NaN or infinite"]] });
    return legends;
  }

  look(): void {
    this.resize();
  }

  arrive(): void {}

  close(): boolean {
    if (!this.pages.open) return false;
    this.toggleTable();
    return true;
  }

  leave(): void {
    this.fill.cancel();
  }

  destroy(): void {
    this.fill.cancel();
    this.later.cancel();
    this.arrivals.cancel();
    cancelAnimationFrame(this.frame);
    this.observer.disconnect();
  }

  picture(): Picture | null {
    const { scene, room } = this;
    const drawing = this.drawing();
    if (!scene || !room || !drawing) return null;
    return exportSvg(room, drawing, this.palette(scene), titleOf(scene));
  }

  // -- what a scene means here

  private get field(): Field | null {
    return this.fill.field;
  }

  private prepare(scene: Scene): Axes {
    const axes = this.axesOf.of(scene);
    if (this.scene === scene) return axes;
    this.scene = scene;
    this.axes = axes;
    this.arrivals.wait(this.fill.ask(scene, axes).waiting);
    return axes;
  }

  private arrived(): void {
    const { scene } = this;
    if (!scene) return;
    this.scene = null;
    this.draw(scene);
  }

  private shade(): Shade | null {
    const { field, scene } = this;
    if (!field || !scene) return null;
    const { signed } = field.cache;
    const log = scene.state.log && field.quantity === "weights" && !signed;
    return new Shade(scene.ramp, field.quantity, field.end, field.largest, log, signed);
  }

  private drawing(): Drawing | null {
    const { field, box, axes, scene } = this;
    const shade = this.shade();
    if (!field || !box || !axes || !scene || !shade) return null;
    const border = (table: number, slots: { tokens: number[] }[]) => {
      const at = scene.meta.tokens[table].border;
      return at === null ? -1 : slots.findIndex(({ tokens }) => tokens[0] >= at);
    };
    return {
      field,
      box,
      shade,
      query: axes.query,
      key: axes.key,
      border: {
        query: border(scene.site.query_tokens, axes.queries.slots),
        key: border(scene.site.key_tokens, axes.keys.slots),
      },
    };
  }

  private palette({ ramp }: Scene): Colours {
    const name = ramp.palette.ground;
    if (this.colours?.name !== name) {
      const style = getComputedStyle(this.element);
      const read = (property: string) => style.getPropertyValue(`--${property}`).trim();
      const [text, muted, line, hatch, ink] = ["text", "muted", "line", "hatch", "ink"].map(read);
      this.colours = { name, of: { ground: name, text, muted, line, hatch, ink } };
    }
    return this.colours.of;
  }

  // -- drawing

  /** Where everything stands; what is zoomed stays zoomed as long as the axes stay. */
  private lay(): void {
    const { field } = this;
    const width = this.element.clientWidth;
    if (!field || !width) return;
    const view = this.viewport();
    const first = roomFor(field, width, 100);
    const around = first.top + first.bottom + 12;
    // without scrolling where the cells then are large enough to read, else as much as is ever in sight
    const sight = visibleHeightOf(this.element, view);
    const atOnce = sight.atOnce - around;
    const high = atOnce / field.rows >= READABLE ? atOnce : Math.max(300, sight.always - around);
    this.room = roomFor(field, width, Math.min(high, 900));
    this.size = this.sizeOf(width, view);
    const name = `${field.rows} ${field.columns} ${this.axes?.name}`;
    if (!this.box || name !== this.boxName) this.box = fitted(field.columns, field.rows, this.room.plot);
    this.boxName = name;
    this.box = clamped(this.box, field.columns, field.rows, this.room.plot);
  }

  /** What `lay` depends on beside the field. */
  private sizeOf(width: number, { top, bottom }: { top: number; bottom: number }): string {
    return `${width} ${bottom - top} ${getComputedStyle(this.element).getPropertyValue("--bar")}`;
  }

  private resize(): void {
    const width = this.element.clientWidth;
    if (!this.scene || !width || this.sizeOf(width, this.viewport()) === this.size) return;
    if (!this.away()) this.box = null;
    this.lay();
    this.paint();
  }

  /** Once a frame, when everything else has found its place. */
  private paintSoon(): void {
    this.stale = true;
    this.frame ||= requestAnimationFrame(() => {
      this.frame = 0;
      this.resize();
      if (this.stale) this.paint();
    });
  }

  private paint(): void {
    if (this.room && this.field && !this.room.rowSums && sumsOf(this.field) && this.field.anyUneven) {
      if (!this.away()) this.box = null;
      this.lay(); // there is a row with a bar now
    }
    const drawing = this.drawing();
    if (!drawing || !this.room || !this.scene) return;
    this.stale = false;
    this.view.draw(this.room, drawing, this.palette(this.scene), devicePixelRatio || 1);
    this.grid.dataset.cell = `${drawing.box.cellX},${drawing.box.cellY}`;
    this.grid.dataset.origin = `${this.room.left},${this.room.top}`;
    setAttribute(this.grid, "data-complete", drawing.field.complete ? "" : null);
    this.grid.classList.toggle("zoomed", this.away());
    this.gridTools.zoomed(this.away());
    this.mark();
  }

  private away(): boolean {
    const { box, field, room } = this;
    if (!box || !field || !room) return false;
    const all = fitted(field.columns, field.rows, room.plot);
    return box.cellX > all.cellX * 1.001 || box.cellY > all.cellY * 1.001;
  }

  /** Moved without painting; the numbers of the cell under the cursor. */
  private mark(): string {
    const laid = this.laid();
    if (!laid) return "";
    setAttribute(this.grid, "aria-rowcount", String(laid.field.rows));
    setAttribute(this.grid, "aria-colcount", String(laid.field.columns));
    this.marks.draw(laid, this.cursor.cursor);
    this.marks.point(this.cursor.pointed);
    return this.marks.said;
  }

  private laid(): Laid | null {
    const { field, axes, box, room } = this;
    return field && axes && box && room ? { field, axes, box, room, covered: coveredBy(field, box, room) } : null;
  }

  private drawNotes(scene: Scene, axes: Axes): void {
    const { field, box } = this;
    const { found } = this.fill;
    if (field && found && box) this.notes.draw(gridNotes(scene, axes, found, field, pools(box, devicePixelRatio || 1)));
  }

  private show(box: ViewBox): void {
    const { room, field } = this;
    if (!room || !field) return;
    this.box = clamped(box, field.columns, field.rows, room.plot);
    this.paintSoon();
    this.later.run(() => this.scene && this.axes && this.drawNotes(this.scene, this.axes));
  }

  private toggleTable(): void {
    this.table();
    this.shared.table.setAttribute("aria-pressed", String(this.pages.toggle()));
  }

  private table(): void {
    this.pages.draw(() => dataTableOf(this.scene as Scene, this.axes as Axes, this.field as Field));
  }
}

export const matrixLevel: LevelEntry = {
  name: "matrix",
  ...levels.matrix,
  css,
  make: (actions, viewport, source) => new MatrixLevel(actions, viewport, source),
};
