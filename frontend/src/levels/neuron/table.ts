/** The table of keys: heading, the lines near the viewport, and the sum z. Only what is in sight is in the document. */

import { h, scrollerOf, setAttribute } from "../../base/dom";
import { VirtualList } from "../../base/virtual-list";
import type { Actions } from "../../scene/level";
import type { Scene } from "../../scene/scene";
import { type Column, type Layout, layoutFor } from "./columns";
import { type Line, lines } from "./folding";
import { Heading } from "./heading";
import { cellsIn, isStrip, type Place, say, step } from "./keyboard-grid";
import { OutputRow } from "./output-row";
import { ROW_HEIGHT, RowView } from "./row";

export interface Viewport {
  top: number;
  bottom: number;
}

let tables = 0;

export class Table {
  readonly element = h("div", {
    class: "table",
    role: "grid",
    tabindex: 0,
    "aria-label": "every key of the query",
    "data-grid": true,
  });
  private readonly body = h("div", { class: "tbody", role: "rowgroup" });
  private readonly columns = new Heading((column) => {
    this.shared = column;
    this.draw(this.scene as Scene);
  });
  private readonly sum: OutputRow;
  private readonly list: VirtualList<RowView>;
  private readonly cursor = h("i", { class: "cursor", "aria-hidden": "true" });
  private readonly id = `t${++tables}`;
  private scene: Scene | null = null;
  private layout: Layout | null = null;
  private lines: Line[] = [];
  private place: Place = { line: 0, column: 0, cell: 0 };
  private opened = new Set<number>();
  private made = 0;
  private openedFor: unknown = null;
  private width = 0;
  /** The pointer is giving the focus: nothing may move away from under it before it is let go. */
  private pressed = false;
  shared: Column = "product";
  expanded = false;
  byWeight = false;

  constructor(
    private readonly actions: Actions,
    private readonly viewport: () => Viewport,
  ) {
    this.sum = new OutputRow(actions.say);
    this.list = new VirtualList(this.body, ROW_HEIGHT, {
      make: () => new RowView(`${this.id}-${this.made++}`),
      fill: (row, index, top) => row.fill(this.lines[index], index, top, this.scene as Scene, this.layout as Layout),
      has: (row, index) => row.has(this.lines[index]),
    });
    this.element.append(this.columns.element, this.body, this.sum.element);
    this.element.addEventListener("keydown", (event) => this.onKey(event));
    this.element.addEventListener("mousedown", (event) => this.onPress(event));
    this.element.addEventListener("focus", () => this.showPlace(!this.pressed));
    this.element.addEventListener("blur", () => this.clearPlace());
    this.body.addEventListener("click", (event) => this.onClick(event));
    this.body.addEventListener("pointermove", (event) => this.onHover(event));
    this.body.addEventListener("pointerover", (event) => this.onHover(event)); // the lines move, the pointer does not
  }

  /** Stays in sight while the lines scroll. */
  get heading(): HTMLElement {
    return this.columns.element;
  }

  get folds(): boolean {
    return this.lines.some((line) => line.kind === "fold") || this.expanded;
  }

  destroy(): void {
    this.list.destroy();
  }

  close(): boolean {
    return this.columns.close();
  }

  resize(width: number): void {
    this.width = width;
    if (this.scene) this.draw(this.scene);
  }

  draw(scene: Scene): void {
    this.scene = scene;
    if (this.openedFor !== scene.tensors) this.opened = new Set();
    this.openedFor = scene.tensors;
    const layout = layoutFor(this.width, scene, this.shared, devicePixelRatio || 1);
    const sameShape = this.layout?.template === layout.template;
    this.layout = layout;
    if (!sameShape) this.element.style.setProperty("--columns", layout.template);
    setAttribute(this.element, "data-mode", layout.mode);
    const keep = new Set([scene.key]);
    if (scene.site.kind === "self") keep.add(scene.query);
    const at = this.lines[this.place.line];
    this.lines = lines(scene.chain, {
      keys: scene.keys,
      keep,
      opened: this.opened,
      expanded: this.expanded,
      byWeight: this.byWeight,
    });
    this.follow(at);
    setAttribute(this.element, "aria-rowcount", String(this.lines.length + 2));
    setAttribute(this.element, "aria-colcount", String(layout.columns.length));
    this.columns.draw(scene, layout, this.shared);
    this.sum.draw(scene, layout);
    this.list.draw(this.lines.length);
    if (this.element.matches(":focus")) this.showPlace(false);
  }

  /** The lines have changed: the active cell stays with its key. */
  private follow(old: Line | undefined): void {
    if (
      old?.kind === "key" &&
      this.lines[this.place.line]?.kind === "key" &&
      (this.lines[this.place.line] as { key: number }).key === old.key
    )
      return;
    const scene = this.scene as Scene;
    const wanted = old?.kind === "key" ? old.key : scene.key;
    const find = (key: number) => this.lines.findIndex((line) => line.kind === "key" && line.key === key);
    const found = find(wanted) >= 0 ? find(wanted) : find(scene.key);
    this.place = { ...this.place, line: Math.max(0, found) };
  }

  /** Brings the pinned row into sight, where the heading above it stays in place and only this view would scroll. */
  revealPinned(within: Element): void {
    const { scene } = this;
    if (!scene?.pinned || getComputedStyle(this.columns.element).position !== "sticky") return;
    if (scrollerOf(this.element) !== within) return;
    const line = this.lines.findIndex((one) => one.kind === "key" && one.key === scene.key);
    if (line >= 0) this.reveal(line, 2);
  }

  /** Fits the drawn lines to what can be seen; called when something scrolled or changed its size. */
  look(): void {
    if (!this.scene) return;
    const seen = this.viewport();
    const start = this.body.getBoundingClientRect().top;
    // what the sticky heading and the sum cover is not in sight
    const top = Math.max(seen.top, Math.min(this.columns.element.getBoundingClientRect().bottom, seen.bottom));
    const bottom = Math.min(seen.bottom, Math.max(this.sum.element.getBoundingClientRect().top, top));
    this.list.look(top - start, bottom - start);
  }

  // -- keyboard and pointer

  private onKey(event: KeyboardEvent): void {
    if ((event.target as Element).closest("button, select, input")) return;
    if (!this.scene || !this.layout || event.metaKey || event.altKey) return;
    if (event.key === "Enter" || event.key === " ") {
      const line = this.lines[this.place.line];
      // pinned already: Enter is the frame's, which goes one level in
      if (event.key === "Enter" && line?.kind === "key" && this.scene.pinned && line.key === this.scene.key) return;
      event.preventDefault();
      this.enter(this.lines[this.place.line]);
      return;
    }
    const next = step(this.place, event, this.lines, this.layout);
    if (!next) return;
    event.preventDefault();
    this.place = next;
    this.showPlace(true);
  }

  private enter(line: Line | undefined): void {
    if (line?.kind === "key") this.actions.set({ key: line.key });
    else if (line?.kind === "fold") {
      const [first] = line.keys;
      if (this.opened.has(first)) this.opened.delete(first);
      else this.opened.add(first);
      this.draw(this.scene as Scene);
      this.look();
    }
  }

  private onPress(event: MouseEvent): void {
    this.place = this.placeAt(event) ?? this.place;
    this.pressed = true;
    setTimeout(() => {
      this.pressed = false; // the focus comes with the press, in the same task
    });
  }

  private onClick(event: Event): void {
    const row = (event.target as Element).closest<HTMLElement>("[data-line]");
    if (!row) return;
    this.place = this.placeAt(event as MouseEvent) ?? { ...this.place, line: Number(row.dataset.line) };
    this.enter(this.lines[Number(row.dataset.line)]);
  }

  private placeAt(event: MouseEvent): Place | null {
    const target = event.target as HTMLElement;
    const row = target.closest<HTMLElement>("[data-line]");
    const cell = target.closest<HTMLElement>("[data-col]");
    if (!row || !cell || !this.layout) return null;
    const column = this.layout.columns.indexOf(cell.dataset.col as Column);
    if (column < 0) return null;
    const name = this.layout.columns[column];
    const strip = name === "v" ? this.layout.value : this.layout.key;
    const inStrip = target instanceof HTMLCanvasElement ? Math.floor((event.offsetX * strip.ratio) / strip.cell) : 0;
    return {
      line: Number(row.dataset.line),
      column,
      cell: Math.max(0, Math.min(cellsIn(name, this.layout) - 1, inStrip)),
    };
  }

  private onHover(event: PointerEvent): void {
    const place = this.placeAt(event);
    const line = place && this.lines[place.line];
    if (!place || !line || !this.scene || !this.layout) return;
    this.actions.say(say(line, this.layout.columns[place.column], place.cell, this.scene, this.layout));
  }

  private clearPlace(): void {
    this.element.querySelector("[data-active]")?.removeAttribute("data-active");
    this.cursor.remove();
    this.element.removeAttribute("aria-activedescendant");
  }

  /** Marks the active cell, brings it into sight, says its number. */
  private showPlace(reveal: boolean): void {
    const { scene, layout } = this;
    if (!scene || !layout || this.lines.length === 0) return;
    this.place.line = Math.min(this.place.line, this.lines.length - 1);
    this.place.column = Math.min(this.place.column, layout.columns.length - 1);
    this.place.cell = Math.min(this.place.cell, cellsIn(layout.columns[this.place.column], layout) - 1);
    if (reveal) this.reveal(this.place.line);
    this.clearPlace();
    const line = this.lines[this.place.line];
    const column = line.kind === "fold" ? "token" : layout.columns[this.place.column];
    const row = this.list.row(this.place.line);
    const cell = row?.cell(column) ?? row?.cell("token");
    if (!cell) return;
    cell.dataset.active = "";
    this.element.setAttribute("aria-activedescendant", cell.id);
    const text = say(line, column, this.place.cell, scene, layout);
    cell.setAttribute("aria-label", text);
    if (isStrip(column) && line.kind === "key") {
      const strip = column === "v" ? layout.value : layout.key;
      this.cursor.style.left = `${(this.place.cell * strip.cell) / strip.ratio}px`;
      this.cursor.style.width = `${(strip.cell - strip.gap) / strip.ratio}px`;
      cell.append(this.cursor);
    }
    if (reveal) this.actions.say(text);
  }

  /** `spare`: so many lines of its surroundings too. */
  private reveal(line: number, spare = 0): void {
    const { top, bottom } = this.viewport();
    const start = this.body.getBoundingClientRect().top + line * ROW_HEIGHT;
    const above = this.columns.element.getBoundingClientRect().bottom;
    const below = Math.min(bottom, this.sum.element.getBoundingClientRect().top);
    const limit = Math.max(top, above);
    const end = start + ROW_HEIGHT;
    const by = start < limit ? start - limit - spare * ROW_HEIGHT : end > below ? end - below + spare * ROW_HEIGHT : 0;
    if (by !== 0) {
      scrollerOf(this.element)?.scrollBy({ top: by, behavior: "instant" });
      this.look();
    }
  }
}
