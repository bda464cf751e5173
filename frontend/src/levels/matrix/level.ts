/** The matrix level: the same head as a grid, a cell for every query and key. */

import { AfterFrame, h, setAttribute, setText } from "../../base/dom";
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
import type { Actions, Legend, Level, LevelEntry, Picture } from "../../scene/level";
import type { Scene } from "../../scene/scene";
import type { Part } from "../../scene/text";
import { BackgroundFill } from "./background-fill";
import { ColoursOf } from "./colours";
import { CursorView } from "./cursor";
import { dataTableOf } from "./data-table";
import { drawingOf, shadeOf } from "./drawing";
import { gridElement, listenToGrid } from "./element";
import { exportSvg } from "./export-svg";
import type { Field } from "./field";
import { gestures } from "./gestures";
import { legendsOf } from "./legends";
import { type Laid, Marks } from "./marks";
import { gridNotes, whyNone } from "./notes";
import { pools } from "./paint";
import { Placement } from "./placement";
import { coveredBy, type Drawing, PlotView, sumsOf } from "./plot";
import type { Shade } from "./shade";
import css from "./style.css";
import { GridTools } from "./tools";
import type { ViewBox } from "./viewbox";

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
  private readonly place: Placement;
  private readonly axesOf = new AxesOf();
  private readonly observer: ResizeObserver;
  private readonly colours = new ColoursOf(this.element);
  private readonly swatch = h("i", { class: "swatch" });
  private scene: Scene | null = null;
  private axes: Axes | null = null;
  private frame = 0;
  private stale = false;

  constructor(
    private readonly actions: Actions,
    viewport: () => { top: number; bottom: number },
    source: Source,
  ) {
    this.place = new Placement(this.element, viewport);
    const cell = `m${++made}`;
    this.marks = new Marks(cell);
    this.cursor = new CursorView(actions, {
      laid: () => this.laid(),
      mark: () => this.mark(),
      show: (box) => this.show(box),
    });
    this.grid = gridElement(cell, this.view.canvas, this.marks.over, this.marks.cellRow);
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
    listenToGrid(this.grid, this.cursor);
    gestures(this.grid, this.cursor);
  }

  draw(scene: Scene): void {
    const axes = this.prepare(scene);
    const { field } = this;
    this.message.hidden = field !== null;
    this.box_.hidden = field === null;
    if (!field) {
      setText(this.message, whyNone(scene, this.fill.found));
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

  sentence(scene: Scene): Part[] | null {
    const axes = this.prepare(scene);
    if (!this.field || axes.query < 0) return null;
    const { cache } = this.field;
    completed(cache);
    const alone = { ...scene, state: { ...scene.state, queries: [] } };
    return headSentence(alone, cache, axes, slotRow(cache, axes, axes.query, true));
  }

  legends(): Legend[] {
    const shade = this.shade();
    return this.field && shade ? legendsOf(this.field, shade, this.swatch) : [];
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
    const { scene } = this;
    const { room } = this.place;
    const drawing = this.drawing();
    if (!scene || !room || !drawing) return null;
    return exportSvg(room, drawing, this.colours.of(scene.ramp), titleOf(scene));
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
    return this.field && this.scene ? shadeOf(this.field, this.scene) : null;
  }

  private drawing(): Drawing | null {
    const { field, axes, scene } = this;
    const { box } = this.place;
    return field && box && axes && scene ? drawingOf(field, box, axes, scene) : null;
  }

  // -- drawing

  private lay(): void {
    if (this.field) this.place.lay(this.field, this.axes?.name);
  }

  private layAnew(): void {
    if (this.field) this.place.layAnew(this.field, this.axes?.name);
  }

  private resize(): void {
    if (!this.scene || !this.place.changed) return;
    this.layAnew();
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
    const { room: laid } = this.place;
    if (laid && this.field && !laid.rowSums && sumsOf(this.field) && this.field.anyUneven) this.layAnew(); // a row has a bar now
    const drawing = this.drawing();
    const { room } = this.place;
    if (!drawing || !room || !this.scene) return;
    this.stale = false;
    this.view.draw(room, drawing, this.colours.of(this.scene.ramp), devicePixelRatio || 1);
    this.grid.dataset.cell = `${drawing.box.cellX},${drawing.box.cellY}`;
    this.grid.dataset.origin = `${room.left},${room.top}`;
    setAttribute(this.grid, "data-complete", drawing.field.complete ? "" : null);
    const away = this.place.away(this.field);
    this.grid.classList.toggle("zoomed", away);
    this.gridTools.zoomed(away);
    this.mark();
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
    const { field, axes } = this;
    const { box, room } = this.place;
    return field && axes && box && room ? { field, axes, box, room, covered: coveredBy(field, box, room) } : null;
  }

  private drawNotes(scene: Scene, axes: Axes): void {
    const { field } = this;
    const { box } = this.place;
    const { found } = this.fill;
    if (field && found && box) this.notes.draw(gridNotes(scene, axes, found, field, pools(box, devicePixelRatio || 1)));
  }

  private show(box: ViewBox): void {
    const { field } = this;
    if (!this.place.room || !field) return;
    this.place.show(box, field);
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
