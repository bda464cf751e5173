/** One side of the lines: the tokens of an axis as a list that is made only where it is in sight. */
import { h, setAttribute, setText } from "../../base/dom";
import { change, percent } from "../../base/format";
import { setBar } from "../../base/motion";
import type { Axis } from "../../heads/axis";
import { compact } from "../../scene/labels";
import { tokenLook } from "../../scene/token-element";

export type Side = "query" | "key";

/** What stands beside a token: one number per head. */
export interface Beside {
  values: (number | null)[][];
  colours: (string | null)[];
  /** Where a bar ends. */
  end: number;
  masked: Uint8Array | null;
  /** What grew and what shrank: one of the two is zero and is left out. */
  signed: boolean;
}

/** The numbers of a slot as they are written, one per head. */
export function writtenOf({ values, masked, signed }: Beside, slot: number): string[] {
  const here = values.map((one) => one[slot] ?? null);
  const any = here.some((value) => value);
  return here.map((value, i) => {
    if (value === null) return "";
    if (masked?.[slot] && !value) return signed && i > 0 ? "" : "masked";
    return signed && !value && (any || i > 0) ? "" : percent(value);
  });
}

/** The same where no column tells what grew from what shrank: a difference with its sign. */
export function exportSide(beside: Beside, slot: number): string[] {
  if (!beside.signed || beside.masked?.[slot]) return writtenOf(beside, slot);
  const [grew, shrank] = beside.values.map((values) => values[slot] ?? null);
  return grew === null ? [] : [change(grew - (shrank ?? 0))];
}

export interface ColumnHost {
  hover(side: Side, slot: number | null): void;
  pin(side: Side, slot: number): void;
  toggle(slot: number): void;
  enter(side: Side, slot: number): void;
  cross(side: Side): void;
  scrolled(): void;
}

const BEYOND = 6; // rows made above and below what is in sight
export const NUMBERS = 3; // heads whose numbers are written; of more there are bars alone

export class Column {
  readonly element: HTMLElement;
  private readonly space = h("div", { class: "ends-space", role: "presentation" });
  private readonly rows = new Map<number, HTMLElement>();
  private axis: Axis | null = null;
  private border = -1;
  private height = 24;
  private beside: Beside | null = null;
  private marked = { selected: new Set<number>(), main: -1, pinned: -1, hovered: -1 };
  private cursor = 0;
  /** Read when they change: to ask the browser anew for each line would lay everything out each time. */
  private top = 0;
  private room = 700;

  constructor(
    readonly side: Side,
    private readonly host: ColumnHost,
    private readonly id: string,
  ) {
    const keys =
      side === "query"
        ? "Enter pins, Space selects several, right arrow goes to the keys"
        : "Enter pins, left arrow goes to the queries";
    this.element = h("div", {
      class: `ends ends-${side}`,
      role: "listbox",
      tabindex: side === "query" ? 0 : -1,
      "aria-label": `${side === "query" ? "queries" : "keys"}: up and down arrows walk; ${keys}`,
      "aria-multiselectable": side === "query" ? "true" : null,
      [`data-${side}-list`]: true,
    });
    this.element.append(this.space);
    this.element.addEventListener("scroll", () => {
      this.top = this.element.scrollTop;
      this.fill();
      host.scrolled();
    });
    this.element.addEventListener("pointerover", (event) => {
      if (event.pointerType !== "touch") host.hover(side, this.slotAt(event));
    });
    this.element.addEventListener("pointerleave", () => host.hover(side, null));
    this.element.addEventListener("click", (event) => {
      const slot = this.slotAt(event);
      if (slot === null) return;
      this.cursor = slot;
      if (side === "query" && (event.ctrlKey || event.metaKey || event.shiftKey)) host.toggle(slot);
      else host.pin(side, slot);
    });
    this.element.addEventListener("dblclick", (event) => {
      const slot = this.slotAt(event);
      if (slot !== null && !event.ctrlKey && !event.metaKey && !event.shiftKey) host.enter(side, slot);
    });
    this.element.addEventListener("keydown", (event) => this.key(event));
    this.element.addEventListener("focus", () => {
      if (this.element.matches(":focus-visible")) this.walk(this.cursor);
    });
    this.element.addEventListener("blur", () => host.hover(side, null));
  }

  /** The slots, their height, and the token where generated text begins. */
  lay(axis: Axis, height: number, border: number | null): void {
    if (axis === this.axis && height === this.height) return;
    this.axis = axis;
    this.height = height;
    this.border = border === null ? -1 : axis.slots.findIndex((slot) => slot.tokens[0] >= border);
    this.rows.clear();
    this.space.replaceChildren();
    this.top = Math.max(0, Math.min(this.top, axis.slots.length * height - this.room));
    this.space.style.height = `${axis.slots.length * height}px`;
    this.fill();
  }

  mark(selected: number[], pinned: number, hovered: number): void {
    const main = selected[0] ?? -1;
    if (main !== this.marked.main && main >= 0) this.cursor = main;
    this.marked = { selected: new Set(selected), main, pinned, hovered };
    for (const [slot, row] of this.rows) this.dress(slot, row);
  }

  /** `moves`: the numbers are of another query, and the bars go from where they were. */
  show(beside: Beside | null, moves = false): void {
    this.beside = beside;
    for (const [slot, row] of this.rows) this.number(slot, row, moves);
  }

  /** So many pixels are in sight. */
  resize(room: number): void {
    if (room === this.room) return;
    this.room = room;
    this.fill();
  }

  /** Scrolls a slot into sight, within the list. */
  reveal(slot: number): void {
    if (slot < 0) return;
    const { height, room } = this;
    const at = slot * height;
    let top = this.top;
    if (at < top || at + height > top + room) top = at - room / 3;
    top = Math.max(0, Math.min(top, (this.axis?.slots.length ?? 0) * height - room));
    if (top === this.top) return;
    this.top = top;
    this.element.scrollTop = top;
    this.fill();
  }

  focus(): void {
    this.element.tabIndex = 0;
    this.element.focus({ preventScroll: true });
    this.walk(this.cursor);
  }

  /** Height of the middle of a slot within what is in sight. */
  y(slot: number): number {
    return (slot + 0.5) * this.height - this.top;
  }

  /** First and last slot in sight. */
  sight(): [number, number] {
    const last = (this.axis?.slots.length ?? 1) - 1;
    const from = Math.max(0, Math.round(this.top / this.height));
    return [from, Math.min(last, Math.floor((this.top + this.room + 2) / this.height) - 1)];
  }

  private fill(): void {
    const { axis, top, room } = this;
    if (!axis) return;
    const from = Math.max(0, Math.floor(top / this.height) - BEYOND);
    const to = Math.min(axis.slots.length, Math.ceil((top + room) / this.height) + BEYOND);
    for (const [slot, row] of this.rows)
      if (slot < from || slot >= to) {
        row.remove();
        this.rows.delete(slot);
      }
    for (let slot = from; slot < to; slot++) if (!this.rows.has(slot)) this.make(slot);
  }

  private make(slot: number): void {
    const { slots } = this.axis as Axis;
    const { text, special, tokens } = slots[slot];
    const row = h(
      "div",
      {
        class: `end${special ? " special" : ""}${slot === this.border ? " border" : ""}`,
        role: "option",
        id: `${this.id}-${slot}`,
        "aria-setsize": slots.length,
        "aria-posinset": slot + 1,
        [`data-${this.side}`]: tokens[0],
        "data-slot": slot,
      },
      h("span", tokenLook(text), compact(text)),
      h("span", { class: "beside" }),
    );
    if (slot === this.border) row.prepend(h("span", { class: "border-name", "data-border": true }, "generated"));
    row.style.top = `${slot * this.height}px`;
    row.style.height = `${this.height}px`;
    this.rows.set(slot, row);
    this.dress(slot, row);
    this.number(slot, row);
    this.space.append(row);
  }

  private dress(slot: number, row: HTMLElement): void {
    const { selected, main, pinned, hovered } = this.marked;
    row.classList.toggle("chosen", selected.has(slot));
    row.classList.toggle("main", slot === main);
    row.classList.toggle("pinned", slot === pinned);
    row.classList.toggle("hovered", slot === hovered);
    setAttribute(row, "aria-selected", String(this.side === "query" ? selected.has(slot) : slot === pinned));
  }

  private number(slot: number, row: HTMLElement, moves = false): void {
    const box = row.lastElementChild as HTMLElement;
    const { beside } = this;
    const masked = beside?.masked?.[slot] === 1;
    row.classList.toggle("masked", masked);
    const heads = beside?.values.length ?? 0;
    const texts = beside && heads <= NUMBERS ? writtenOf(beside, slot) : [];
    if (box.childElementCount !== heads)
      box.replaceChildren(...Array.from({ length: heads }, () => h("span", { class: "weight" }, h("i"), h("b"))));
    for (let i = 0; i < heads; i++) {
      const cell = box.children[i] as HTMLElement;
      const value = beside?.values[i][slot] ?? null;
      const [bar, text] = cell.children as unknown as HTMLElement[];
      setAttribute(cell, "data-value", value === null ? null : String(value));
      const part = value === null || !Number.isFinite(value) ? 0 : Math.min(1, value / (beside as Beside).end);
      setBar(bar, part, `${Math.round(part * 1000) / 10}%`, moves);
      bar.style.backgroundColor = beside?.colours[i] ?? "";
      setText(text, texts[i] ?? "");
    }
  }

  private slotAt(event: Event): number | null {
    const row = (event.target as Element).closest<HTMLElement>("[data-slot]");
    return row ? Number(row.dataset.slot) : null;
  }

  private walk(slot: number): void {
    const last = (this.axis?.slots.length ?? 1) - 1;
    this.cursor = Math.max(0, Math.min(last, slot));
    this.reveal(this.cursor);
    this.element.setAttribute("aria-activedescendant", `${this.id}-${this.cursor}`);
    this.host.hover(this.side, this.cursor);
  }

  private key(event: KeyboardEvent): void {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const page = Math.max(1, Math.floor(this.room / this.height) - 1);
    const moves: Record<string, number> = {
      ArrowUp: this.cursor - 1,
      ArrowDown: this.cursor + 1,
      PageUp: this.cursor - page,
      PageDown: this.cursor + page,
      Home: 0,
      End: Number.MAX_SAFE_INTEGER,
    };
    if (event.key in moves) this.walk(moves[event.key]);
    else if (event.key === (this.side === "query" ? "ArrowRight" : "ArrowLeft")) this.host.cross(this.side);
    else if (event.key === " " && this.side === "query") this.host.toggle(this.cursor);
    else if (event.key === " ") this.host.pin(this.side, this.cursor);
    else if (event.key === "Enter" && event.shiftKey)
      return; // a notebook runs the cell
    else if (event.key === "Enter" && !this.settled()) this.host.pin(this.side, this.cursor);
    else if (event.key === "Enter") this.host.enter(this.side, this.cursor);
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  /** What is under the keyboard is what is pinned: Enter then goes in. */
  private settled(): boolean {
    return this.cursor === (this.side === "query" ? this.marked.main : this.marked.pinned);
  }
}
