/** A vector as numbers, each a button that unfolds into its sum; a long one as a strip with its largest numbers. */

import { button, h, setAttribute, setText } from "../../base/dom";
import { decimals, fixed, precise, symmetric } from "../../base/format";
import { drawStrip, type Ramp, type Strip } from "../../base/scale";
import type { Sum } from "./sums";

export interface Vector {
  id: string;
  symbol: string;
  /** What it is, beside its name: "before rotary". */
  note?: string;
  values: ArrayLike<number>;
  domain: number;
  /** The sum that made number d; without it the numbers are given. */
  expand?: (d: number) => Sum;
  /** What a click does instead; and how far the reader has come. */
  pick?: (d: number) => void;
  upTo?: number;
}

export interface VectorHost {
  say(text: string): void;
  toggle(id: string, d: number): void;
}

const CELLS_UP_TO = 160;
const LARGEST = 8;
const STRIP = 20;

export class VectorView {
  readonly element = h("div", { class: "vector" });
  private readonly name = h("span", { class: "vector-name" });
  private readonly domain = h("span", { class: "vector-domain" });
  private readonly canvas = h("canvas", { role: "img" });
  private readonly cells = h("div", { class: "cells", role: "group" });
  private readonly all: HTMLButtonElement;
  private buttons: HTMLButtonElement[] = [];
  private dims: number[] = [];
  private vector: Vector | null = null;
  private opened: number | null = null;
  private at = 0;
  private whole = false;
  private strip: Strip | null = null;
  private ramp: Ramp | null = null;
  private room = 0;
  private width = 0;
  private widthAt = 0;

  constructor(private readonly host: VectorHost) {
    this.all = button("", { class: "tool", "aria-pressed": "false", "data-all": true }, () => {
      this.whole = !this.whole;
      this.redraw();
    });
    this.element.append(h("div", { class: "vector-top" }, this.name, this.domain, this.all), this.canvas, this.cells);
    this.cells.addEventListener("keydown", (event) => this.key(event));
    this.cells.addEventListener("pointerover", (event) => this.hear(event.target as Element));
    this.cells.addEventListener("focusin", (event) => this.hear(event.target as Element));
    this.canvas.addEventListener("pointermove", (event) => this.point(event, false));
    this.canvas.addEventListener("click", (event) => this.point(event, true));
  }

  /** `room`: width of the level. What looks as before stays: a step of the running sum changes two of ten vectors. */
  draw(vector: Vector, opened: number | null, ramp: Ramp, room: number): void {
    const before = this.vector;
    const same =
      before !== null &&
      room === this.room &&
      opened === this.opened &&
      ramp === this.ramp &&
      looksLike(vector, before);
    this.vector = vector;
    this.opened = opened;
    this.ramp = ramp;
    this.room = room;
    if (!same) this.redraw();
  }

  /** Where the keyboard goes when a sum above it is folded. */
  focus(d: number): void {
    this.buttons[this.dims.indexOf(d)]?.focus();
  }

  private redraw(): void {
    const { vector, ramp } = this;
    if (!vector || !ramp) return;
    const { values, domain, symbol, note, id } = vector;
    this.element.dataset.vector = id;
    const long = values.length > CELLS_UP_TO;
    this.name.replaceChildren(h("i", {}, symbol), note ? h("span", { class: "vector-note" }, ` ${note}`) : "");
    setText(this.domain, `${values.length} numbers, ${symmetric(domain)}`);
    this.all.hidden = !long;
    setText(this.all, this.whole ? "only the largest" : `all ${values.length} numbers`);
    setAttribute(this.all, "aria-pressed", String(this.whole));
    this.canvas.hidden = !long;
    if (long) this.drawStrip(values, domain, ramp);
    setAttribute(this.canvas, "aria-label", `${symbol}: ${values.length} numbers as a strip; the largest stand below`);
    this.dims =
      long && !this.whole ? largest(values, LARGEST, this.opened) : Array.from({ length: values.length }, (_, d) => d);
    setAttribute(
      this.cells,
      "aria-label",
      `${symbol}${note ? ` ${note}` : ""}, ${long && !this.whole ? "its largest numbers" : "number by number"}`,
    );
    while (this.buttons.length < this.dims.length) this.buttons.push(this.make());
    this.buttons.length = this.dims.length;
    if (this.cells.children.length !== this.dims.length) this.cells.replaceChildren(...this.buttons);
    this.at = Math.min(this.at, this.dims.length - 1);
    const digits = Math.min(2, decimals(domain));
    this.dims.forEach((d, i) => {
      this.fill(this.buttons[i], d, i, values[d], domain, digits, ramp);
    });
  }

  private fill(
    cell: HTMLButtonElement,
    d: number,
    i: number,
    value: number,
    domain: number,
    digits: number,
    ramp: Ramp,
  ): void {
    const { expand, pick, upTo } = this.vector as Vector;
    const finite = Number.isFinite(value);
    const [index, , number] = cell.children as unknown as HTMLElement[];
    setText(index, String(d));
    setText(number, finite ? fixed(value, Math.abs(value) >= 100 ? 0 : digits) : "NaN");
    cell.dataset.dim = String(d);
    cell.dataset.value = String(value);
    cell.tabIndex = i === this.at ? 0 : -1;
    number.style.backgroundColor = finite ? ramp.css(value, domain) : "";
    number.style.color = finite ? ramp.on(value, domain) : "";
    number.classList.toggle("clipped", Math.abs(value) > domain);
    cell.classList.toggle("broken", !finite);
    cell.classList.toggle("given", !expand && !pick);
    cell.classList.toggle("ahead", upTo !== undefined && d > upTo);
    cell.classList.toggle("here", d === upTo);
    setAttribute(cell, "aria-expanded", expand ? String(this.opened === d) : null);
  }

  private make(): HTMLButtonElement {
    const cell = button("", { class: "number" }, () => this.choose(Number(cell.dataset.dim)));
    cell.append(h("span", { class: "index" }), h("span", { class: "unseen" }, " is "), h("span", { class: "value" }));
    return cell;
  }

  private choose(d: number): void {
    const { vector } = this;
    if (!vector) return;
    this.at = Math.max(0, this.dims.indexOf(d));
    if (vector.pick) vector.pick(d);
    else if (vector.expand) this.host.toggle(vector.id, d);
  }

  private key(event: KeyboardEvent): void {
    const { key } = event;
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    const across = this.across();
    const moves: Record<string, number> = {
      ArrowLeft: this.at - 1,
      ArrowRight: this.at + 1,
      ArrowUp: this.at - across,
      ArrowDown: this.at + across,
      Home: 0,
      End: this.dims.length - 1,
    };
    if (!(key in moves)) return;
    event.preventDefault();
    event.stopPropagation();
    const next = moves[key];
    if (next < 0 || next >= this.dims.length) return;
    this.buttons[this.at].tabIndex = -1;
    this.at = next;
    this.buttons[next].tabIndex = 0;
    this.buttons[next].focus();
  }

  /** Cells in a line. */
  private across(): number {
    const top = this.buttons[0]?.offsetTop;
    const next = this.buttons.findIndex((one) => one.offsetTop !== top);
    return next < 1 ? this.buttons.length : next;
  }

  private hear(target: Element): void {
    const cell = target.closest<HTMLElement>("[data-dim]");
    if (cell && this.vector) this.host.say(this.words(Number(cell.dataset.dim)));
  }

  private words(d: number): string {
    const { symbol, note, values, expand } = this.vector as Vector;
    return `${symbol}${note ? ` ${note}` : ""} · dimension ${d}: ${precise(values[d])}${expand ? " · Enter shows the sum that made it" : ""}`;
  }

  private point(event: MouseEvent, click: boolean): void {
    const { vector, strip } = this;
    if (!vector || !strip) return;
    const cell = Math.floor((event.offsetX * strip.ratio) / strip.cell);
    const d = Math.min(vector.values.length - 1, Math.max(0, cell * strip.perCell));
    this.host.say(this.words(d));
    if (click) this.choose(d);
  }

  private drawStrip(values: ArrayLike<number>, domain: number, ramp: Ramp): void {
    const ratio = Math.min(3, devicePixelRatio || 1);
    // asked once per width of the level: each answer costs a layout
    if (this.widthAt !== this.room || !this.width) this.width = this.element.clientWidth;
    this.widthAt = this.room;
    const room = Math.max(120, Math.floor((this.width || 640) * ratio));
    const perCell = Math.max(1, Math.ceil((2 * values.length) / room));
    const cells = Math.ceil(values.length / perCell);
    const cell = Math.max(2, Math.min(Math.floor(room / cells), Math.round(12 * ratio)));
    this.strip = { perCell, cells, cell, gap: cell >= 4 ? 1 : 0, width: (cells * cell) / ratio, ratio };
    drawStrip(this.canvas, values, this.strip, domain, ramp, STRIP);
  }
}

/** Nothing that is seen differs; what a click unfolds may. */
function looksLike(one: Vector, other: Vector): boolean {
  const { values } = one;
  return (
    one.id === other.id &&
    one.symbol === other.symbol &&
    one.note === other.note &&
    one.domain === other.domain &&
    one.upTo === other.upTo &&
    !one.expand === !other.expand &&
    !one.pick === !other.pick &&
    values.length === other.values.length &&
    Array.prototype.every.call(values, (value: number, d: number) => Object.is(value, other.values[d]))
  );
}

/** The dimensions of the largest numbers, in their order; `also`: one that is open. */
function largest(values: ArrayLike<number>, n: number, also: number | null): number[] {
  const order = Array.from({ length: values.length }, (_, d) => d).sort(
    (a, b) => Math.abs(values[b]) - Math.abs(values[a]),
  );
  const chosen = new Set(order.slice(0, n));
  if (also !== null && also < values.length) chosen.add(also);
  return [...chosen].sort((a, b) => a - b);
}
