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
import { isLarge } from "../../heads/row-cache";
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
import { blockSaid, gridNotes, whyNone } from "./notes";
import { pools } from "./paint";
import { ofPicture } from "./picture-sentence";
import { Placement } from "./placement";
import { coveredBy, type Drawing, PlotView, sumsOf } from "./plot";
import type { Shade } from "./shade";
import css from "./style.css";
import type { Tiles } from "./tiles";
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
  private readonly plains = new WeakMap<Scene, Scene>();
  private scene: Scene | null = null;
  private axes: Axes | null = null;
  private frame = 0;
  private stale = false;
  /** What scale and notes were last told of. */
  private said: { tiles: Tiles | null; text: string } = { tiles: null, text: "" };

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
      small: () => this.fill.tiles?.small ?? null,
    });
    this.grid = gridElement(cell, this.view.canvas, this.marks.over, this.marks.cellRow);
    this.box_.append(this.grid);
    this.arrivals = new Pending(() => this.arrived(), actions.notice);
    const done = () => {
      this.paint();
      const { tiles, field } = this.fill;
      const said = `${tiles?.coarse} ${tiles?.block} ${field?.end}`;
      if (tiles && tiles === this.said.tiles && said === this.said.text) return; // a tile more changes no word
      this.said = { tiles, text: said };
      this.actions.set({}); // scale and notes
    };
    this.fill = new BackgroundFill(source, () => this.paint(), done, actions.notice);
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

  draw(given: Scene): void {
    const scene = this.plain(given);
    const axes = this.prepare(scene);
    const { field } = this;
    this.message.hidden = field !== null;
    this.box_.hidden = field === null;
    if (!field) {
      setText(this.message, whyNone(scene, this.fill.found));
      return;
    }
    this.shared.show(scene);
    this.gridTools.show(scene, field.quantity, field.cache.hasScores && !field.tiled);
    this.shared.table.hidden = field.picture !== null;
    if (field.picture && this.pages.open) this.toggleTable();
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

  sentence(given: Scene): Part[] | null {
    const scene = this.plain(given);
    const axes = this.prepare(scene);
    if (!this.field) return null;
    if (this.field.picture) return ofPicture(scene, this.field.picture);
    if (axes.query < 0) return null;
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
    return exportSvg(
      room,
      drawing,
      this.colours.of(scene.ramp),
      titleOf(scene) + blockSaid(drawing.field, drawing.tiles),
    );
  }

  // -- what a scene means here

  private get field(): Field | null {
    return this.fill.field;
  }

  /** A long text is drawn token by token: its tiles merge and hide none. */
  private plain(scene: Scene): Scene {
    const { words, special, filter, pooled } = scene.state;
    if ((!isLarge(scene.site) && !scene.picture) || (!words && !pooled && special === "show" && filter === "all"))
      return scene;
    let plain = this.plains.get(scene);
    if (!plain) {
      plain = { ...scene, state: { ...scene.state, words: false, pooled: false, special: "show", filter: "all" } };
      this.plains.set(scene, plain);
    }
    return plain;
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
    return field && box && axes && scene ? drawingOf(field, this.fill.tiles, box, axes, scene) : null;
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
    const { tiles } = drawing;
    setAttribute(this.grid, "data-complete", drawing.field.complete || tiles?.coarse === false ? "" : null);
    setAttribute(this.grid, "data-block", tiles && String(tiles.block));
    if (tiles?.moving) this.paintSoon();
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
    if (field && found && box)
      this.notes.draw(gridNotes(scene, axes, found, field, pools(box, devicePixelRatio || 1), this.fill.tiles));
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
    this.pages.draw(() => dataTableOf(this.scene as Scene, this.axes as Axes, this.field as Field, this.place.box));
  }
}

export const matrixLevel: LevelEntry = {
  name: "matrix",
  ...levels.matrix,
  css,
  make: (actions, viewport, source) => new MatrixLevel(actions, viewport, source),
};
