/** The table of keys: heading, the list of lines, which scrolls by itself, and the sum z. Only what is in sight is in the document. */

import { h, setAttribute } from "../../base/dom";
import { EdgeCue } from "../../base/edge-cue";
import { VirtualList } from "../../base/virtual-list";
import { heightFrom } from "../../heads/visible-height";
import { groupRows } from "../../scene/groups";
import type { Actions } from "../../scene/level";
import type { Scene } from "../../scene/scene";
import { type Column, isVector, type Layout, layoutFor, type Vector } from "./columns";
import { type Line, lines } from "./folding";
import { Heading } from "./heading";
import { cellsIn, type Place, say, step } from "./keyboard-grid";
import { OutputRow } from "./output-row";
import { ROW_HEIGHT, RowView } from "./row";
import { VectorChoice } from "./vector-choice";

const FEWEST = 4; // lines that the list shows at least, though the page must scroll then
const PEEK = 10; // pixels of the next line, which show that there is one
const SPARE = 2; // lines before it that come into sight with a line; one, where there are fewer than SMALL
const SMALL = 8;

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
  private readonly scroller = h("div", { class: "keys-list", role: "presentation" }, this.body);
  private readonly cue = new EdgeCue(this.scroller);
  private readonly columns = new Heading();
  readonly choice = new VectorChoice((vector) => {
    this.unfolded = vector;
    this.draw(this.scene as Scene);
    this.look();
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
  private most = 0;
  /** For what the list was scrolled last, and the line that it is to be scrolled to once it is laid out. */
  private revealed = "";
  private wanted = -1;
  /** The pointer is giving the focus: nothing may move away from under it before it is let go. */
  private pressed = false;
  private unfolded: Vector | null = null;
  expanded = false;
  byWeight = false;

  constructor(private readonly actions: Actions) {
    this.sum = new OutputRow(actions.say);
    this.list = new VirtualList(this.body, ROW_HEIGHT, {
      make: () => new RowView(`${this.id}-${this.made++}`),
      fill: (row, index, top) => row.fill(this.lines[index], index, top, this.scene as Scene, this.layout as Layout),
      has: (row, index) => row.has(this.lines[index]),
    });
    this.element.append(this.columns.element, this.scroller, this.sum.element);
    this.scroller.addEventListener("scroll", () => this.look(), { passive: true });
    this.element.addEventListener("keydown", (event) => this.onKey(event));
    this.element.addEventListener("mousedown", (event) => this.onPress(event));
    this.element.addEventListener("focus", () => this.showPlace(!this.pressed));
    this.element.addEventListener("blur", () => this.clearPlace());
    this.body.addEventListener("click", (event) => this.onClick(event));
    this.body.addEventListener("pointermove", (event) => this.onHover(event));
    this.body.addEventListener("pointerover", (event) => this.onHover(event)); // the lines move, the pointer does not
  }

  get folds(): boolean {
    return this.lines.some((line) => line.kind === "fold") || this.expanded;
  }

  destroy(): void {
    this.list.destroy();
    this.cue.destroy();
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
    const layout = layoutFor(this.width, scene, this.unfolded, devicePixelRatio || 1);
    const sameShape = this.layout?.template === layout.template;
    this.layout = layout;
    if (!sameShape) this.element.style.setProperty("--columns", layout.template);
    setAttribute(this.element, "data-mode", layout.mode);
    setAttribute(this.element, "data-unfolded", layout.mode === "wide" ? null : this.unfolded);
    const keep = new Set([scene.key]);
    if (scene.site.kind === "self") keep.add(scene.query);
    const at = this.lines[this.place.line];
    this.lines = lines(scene.chain, {
      keys: scene.keys,
      keep,
      opened: this.opened,
      expanded: this.expanded,
      byWeight: this.byWeight,
      groups: groupRows(scene),
    });
    this.follow(at);
    setAttribute(this.element, "aria-rowcount", String(this.lines.length + 2));
    setAttribute(this.element, "aria-colcount", String(layout.columns.length));
    this.columns.draw(scene, layout);
    this.choice.draw(layout.folded, this.unfolded);
    this.sum.draw(scene, layout);
    this.list.draw(this.lines.length);
    this.want(scene);
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

  /** The key under the lens comes into sight within the list when another is looked at; the page itself never moves. */
  private want({ site, state, query, key }: Scene): void {
    const place = `${site.index} ${state.head} ${query} ${key} ${this.byWeight} ${this.expanded}`;
    if (place === this.revealed) return;
    this.revealed = place;
    this.wanted = this.lines.findIndex((line) => line.kind === "key" && line.key === key);
  }

  /** As high as its lines, or as many of them as `room` has, which is what is in sight. */
  fit(room: number): void {
    const most = Math.max(FEWEST, Math.floor((room - PEEK) / ROW_HEIGHT)) * ROW_HEIGHT + PEEK;
    if (most === this.most) return;
    this.most = most;
    this.scroller.style.maxHeight = `${most}px`;
  }

  private get height(): number {
    return Math.min(this.lines.length * ROW_HEIGHT, this.most);
  }

  /** What the list can be as high as, where `below` is the height of what stands below the table. */
  roomAbove(below: number): number {
    return heightFrom(this.scroller) - this.sum.element.offsetHeight - below;
  }

  /** Fits the drawn lines to what can be seen; called when something scrolled or changed its size. */
  look(): void {
    if (!this.scene) return;
    if (this.wanted >= 0) this.reveal(this.wanted, this.height < SMALL * ROW_HEIGHT ? 1 : SPARE);
    this.wanted = -1;
    const { scrollTop } = this.scroller;
    this.list.look(scrollTop, scrollTop + this.height);
    this.cue.look();
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
      if (!this.opened.delete(line.id)) this.opened.add(line.id);
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
    if (reveal) {
      this.reveal(this.place.line);
      this.look();
    }
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
    if (isVector(column) && line.kind === "key") {
      const strip = column === "v" ? layout.value : layout.key;
      this.cursor.style.left = `${(this.place.cell * strip.cell) / strip.ratio}px`;
      this.cursor.style.width = `${(strip.cell - strip.gap) / strip.ratio}px`;
      cell.append(this.cursor);
    }
    if (reveal) this.actions.say(text);
  }

  /** Brings a line into sight: just so, or with `lead` lines before it. */
  private reveal(line: number, lead = 0): void {
    const { scroller, height } = this;
    const [start, end] = [line * ROW_HEIGHT, (line + 1) * ROW_HEIGHT];
    const last = scroller.scrollTop + height - PEEK;
    if (start >= scroller.scrollTop && end <= last) return;
    if (lead || start < scroller.scrollTop) scroller.scrollTop = start - lead * ROW_HEIGHT;
    else scroller.scrollTop = end + PEEK - height;
  }
}
