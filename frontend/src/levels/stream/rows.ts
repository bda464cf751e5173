/** The rows of the column: a bar for what each adds, the sum so far as a path, the lens beside each layer. */

import { h, setAttribute, setChildren, setText } from "../../base/dom";
import { fixed, percent, precise } from "../../base/format";
import { nice } from "../../base/scale";
import { type Column, kindName, type Line } from "../../heads/stream-column";
import { setToken } from "../../scene/token-element";
import { unfolded } from "./folding";
import { signed } from "./sentence";

/** One end for all bars, one for the sum so far; where nothing is attributed, for turns, for writes and for sizes. */
export interface Ends {
  value: number;
  running: number;
}

const most = (values: (number | null)[]) =>
  values.reduce<number>((end, one) => (Number.isFinite(one) ? Math.max(end, Math.abs(one as number)) : end), 0);

export function endsOf({ lines, attributed, sizes }: Column): Ends {
  const all = lines.flatMap((line) => [line, ...line.parts]);
  return attributed
    ? { value: nice(most(all.map(({ value }) => value))), running: nice(most(lines.map(({ running }) => running))) }
    : { value: nice(most(lines.map(({ turn }) => turn))), running: nice(most([...sizes])) };
}

export interface RowsHost {
  say(text: string): void;
  /** A row that can be opened or closed. */
  toggle(line: Line): void;
  enter(line: Line): void;
}

interface Row {
  line: Line;
  element: HTMLElement;
  layer: HTMLElement;
  name: HTMLElement;
  bar: HTMLElement;
  value: HTMLElement;
  path: HTMLElement;
  drop: HTMLElement;
  area: HTMLElement;
  running: HTMLElement;
  token: HTMLElement;
  chance: HTMLElement;
  part: HTMLElement;
}

const percentOf = (part: number) => `${(100 * part).toFixed(2)}%`;

export class Rows {
  readonly element = h("div", {
    class: "stream-rows",
    role: "treegrid",
    "aria-label": "from the embedding to the prediction",
    "data-grid": "stream",
  });
  private readonly made = new Map<string, Row>();
  private shown: Row[] = [];
  private column: Column | null = null;
  private stop = "embedding";

  constructor(private readonly host: RowsHost) {
    this.element.addEventListener("keydown", (event) => this.walk(event));
    this.element.addEventListener("click", (event) => {
      const row = this.rowOf(event.target);
      if (!row) return;
      this.stopAt(row.line.id);
      this.act(row.line);
    });
    for (const kind of ["pointerover", "focusin"] as const)
      this.element.addEventListener(kind, (event) => {
        const row = this.rowOf(event.target);
        if (row && this.column) this.host.say(saidOf(this.column, row.line));
      });
  }

  /** `rows`: those that are shown, without their parts. `opened`: ids of the rows whose parts are shown. `selected`: block and head of the state. */
  draw(column: Column, rows: Line[], opened: ReadonlySet<string>, selected: (line: Line) => boolean, ends: Ends): void {
    this.column = column;
    setAttribute(this.element, "data-change", column.attributed ? null : "");
    let before = 0;
    this.shown = unfolded(rows, opened).map(({ line, depth }) => {
      const row = this.made.get(line.id) ?? this.make(line);
      row.line = line;
      setAttribute(row.element, "aria-level", String(depth));
      this.fill(row, column, opened, ends, before);
      row.element.toggleAttribute("data-selected", selected(line));
      before = line.running ?? before;
      return row;
    });
    setChildren(
      this.element,
      this.shown.map(({ element }) => element),
    );
    this.stopAt(this.stop);
  }

  private make(line: Line): Row {
    const row: Row = {
      line,
      element: h("div", { class: "stream-row", role: "row", "data-line": line.id, "data-kind": line.kind }),
      layer: h("span", { class: "stream-layer" }),
      name: h("span", { class: "stream-name", role: "rowheader" }),
      bar: h("i"),
      value: h("span", { class: "stream-value", role: "gridcell", "data-col": "value" }),
      path: h("i", { class: "stream-path" }),
      drop: h("i", { class: "stream-drop" }),
      area: h("i", { class: "stream-area" }),
      running: h("span", { class: "stream-sum", role: "gridcell", "data-col": "running" }),
      token: h("bdi", { class: "tok", dir: "auto" }),
      chance: h("span", { class: "stream-chance" }),
      part: h("i"),
    };
    row.element.append(
      row.layer,
      row.name,
      h("span", { class: "stream-bar", "aria-hidden": "true" }, row.bar),
      row.value,
      h("span", { class: "stream-track", "aria-hidden": "true" }, row.area, row.path, row.drop),
      row.running,
      h("span", { class: "stream-lens", role: "gridcell", "data-col": "lens" }, row.part, row.token, row.chance),
    );
    this.made.set(line.id, row);
    return row;
  }

  private fill(row: Row, column: Column, opened: ReadonlySet<string>, ends: Ends, before: number): void {
    const { line, element } = row;
    const { attributed } = column;
    const part = isPart(column, line);
    const first = line.folded > 0 || (!part && isFirst(column, line));
    setText(row.layer, line.folded ? line.name.replaceAll("L", "") : first ? String(line.layer) : "");
    setText(row.name, rowName(line, part));
    element.classList.toggle("stream-part", part);
    element.classList.toggle("stream-first", first);
    element.classList.toggle("stream-fold", line.folded > 0);
    setAttribute(element, "aria-expanded", line.parts.length > 0 ? String(opened.has(line.id)) : null);
    setAttribute(element, "aria-label", line.name);
    setAttribute(element, "data-head", line.head === null ? null : String(line.head));
    const value = attributed ? line.value : line.turn;
    const share = Number.isFinite(value) ? (value as number) / ends.value : 0;
    // a bar from the middle of a symmetric scale; turns have no sign and begin at the left
    row.bar.style.left = percentOf(attributed ? 0.5 + Math.min(0, share) / 2 : 0);
    row.bar.style.width = percentOf(attributed ? Math.abs(share) / 2 : Math.abs(share));
    row.bar.hidden = value === null;
    row.bar.className = !attributed ? "ink" : share < 0 ? "negative" : "positive";
    setText(row.value, value === null ? "" : attributed ? signed(value, 2) : `${fixed(value, 1)}°`);
    setAttribute(row.value, "data-value", value === null ? null : String(value));
    this.fillSum(row, column, ends, before, part);
    this.fillLens(row, column);
  }

  /** The sum so far as a path from row to row; where nothing is attributed, the length of x after the layer. */
  private fillSum(
    { line, area, path, drop, running }: Row,
    column: Column,
    ends: Ends,
    before: number,
    part: boolean,
  ): void {
    const size = line.stage === null || part ? null : column.sizes[line.stage];
    const value = column.attributed ? line.running : size;
    const at = (one: number) => (column.attributed ? 0.5 + one / ends.running / 2 : one / ends.running);
    const known = Number.isFinite(column.attributed ? (value ?? before) : value);
    const [from, to] = [at(column.attributed ? before : 0), at(value ?? before)];
    path.hidden = !known || value === null;
    path.style.left = percentOf(Math.min(from, to));
    path.style.width = percentOf(Math.abs(to - from));
    drop.hidden = !known || !column.attributed;
    drop.style.left = percentOf(to);
    area.hidden = drop.hidden;
    area.style.left = percentOf(Math.min(0.5, to));
    area.style.width = percentOf(Math.abs(to - 0.5));
    setText(running, value === null ? "" : column.attributed ? signed(value, 2) : fixed(value, 1));
    setAttribute(running, "data-value", value === null ? null : String(value));
  }

  private fillLens(row: Row, { lens, lensText }: Column): void {
    const { stage } = row.line;
    const there = stage !== null && stage < lens.length;
    if (row.token.textContent !== (there ? lensText[stage] : "")) setToken(row.token, there ? lensText[stage] : "");
    setText(row.chance, there ? percent(lens[stage]) : "");
    row.part.hidden = !there;
    row.part.style.width = there ? percentOf(Math.max(0, Math.min(1, lens[stage]))) : "0";
    setAttribute(row.chance.parentElement as HTMLElement, "data-value", there ? String(lens[stage]) : null);
  }

  private rowOf(target: EventTarget | null): Row | null {
    const element = (target as Element | null)?.closest<HTMLElement>("[data-line]");
    return this.made.get(element?.dataset.line ?? "") ?? null;
  }

  private act(line: Line): void {
    if (line.parts.length) this.host.toggle(line);
    else if (line.head !== null) this.host.enter(line);
  }

  private stopAt(id: string): HTMLElement | undefined {
    const row = this.shown.find(({ line }) => line.id === id) ?? this.shown[0];
    if (!row) return;
    this.stop = row.line.id;
    for (const one of this.shown) one.element.tabIndex = one === row ? 0 : -1;
    return row.element;
  }

  private walk(event: KeyboardEvent): void {
    const row = this.rowOf(event.target);
    if (!row || event.ctrlKey || event.metaKey || event.altKey) return;
    const { line } = row;
    const at = this.shown.indexOf(row);
    const open = row.element.getAttribute("aria-expanded");
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: this.shown.length - 1 }[event.key];
    if (to !== undefined) {
      const next = this.shown[Math.max(0, Math.min(this.shown.length - 1, to))];
      this.stopAt(next.line.id)?.focus({ preventScroll: true });
      next.element.scrollIntoView({ block: "nearest" });
    } else if (event.key === "ArrowRight" && open === "false") this.host.toggle(line);
    else if (event.key === "ArrowLeft" && open === "true") this.host.toggle(line);
    else if (event.key === "ArrowLeft") {
      const above = this.shown.find(({ line: one }) => one.parts.includes(line));
      if (above) this.stopAt(above.line.id)?.focus();
    } else if ((event.key === "Enter" || event.key === " ") && (open !== null || line.head !== null)) this.act(line);
    else return;
    event.preventDefault();
    event.stopPropagation();
  }
}

export const isPart = ({ lines }: Column, line: Line) => !line.folded && !lines.includes(line);

/** The first block of its layer. */
export const isFirst = ({ lines }: Column, line: Line) =>
  line.layer !== null && lines.find(({ layer }) => layer === line.layer) === line;

/** Beside the number of its layer. */
export function rowName(line: Line, part: boolean): string {
  if (line.folded) return `${line.folded} blocks`;
  return part || line.block === null ? line.name : kindName(line.kind);
}

/** A row in words, with its exact numbers. */
export function saidOf(column: Column, line: Line): string {
  const { target, against, attributed, lens, lensText, sizes } = column;
  const what: string[] = [];
  if (attributed && line.value !== null && target) {
    const to = against ? `${target.text} − ${against.text}` : target.text;
    what.push(`adds ${precise(line.value)} to ${to}`);
    if (line.running !== null) what.push(`sum so far ${precise(line.running)}`);
  }
  if (line.turn !== null) what.push(`turns x by ${fixed(line.turn, 1)}°`, `‖write‖ ${precise(line.write as number)}`);
  if (line.stage !== null) {
    what.push(`‖x‖ ${precise(sizes[line.stage])} after it`);
    if (line.stage < lens.length) what.push(`lens: ${lensText[line.stage]} ${percent(lens[line.stage])}`);
  }
  if (line.folded && line.value === null) what.push(`${line.folded} blocks`);
  return `${line.name}: ${what.join(" · ")}`;
}
