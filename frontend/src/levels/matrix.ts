/** The matrix level: the same head as a grid, a cell for every query and key. */
import { AfterFrame, h, setAttribute, setText } from "../dom";
import type { SlotRow } from "../merge";
import type { Actions, Legend, Level, Picture, Scene } from "../scene";
import type { Part } from "../sentence";
import type { Source } from "../source";
import { decimals, fixed, percent } from "../words";
import { type Axes, AxesOf } from "./head/axes";
import { completed, finding } from "./head/finding";
import { placeName } from "./head/members";
import { Notes, notesOf } from "./head/notes";
import { Pages } from "./head/pages";
import { Slices } from "./head/slices";
import { type Found, rowsOf, sheetOf, slotRow } from "./head/stock";
import { SharedTools } from "./head/tools";
import { Field, type Quantity, valuesOf } from "./matrix/field";
import { gestures } from "./matrix/gestures";
import { pools } from "./matrix/paint";
import { gridPaper } from "./matrix/paper";
import { type Colours, type Drawing, PlotView, type Room, roomFor } from "./matrix/plot";
import { NAMES, Shade } from "./matrix/shade";
import { GridTools } from "./matrix/tools";
import { clamped, fitted, panned, revealed, type ViewBox, zoomed } from "./matrix/viewbox";

const AT_ONCE = 20_000; // cells that nobody waits for
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
  private readonly cell = h("div", { role: "gridcell", class: "grid-cell" });
  private readonly cellRow = h("div", { role: "row", class: "grid-row" }, this.cell);
  private readonly rowMark = h("div", { class: "cross cross-row", "aria-hidden": "true" });
  private readonly columnMark = h("div", { class: "cross cross-column", "aria-hidden": "true" });
  private readonly emptyMarks = h("div", { class: "empty-rows" });
  private readonly over = h("div", { class: "grid-over" });
  private readonly grid: HTMLElement;
  private readonly box_ = h("div", { class: "grid-box" });
  private readonly notes = new Notes();
  private readonly pages = new Pages();
  private readonly slices = new Slices();
  private readonly later = new AfterFrame();
  private readonly axesOf = new AxesOf();
  private readonly observer: ResizeObserver;
  private readonly swatch = h("i", { class: "swatch" });
  private scene: Scene | null = null;
  private axes: Axes | null = null;
  private found: Found | null = null;
  private field: Field | null = null;
  private fieldName = "";
  private box: ViewBox | null = null;
  private boxName = "";
  private room: Room | null = null;
  private cursor = { row: 0, column: 0 };
  private pointed = false;
  private frame = 0;
  private waiting = 0;
  private size = "";
  private colours: { name: string; of: Colours } | null = null;

  constructor(
    private readonly actions: Actions,
    private readonly viewport: () => { top: number; bottom: number },
    private readonly source: Source,
  ) {
    this.cell.id = `m${++made}`;
    this.grid = h(
      "div",
      {
        class: "grid-picture",
        role: "grid",
        tabindex: 0,
        "data-grid": "matrix",
        "aria-label":
          "weights as a grid: a row for each query, a column for each key; arrow keys walk, Space pins, plus and minus zoom",
        "aria-activedescendant": this.cell.id,
      },
      this.view.canvas,
      this.over,
      this.cellRow,
    );
    this.over.append(this.rowMark, this.columnMark, this.emptyMarks);
    this.box_.append(this.grid);
    this.shared = new SharedTools(actions, () => this.toggleTable());
    this.gridTools = new GridTools(actions, (by) => this.zoomBy(by));
    this.tools = [...this.gridTools.elements, ...this.shared.elements];
    this.message.hidden = true;
    this.element.append(this.message, this.box_, this.notes.element, this.pages.element);
    this.observer = new ResizeObserver(() => this.resize());
    this.observer.observe(this.element);
    this.grid.addEventListener("keydown", (event) => this.key(event));
    this.grid.addEventListener(
      "focus",
      () => this.grid.matches(":focus-visible") && this.walk(this.cursor.row, this.cursor.column),
    );
    this.grid.addEventListener("blur", () => this.unpoint());
    gestures(this.grid, {
      point: (x, y) => this.point(x, y),
      leave: () => this.unpoint(),
      click: (x, y) => this.click(x, y),
      enter: (x, y) => this.enterAt(x, y),
      zoom: (factor, x, y) => this.zoomAt(factor, x, y),
      pan: (dx, dy) => this.pan(dx, dy),
    });
  }

  draw(scene: Scene): void {
    const axes = this.prepare(scene);
    this.message.hidden = this.field !== null;
    this.box_.hidden = this.field === null;
    if (!this.field || !this.found) {
      setText(this.message, this.why(scene));
      return;
    }
    this.shared.show(scene);
    this.gridTools.show(scene, this.field.quantity, this.field.sheet.hasScores);
    if (axes.query >= 0) this.cursor = { row: axes.query, column: axes.key >= 0 ? axes.key : this.cursor.column };
    this.cursor.row = Math.min(this.cursor.row, this.field.rows - 1);
    this.cursor.column = Math.min(this.cursor.column, this.field.columns - 1);
    this.lay();
    this.paintSoon(true);
    this.marks();
    this.drawNotes(scene, axes);
    this.table();
  }

  /** Why there is no grid. */
  private why({ site }: Scene): string {
    const sheet = this.found?.sheet;
    if (sheet?.large)
      return `${site.queries} queries × ${site.keys} keys are more cells than a page can hold (16 million, a text of 4,000 tokens). The lines show one query at a time.`;
    if (sheet) return "Nothing is left to draw: every query or every key is hidden or outside the filter.";
    return this.found?.waiting.length
      ? "Waiting for the heads of this picture …"
      : "None of the heads of this picture are here.";
  }

  sentence(scene: Scene): Part[] | null {
    const axes = this.prepare(scene);
    if (!this.field || axes.query < 0) return null;
    const { sheet } = this.field;
    completed(sheet);
    return finding(
      { ...scene, state: { ...scene.state, queries: [] } },
      sheet,
      axes,
      slotRow(sheet, axes, axes.query, true),
    );
  }

  scales(): Legend[] {
    const { field } = this;
    const shade = this.shade();
    if (!field || !shade) return [];
    const gradient = shade.gradient();
    if (this.swatch.style.backgroundImage !== gradient) this.swatch.style.backgroundImage = gradient;
    const legends: Legend[] = [{ swatch: this.swatch, said: [[NAMES[shade.quantity], shade.said]] }];
    if (shade.clips) legends.push({ swatch: "notch", said: [["", `clipped: up to ${percent(shade.largest)}`]] });
    if (field.masked) legends.push({ swatch: "masked", said: [["", "masked"]] });
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

  destroy(): void {
    this.slices.cancel();
    this.later.cancel();
    cancelAnimationFrame(this.frame);
    this.waiting++;
    this.observer.disconnect();
  }

  picture(): Picture | null {
    const { scene, room } = this;
    const drawing = this.drawing();
    if (!scene || !room || !drawing) return null;
    const where = placeName({ site: scene.site, head: scene.state.head }, scene.state.average);
    return gridPaper(room, drawing, this.palette(scene), `${scene.meta.model.name}, ${where}`);
  }

  // -- data

  private prepare(scene: Scene): Axes {
    const axes = this.axesOf.of(scene);
    if (this.scene === scene) return axes;
    this.scene = scene;
    this.axes = axes;
    this.gather(scene, axes);
    return axes;
  }

  private gather(scene: Scene, axes: Axes): void {
    const found = sheetOf(this.source, scene, scene.state.head);
    this.found = found;
    const token = ++this.waiting;
    if (found.waiting.length)
      Promise.allSettled(found.waiting).then((ends) => {
        if (token !== this.waiting || !this.scene) return;
        const failed = ends.find((end) => end.status === "rejected");
        if (failed) this.actions.notice(String((failed as PromiseRejectedResult).reason?.message ?? failed));
        if (!ends.some((end) => end.status === "fulfilled")) return;
        this.gather(this.scene, this.axesOf.of(this.scene));
        this.draw(this.scene);
      });
    const { sheet } = found;
    const quantity: Quantity = sheet?.hasScores ? scene.state.quantity : "weights";
    const { site } = scene;
    const name = sheet
      ? `${site.index} ${sheet.members.length} ${sheet.members[0].site.index}.${sheet.members[0].head} ${axes.name} ${quantity} ${scene.state.average}`
      : "";
    if (name === this.fieldName) return;
    this.fieldName = name;
    this.slices.cancel();
    const some = axes.keys.slots.length > 0 && axes.queries.slots.length > 0;
    this.field = sheet && !sheet.large && some ? new Field(sheet, axes, quantity) : null;
    if (!this.field) return;
    const field = this.field;
    field.sample(24);
    if (field.rows * field.columns <= AT_ONCE && completed(field.sheet)) {
      while (field.advance());
      return;
    }
    let shown = performance.now();
    this.slices.run(
      () => field.advance(),
      () => {
        if (performance.now() - shown < 200) return;
        shown = performance.now();
        this.paint();
      },
      () => {
        while (field.sheet.advance()); // rows that are not drawn count in the sentence
        this.paint();
        this.actions.set({});
      },
    );
  }

  private shade(): Shade | null {
    const { field, scene } = this;
    if (!field || !scene) return null;
    return new Shade(
      scene.ramp,
      field.quantity,
      field.end,
      field.largest,
      scene.state.log && field.quantity === "weights",
    );
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
      this.colours = {
        name,
        of: {
          ground: name,
          text: read("text"),
          muted: read("muted"),
          line: read("line"),
          hatch: read("hatch"),
          ink: read("ink"),
        },
      };
    }
    return this.colours.of;
  }

  // -- drawing

  /** Where everything stands; what is zoomed stays zoomed as long as the axes stay. */
  private lay(): void {
    const { field, scene } = this;
    const width = this.element.clientWidth;
    if (!field || !scene || !width) return;
    const { top, bottom } = this.viewport();
    const style = getComputedStyle(this.element);
    const taken = ["--bar", "--foot"].reduce(
      (sum, name) => sum + (Number.parseFloat(style.getPropertyValue(name)) || 0),
      0,
    );
    const sums = field.quantity === "weights";
    const first = roomFor(field, width, 100, sums);
    const around = first.top + first.bottom + 12;
    // without scrolling where the cells then are large enough to read, else as much as is ever in sight
    const scrolled = this.element.closest(".scope")?.scrollTop ?? 0;
    const begin = this.element.getBoundingClientRect().top - top + scrolled;
    const atOnce = bottom - top - begin - (Number.parseFloat(style.getPropertyValue("--foot")) || 0) - around;
    const high = atOnce / field.rows >= 14 ? atOnce : Math.max(300, bottom - top - taken - around);
    this.room = roomFor(field, width, Math.min(high, 900), sums);
    const name = `${field.rows} ${field.columns} ${this.axes?.name}`;
    if (!this.box || name !== this.boxName) this.box = fitted(field.columns, field.rows, this.room.plot);
    this.boxName = name;
    this.box = clamped(this.box, field.columns, field.rows, this.room.plot);
  }

  private resize(): void {
    const { top, bottom } = this.viewport();
    const size = `${this.element.clientWidth} ${bottom - top} ${getComputedStyle(this.element).getPropertyValue("--bar")}`;
    if (size === this.size || !this.scene) return;
    this.size = size;
    const away = this.away();
    if (!away) this.box = null;
    this.lay();
    this.paint();
  }

  private paintSoon(now = false): void {
    if (now) this.paint();
    else if (!this.frame)
      this.frame = requestAnimationFrame(() => {
        this.frame = 0;
        this.paint();
      });
  }

  private paint(): void {
    const drawing = this.drawing();
    if (!drawing || !this.room || !this.scene) return;
    const ratio = devicePixelRatio || 1;
    this.view.draw(this.room, drawing, this.palette(this.scene), ratio);
    this.grid.dataset.cell = `${drawing.box.cellX},${drawing.box.cellY}`;
    this.grid.dataset.origin = `${this.room.left},${this.room.top}`;
    setAttribute(this.grid, "data-complete", drawing.field.complete ? "" : null);
    this.grid.classList.toggle("zoomed", this.away());
    this.gridTools.zoomed(this.away());
    this.marks();
  }

  private away(): boolean {
    const { box, field, room } = this;
    return Boolean(box && field && room && box.cellX > fitted(field.columns, field.rows, room.plot).cellX * 1.001);
  }

  /** The selected row and column, and the cell under the eye: elements over the canvas, moved without painting. */
  private marks(): void {
    const { box, room, axes, field } = this;
    if (!box || !room || !axes || !field) return;
    const { covered } = this.view;
    const put = (element: HTMLElement, x: number, y: number, width: number, height: number) => {
      const [x0, y0] = [Math.max(0, x), Math.max(0, y)];
      const [x1, y1] = [Math.min(covered.width, x + width), Math.min(covered.height, y + height)];
      element.hidden = x1 <= x0 || y1 <= y0;
      element.style.transform = `translate(${room.left + x0}px, ${room.top + y0}px)`;
      element.style.width = `${x1 - x0}px`;
      element.style.height = `${y1 - y0}px`;
    };
    const x = (column: number) => (column - box.x) * box.cellX;
    const y = (row: number) => (row - box.y) * box.cellY;
    if (axes.query >= 0) put(this.rowMark, 0, y(axes.query), covered.width, box.cellY);
    else this.rowMark.hidden = true;
    if (axes.key >= 0) put(this.columnMark, x(axes.key), 0, box.cellX, covered.height);
    else this.columnMark.hidden = true;
    put(this.cell, x(this.cursor.column), y(this.cursor.row), box.cellX, box.cellY);
    this.cell.classList.toggle("at", this.pointed);
    const empty = [...field.empty].filter(
      (row) => y(row) >= -1 && y(row) + box.cellY <= covered.height + 1 && box.cellY >= 11,
    );
    if (this.emptyMarks.childElementCount !== empty.length)
      this.emptyMarks.replaceChildren(...empty.map(() => h("span", {}, "no key allowed")));
    empty.forEach((row, i) => {
      (this.emptyMarks.children[i] as HTMLElement).style.transform =
        `translate(${room.left + 6}px, ${room.top + y(row) + box.cellY / 2}px)`;
    });
    this.describe();
  }

  /** The one cell that assistive technology meets, with its numbers. */
  private describe(): SlotRow | null {
    const { field, axes, scene, cursor, cell } = this;
    if (!field || !axes || !scene) return null;
    const row = slotRow(field.sheet, axes, cursor.row, true);
    const { column } = cursor;
    const [query, key] = [axes.queries.slots[cursor.row].tokens[0], axes.keys.slots[column].tokens[0]];
    setAttribute(this.grid, "aria-rowcount", String(field.rows));
    setAttribute(this.grid, "aria-colcount", String(field.columns));
    setAttribute(this.cellRow, "aria-rowindex", String(cursor.row + 1));
    setAttribute(cell, "aria-colindex", String(column + 1));
    setAttribute(cell, "aria-label", this.spoken(row));
    cell.dataset.query = String(query);
    cell.dataset.key = String(key);
    cell.dataset.value = String(valuesOf(row, field.quantity)[column]);
    cell.dataset.weight = String(row.weights[column]);
    setAttribute(cell, "data-score", row.scores ? String(row.scores[column]) : null);
    setAttribute(cell, "data-dot", row.dot ? String(row.dot[column]) : null);
    setAttribute(cell, "data-masked", row.masked[column] ? "" : null);
    return row;
  }

  private spoken(row: SlotRow): string {
    const { axes, cursor, field } = this as unknown as {
      axes: Axes;
      cursor: { row: number; column: number };
      field: Field;
    };
    const c = cursor.column;
    const name = (slot: { text: string; tokens: number[] }) => `“${slot.text}” at ${slot.tokens[0]}`;
    const parts = [row.masked[c] && !row.weights[c] ? "masked" : `weight ${percent(row.weights[c])}`];
    const number = (value: number) => fixed(value, decimals(Math.max(1, Math.abs(value))));
    if (row.scores && !row.masked[c]) parts.push(`score ${number(row.scores[c])}`);
    if (row.dot) parts.push(`q · k ${number(row.dot[c])}`);
    if (row.empty) parts.push("no key allowed");
    parts.push(`row sum ${fixed(field.rowSums[cursor.row], 3)}`);
    if (field.complete) parts.push(`received ${fixed(field.columnSums[c], 2)}`);
    return `${name(axes.queries.slots[cursor.row])} → ${name(axes.keys.slots[c])}: ${parts.join(" · ")}`;
  }

  private drawNotes(scene: Scene, axes: Axes): void {
    const { field, found, box } = this;
    if (!field || !found || !box) return;
    const slot = Math.max(0, axes.query);
    const notes = notesOf(
      scene,
      axes,
      found,
      rowsOf(field.sheet, axes, slot, true),
      slotRow(field.sheet, axes, slot, true),
    );
    if (axes.merged && field.quantity !== "weights")
      notes.push({
        name: "scores",
        text: `A word's ${field.quantity === "dot" ? "q · k" : "score"} is the mean over its pieces.`,
      });
    if (scene.state.quantity !== "weights" && !field.sheet.hasScores)
      notes.push({
        name: "quantity",
        text: scene.site.weights_only
          ? "Only weights were captured here, so the cells hold weights."
          : "A mean is of weights: scores of different heads have no common scale.",
      });
    if (pools(box, devicePixelRatio || 1))
      notes.push({
        name: "pooled",
        text: "Several cells share a pixel here, which shows the largest of them (max); zoom in and every cell is drawn.",
      });
    if (field.quantity === "weights")
      notes.push({
        name: "sums",
        text: "Bars at the edges: the sum of each row (1 where no weight is hidden or goes to a sink) and of each column, what the key receives.",
      });
    this.notes.draw(notes);
  }

  // -- what the reader does

  private at(x: number, y: number): { row: number; column: number; inRow: boolean; inColumn: boolean } | null {
    const { box, room, field } = this;
    if (!box || !room || !field) return null;
    const [px, py] = [x - room.left, y - room.top];
    const { covered } = this.view;
    const inColumn = px >= 0 && px < covered.width;
    const inRow = py >= 0 && py < covered.height;
    const clamp = (value: number, most: number) => Math.max(0, Math.min(most - 1, Math.floor(value)));
    return {
      column: inColumn ? clamp(box.x + px / box.cellX, field.columns) : this.cursor.column,
      row: inRow ? clamp(box.y + py / box.cellY, field.rows) : this.cursor.row,
      inRow,
      inColumn,
    };
  }

  private point(x: number, y: number): void {
    const at = this.at(x, y);
    if (!at || (!at.inRow && !at.inColumn)) {
      this.unpoint();
      return;
    }
    if (this.pointed && at.row === this.cursor.row && at.column === this.cursor.column) return;
    this.cursor = { row: at.row, column: at.column };
    this.pointed = true;
    this.marks();
    this.actions.say(this.cell.getAttribute("aria-label") ?? "");
  }

  private unpoint(): void {
    if (!this.pointed) return;
    this.pointed = false;
    this.cell.classList.remove("at");
  }

  private tokens(): { query: number; key: number } {
    const axes = this.axes as Axes;
    return { query: axes.queries.slots[this.cursor.row].tokens[0], key: axes.keys.slots[this.cursor.column].tokens[0] };
  }

  private click(x: number, y: number): void {
    const at = this.at(x, y);
    if (!at) return;
    const { query, key } = this.tokens();
    if (at.inRow && at.inColumn) this.actions.set({ query, key });
    else if (at.inRow) this.actions.set({ query });
    else if (at.inColumn) this.actions.set({ key });
  }

  private enterAt(x: number, y: number): void {
    const at = this.at(x, y);
    if (at?.inRow && at.inColumn) this.actions.go({ level: "neuron", ...this.tokens() });
  }

  private walk(row: number, column: number): void {
    const { field, room, box } = this;
    if (!field || !room || !box) return;
    const clamp = (value: number, n: number) => Math.max(0, Math.min(n - 1, value));
    this.cursor = { row: clamp(row, field.rows), column: clamp(column, field.columns) };
    this.pointed = true;
    const next = clamped(
      revealed(box, this.cursor.column, this.cursor.row, room.plot),
      field.columns,
      field.rows,
      room.plot,
    );
    if (next.x !== box.x || next.y !== box.y) {
      this.box = next;
      this.paintSoon();
    }
    this.marks();
    this.actions.say(this.cell.getAttribute("aria-label") ?? "");
  }

  private key(event: KeyboardEvent): void {
    if (event.metaKey || event.altKey || !this.field || !this.room || !this.box) return;
    const { row, column } = this.cursor;
    const { plot } = this.room;
    const far = event.shiftKey ? 10 : 1;
    const page = Math.max(1, Math.floor(Math.min(plot.height / this.box.cellY, this.field.rows)) - 1);
    const moves: Record<string, [number, number]> = {
      ArrowUp: [row - far, column],
      ArrowDown: [row + far, column],
      ArrowLeft: [row, column - far],
      ArrowRight: [row, column + far],
      PageUp: [row - page, column],
      PageDown: [row + page, column],
      Home: [event.ctrlKey ? 0 : row, 0],
      End: [event.ctrlKey ? this.field.rows - 1 : row, this.field.columns - 1],
    };
    const move = moves[event.key];
    if (event.ctrlKey && event.key !== "Home" && event.key !== "End") return;
    if (move) this.walk(...move);
    else if (event.key === "+" || event.key === "=") this.zoomBy(1.5);
    else if (event.key === "-" || event.key === "−") this.zoomBy(1 / 1.5);
    else if (event.key === "0") this.zoomBy(0);
    else if (event.key === " ") this.actions.set(this.tokens());
    else if (event.key === "Enter") this.actions.go({ level: "neuron", ...this.tokens() });
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  /** About the cell under the eye; 0 shows all. */
  private zoomBy(factor: number): void {
    const { box, room, field } = this;
    if (!box || !room || !field) return;
    if (factor === 0) this.show(fitted(field.columns, field.rows, room.plot));
    else {
      const px = (this.cursor.column + 0.5 - box.x) * box.cellX;
      const py = (this.cursor.row + 0.5 - box.y) * box.cellY;
      const inside = px >= 0 && py >= 0 && px <= room.plot.width && py <= room.plot.height;
      this.show(zoomed(box, factor, inside ? px : room.plot.width / 2, inside ? py : room.plot.height / 2));
    }
  }

  private zoomAt(factor: number, x: number, y: number): void {
    const { box, room } = this;
    if (box && room) this.show(zoomed(box, factor, x - room.left, y - room.top));
  }

  private pan(dx: number, dy: number): boolean {
    const { box, room, field } = this;
    if (!box || !room || !field) return false;
    const next = clamped(panned(box, dx, dy), field.columns, field.rows, room.plot);
    if (Math.abs(next.x - box.x) + Math.abs(next.y - box.y) < 1e-6) return false;
    this.show(next);
    return true;
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
    this.pages.draw(() => {
      const { field, axes, scene } = this as unknown as { field: Field; axes: Axes; scene: Scene };
      const number = (value: number, masked: number) =>
        masked && !(field.quantity === "weights" && value > 0)
          ? "masked"
          : field.quantity === "weights"
            ? `${(value * 100).toFixed(4)} %`
            : fixed(value, 4);
      const where = placeName({ site: scene.site, head: scene.state.head }, scene.state.average);
      const of = (slot: { text: string; tokens: number[] }) => `${slot.tokens[0]} ${slot.text}`;
      return {
        caption: `${where[0].toUpperCase()}${where.slice(1)}: ${NAMES[field.quantity]} of every query (rows) and key (columns)`,
        columns: ["query", ...axes.keys.slots.map(of)],
        rows: field.rows,
        row: (i) => {
          const row = slotRow(field.sheet, axes, i, true);
          return [
            of(axes.queries.slots[i]),
            ...Array.from(valuesOf(row, field.quantity), (value, j) => number(value, row.masked[j])),
          ];
        },
      };
    });
  }
}
