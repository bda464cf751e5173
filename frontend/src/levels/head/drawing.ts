/** The drawing itself: queries on the left, keys on the right, the lines between, and how high all of it is. */

import { h } from "../../base/dom";
import type { State } from "../../base/state";
import type { Axes } from "../../heads/axes";
import type { Pen } from "../../heads/palette";
import { visibleHeightOf } from "../../heads/visible-height";
import { compact } from "../../scene/labels";
import { type Beside, Column, exportSide, type Side } from "./column";
import { Edges } from "./edges";
import type { DrawnSide, LinesDrawing } from "./export-svg";
import type { Highlight, Place } from "./highlight";
import { Lines } from "./lines";
import { Titles } from "./titles";

const THICK = 7; // px of a line of weight 1
const ROW = 24; // px of a token: a target for a finger
let made = 0;

/** What the reader does in it. */
export interface DrawingHost {
  hover(side: Side, slot: number | null): void;
  pin(side: Side, slot: number): void;
  toggle(slot: number): void;
  enter(side: Side, slot: number): void;
}

export class Drawing {
  readonly element: HTMLElement;
  readonly lines: Lines;
  private readonly titles = new Titles();
  private readonly edges = new Edges();
  private readonly columns: Record<Side, Column>;
  private axes: Axes | null = null;
  private focus: Highlight | null = null;
  private laid = "";
  private revealed = "";
  private high = 0;

  constructor(
    private readonly viewport: () => { top: number; bottom: number },
    host: DrawingHost,
  ) {
    const id = `h${++made}`;
    const both = { ...host, cross: (side: Side) => this.cross(side), scrolled: () => this.moved() };
    const query = new Column("query", both, `${id}q`);
    const key = new Column("key", both, `${id}k`);
    this.columns = { query, key };
    this.lines = new Lines({ query: (slot) => query.y(slot), key: (slot) => key.y(slot) });
    this.lines.element.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    this.element = h(
      "div",
      { class: "picture", role: "group", "aria-label": "weights as lines from queries to keys" },
      this.titles.query,
      h("span"),
      this.titles.key,
      query.element,
      this.lines.element,
      h("div", { class: "ends-box" }, this.edges.above, key.element, this.edges.below),
    );
  }

  /** `borders`: where generated text begins on either side. */
  lay(axes: Axes, heads: number, borders: Record<Side, number | null>): void {
    this.axes = axes;
    this.columns.query.lay(axes.queries, ROW, borders.query);
    this.columns.key.lay(axes.keys, ROW, borders.key);
    this.room(axes, heads);
    // to ask where things stand costs a layout: what was laid out before stands where it stood
    const laid = `${axes.name} ${heads}`;
    if (laid !== this.laid) this.measure();
    this.laid = laid;
  }

  /** `moves`: from the lines of another query. */
  show(
    focus: Highlight,
    axes: Axes,
    state: State,
    heads: number[],
    chosen: number[],
    hovered: Place | null,
    pens: Pen[],
    moves: boolean,
  ): void {
    this.focus = focus;
    const over = (side: Side) => (hovered?.side === side ? hovered.slot : -1);
    this.columns.query.mark(chosen, -1, over("query"));
    this.columns.key.mark([], axes.key, over("key"));
    this.columns.key.show(focus.beside.key, moves);
    this.columns.query.show(focus.beside.query);
    this.lines.setStrong(focus.lines, pens, THICK, moves);
    this.titles.draw(focus, axes, state, heads, pens);
    this.drawEdges();
  }

  /** Scrolls the query and its key into sight when another is selected: the pinned one, or the strongest of `weights`. */
  reveal(axes: Axes, query: number, weights: Float64Array): void {
    const place = `${axes.name} ${query}`;
    if (place === this.revealed) return;
    this.revealed = place;
    this.columns.query.reveal(axes.query);
    const strongest = weights.reduce((best, weight, s) => (weight > weights[best] ? s : best), 0);
    this.columns.key.reveal(axes.key >= 0 ? axes.key : strongest);
  }

  /** As high as its tokens, or as what is in sight allows. */
  measure(): void {
    const { axes } = this;
    if (!axes) return;
    const content = ROW * Math.max(axes.queries.slots.length, axes.keys.slots.length);
    const sight = visibleHeightOf(this.element, this.viewport());
    const most = Math.max(320, sight.always - 96);
    const atOnce = sight.atOnce - 34;
    // what does not fit anyhow fits without scrolling the page, if that leaves it some height
    const height = content <= most ? content : Math.min(most, atOnce >= 340 ? atOnce : most);
    if (height !== this.high) {
      this.high = height;
      this.element.style.setProperty("--picture", `${height}px`);
      this.columns.query.resize(height);
      this.columns.key.resize(height);
    }
    this.lines.resize(this.lines.element.clientWidth, height);
    this.drawEdges();
  }

  /** What stands on paper of it. */
  picture(axes: Axes, chosen: number[]) {
    const beside = (found: Beside | null | undefined, slot: number) => (found ? exportSide(found, slot) : []);
    const side = (name: Side): DrawnSide[] =>
      (name === "query" ? axes.queries : axes.keys).slots.map((slot, s) => ({
        text: slot.text,
        y: this.columns[name].y(s),
        chosen: name === "query" ? chosen.includes(s) : s === axes.key,
        special: slot.special,
        numbers: beside(this.focus?.beside[name], s),
      }));
    const { lines, columns } = this;
    return {
      width: Math.max(160, lines.element.clientWidth),
      height: lines.element.clientHeight,
      queries: side("query"),
      keys: side("key"),
      ...lines.lines,
      y: { query: (slot: number) => columns.query.y(slot), key: (slot: number) => columns.key.y(slot) },
      beside: (head: number) => lines.beside(head),
    } satisfies Partial<LinesDrawing>;
  }

  /** The columns are as wide as their tokens, within reason. */
  private room({ queries, keys }: Axes, heads: number): void {
    const { style, dataset } = this.element;
    for (const [name, axis] of [["query", queries] as const, ["key", keys] as const]) {
      const most = axis.slots.reduce((longest, { text }) => Math.max(longest, compact(text).length), 4);
      style.setProperty(`--${name}-room`, `${Math.min(24, most)}ch`);
    }
    style.setProperty("--numbers", String(heads));
    dataset.heads = heads === 1 ? "one" : heads <= 3 ? "few" : "many";
  }

  private drawEdges(): void {
    this.edges.draw(this.focus?.beside.key?.values[0] ?? [], this.columns.key.sight());
  }

  private cross(from: Side): void {
    this.columns[from].element.tabIndex = -1;
    this.columns[from === "query" ? "key" : "query"].focus();
  }

  private wheel(event: WheelEvent): void {
    if (event.ctrlKey || event.deltaY === 0) return;
    const can = Object.values(this.columns)
      .map(({ element }) => element)
      .filter((one) =>
        event.deltaY < 0 ? one.scrollTop > 0 : one.scrollTop + one.clientHeight < one.scrollHeight - 1,
      );
    if (!can.length) return;
    event.preventDefault();
    for (const one of can) one.scrollTop += event.deltaY * (event.deltaMode === 1 ? 20 : 1);
  }

  private moved(): void {
    this.lines.move();
    this.drawEdges();
  }
}
