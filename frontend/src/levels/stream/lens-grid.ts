/** The lens grid: what the model would predict after each layer (downwards) at each position (to the right). */

import { button, h, setAttribute, setText } from "../../base/dom";
import { EdgeCue } from "../../base/edge-cue";
import { percent } from "../../base/format";
import { inkRamp, type Ramp } from "../../base/scale";
import type { StreamTable } from "../../data/stream";
import { shown } from "../../heads/target-names";
import { inLine, type Label } from "../../scene/labels";
import { setToken, tokenElement } from "../../scene/token-element";
import { stageName } from "./sentence";

const PAGE = 32; // positions beside each other; the others a page further

export interface LensHost {
  say(text: string): void;
  go(position: number): void;
}

export class LensGrid {
  readonly element = h("section", { class: "stream-lens-grid", "aria-label": "lens: positions by layers" });
  private readonly scroller = h("div", { class: "stream-lens-scroll" });
  private readonly grid = h("div", {
    class: "stream-lens-cells",
    role: "grid",
    "aria-label": "most probable token after each layer",
    "data-grid": "lens",
  });
  private readonly pages = h("div", { class: "figures-top" });
  private readonly cue = new EdgeCue(this.scroller);
  private cells: HTMLElement[][] = [];
  private heads: HTMLElement[] = [];
  private at: [stage: number, column: number] = [0, 0];
  private page = 0;
  private built = "";
  private row = -2;
  private seen = false;

  constructor(
    private readonly table: StreamTable,
    private readonly labels: Label[],
    private readonly host: LensHost,
  ) {
    this.scroller.append(this.grid);
    this.element.append(this.pages, this.scroller);
    this.grid.addEventListener("keydown", (event) => this.walk(event));
    this.grid.addEventListener("click", (event) => {
      const place = this.placeOf(event.target);
      if (place) this.host.go(table.note.positions[place[1]]);
    });
    for (const kind of ["pointerover", "focusin"])
      this.grid.addEventListener(kind, (event) => {
        const place = this.placeOf(event.target);
        if (place) this.host.say(this.said(...place));
      });
  }

  /** `row`: the position that is chosen; −1: none. */
  draw(row: number, ramp: Ramp): void {
    const moved = row !== this.row;
    if (moved && row >= 0) {
      this.page = Math.floor(row / PAGE);
      this.at = [this.table.note.layers, row];
    }
    this.row = row;
    const built = `${this.page} ${Object.values(ramp.palette)}`;
    if (built !== this.built) this.build(ramp);
    this.built = built;
    this.heads.forEach((head, i) => {
      setAttribute(head, "data-chosen", i + this.page * PAGE === row ? "" : null);
    });
    this.stopAt(...this.at);
    if (moved || !this.seen) this.reveal();
    this.seen = true;
  }

  /** It is not shown any more. */
  leave(): void {
    this.seen = false;
  }

  /** The chosen position stands in sight, beside the names of the layers. */
  reveal(): void {
    const head = this.heads[this.row - this.page * PAGE];
    const { scroller } = this;
    if (!head || !scroller.clientWidth) return;
    const names = head.parentElement?.querySelector<HTMLElement>(".stream-lens-corner")?.offsetWidth ?? 0;
    const left = head.offsetLeft - scroller.offsetLeft;
    const from = scroller.scrollLeft;
    if (left < from + names || left + head.offsetWidth > from + scroller.clientWidth)
      scroller.scrollLeft = left + head.offsetWidth - scroller.clientWidth;
  }

  private build(ramp: Ramp): void {
    const { note } = this.table;
    const from = this.page * PAGE;
    const positions = note.positions.slice(from, from + PAGE);
    const ink = inkRamp(ramp);
    const corner = h("div", { class: "stream-lens-corner" });
    this.heads = positions.map((position) =>
      h(
        "div",
        { class: "stream-lens-head", role: "columnheader" },
        h("span", { class: "stream-at" }, String(position)),
        tokenElement(this.labels[position]?.text ?? "?"),
      ),
    );
    this.cells = [];
    const lines = Array.from({ length: note.layers + 1 }, (_, stage) => {
      const cells = positions.map((_, i) => {
        const value = this.table.lens(from + i)[stage];
        const cell = h("div", { class: "stream-lens-cell tok", role: "gridcell", tabindex: -1, "data-stage": stage });
        cell.dataset.row = String(from + i);
        cell.dataset.value = String(value);
        setToken(cell, shown(note.lens_text[from + i][stage]));
        cell.style.background = ink.css(value, 1);
        cell.style.color = ink.on(value, 1);
        return cell;
      });
      this.cells.push(cells);
      return h(
        "div",
        { role: "row" },
        h("div", { class: "stream-lens-layer", role: "rowheader" }, stageName(stage).replace("the ", "")),
        ...cells,
      );
    });
    this.grid.style.setProperty("--columns", String(positions.length));
    this.grid.replaceChildren(h("div", { role: "row" }, corner, ...this.heads), ...lines);
    const pages = Math.ceil(note.positions.length / PAGE);
    this.pages.hidden = pages < 2;
    const turn = (by: number, name: string) => {
      const one = button(name, { class: "quiet" }, () => {
        this.page += by;
        this.built = "";
        this.draw(this.row, ramp);
      });
      one.disabled = this.page + by < 0 || this.page + by >= pages;
      return one;
    };
    const last = positions.length - 1;
    const range = h("span", { class: "num" });
    setText(range, `positions ${positions[0]}–${positions[last]}`);
    this.pages.replaceChildren(turn(-1, "‹ earlier"), range, turn(1, "later ›"));
    this.cue.look();
  }

  private said(stage: number, row: number): string {
    const { note } = this.table;
    const position = note.positions[row];
    return `after ${stageName(stage)}, at ${position} ${inLine(this.labels[position])}: ${shown(note.lens_text[row][stage])} ${percent(this.table.lens(row)[stage])}`;
  }

  private placeOf(target: EventTarget | null): [number, number] | null {
    const cell = (target as Element | null)?.closest<HTMLElement>("[data-stage]");
    return cell ? [Number(cell.dataset.stage), Number(cell.dataset.row)] : null;
  }

  private cellAt(stage: number, row: number): HTMLElement | undefined {
    return this.cells[stage]?.[row - this.page * PAGE];
  }

  private stopAt(stage: number, row: number): HTMLElement | undefined {
    this.cellAt(...this.at)?.setAttribute("tabindex", "-1");
    const cell = this.cellAt(stage, row) ?? this.cells[0]?.[0];
    if (!cell) return;
    this.at = [Number(cell.dataset.stage), Number(cell.dataset.row)];
    cell.tabIndex = 0;
    return cell;
  }

  private walk(event: KeyboardEvent): void {
    const place = this.placeOf(event.target);
    if (!place || event.ctrlKey || event.metaKey || event.altKey) return;
    const [stage, row] = place;
    const { key } = event;
    const step = { ArrowDown: [1, 0], ArrowUp: [-1, 0], ArrowRight: [0, 1], ArrowLeft: [0, -1] }[key];
    if (step) {
      const cell = this.cellAt(stage + step[0], row + step[1]);
      if (cell) {
        this.stopAt(stage + step[0], row + step[1]);
        cell.focus({ preventScroll: true });
        cell.scrollIntoView({ block: "nearest", inline: "nearest" });
      }
    } else if (key === "Enter" || key === " ") this.host.go(this.table.note.positions[row]);
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  destroy(): void {
    this.cue.destroy();
  }
}
