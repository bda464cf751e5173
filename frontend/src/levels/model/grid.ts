/** The grid of thumbnails: a canvas for each line, made when it comes near the viewport; one stop for the keyboard. */
import { h, setAttribute } from "../../base/dom";
import { moveFrom, still } from "../../base/motion";
import type { Role } from "../../data/metadata";
import type { HeadEdits } from "../../scene/level";
import { type Head, headName, nameOf } from "./heads";
import { at, find, type Line, type Place, type Plan, step } from "./layout";
import { type Look, paint } from "./paint";
import { badgeSaid, type Statistics } from "./statistics";

const NEAR = 400; // pixels beyond the viewport
export const NAMED_FROM = 60; // pixels of a thumbnail with room for a name

/** The best role of a head, and how many more there are; a mark where a name has no room. */
function badge([first, ...more]: Role[], size: number): HTMLElement | null {
  if (!first) return null;
  if (size < NAMED_FROM) return h("i", { class: "model-badge-mark", "data-badge": first.name });
  return h(
    "span",
    { class: "model-badge", "data-badge": first.name },
    h("span", {}, first.name),
    more.length > 0 && h("b", {}, `+${more.length}`),
  );
}

/** One thumbnail of a line of them. */
function copyOf(line: HTMLCanvasElement, x: number, size: number): HTMLCanvasElement {
  const scale = line.width / Number.parseFloat(line.style.width);
  const piece = h("canvas", { width: Math.round(size * scale), height: line.height });
  piece.style.width = `${size}px`;
  piece.style.height = `${size}px`;
  piece.getContext("2d")?.drawImage(line, -Math.round(x * scale), 0);
  return piece;
}

export interface GridHost {
  /** Looked at by pointer or keyboard; null: no longer. */
  look(head: Head | null): void;
  enter(head: Head): void;
  absent(head: Head): boolean;
  edits?: HeadEdits;
}

export interface Drawing {
  plan: Plan;
  look: Look;
  lines: boolean;
  ratio: number;
  /** The statistic under each thumbnail; null: none. */
  sort: string | null;
}

export class Grid {
  readonly element = h("div", { class: "model-scroll" });
  private readonly space = h("div", { class: "model-space" });
  private readonly picture = h("div", { class: "model-picture", "aria-hidden": "true" });
  private readonly chosen = h("div", { class: "model-chosen", "aria-hidden": "true" });
  private readonly cell: HTMLElement;
  private readonly row: HTMLElement;
  private readonly keys: HTMLElement;
  private made: (HTMLElement | null)[] = [];
  private flight: HTMLElement | null = null;
  private drawing: Drawing | null = null;
  private cursor: Place | null = null;
  private hovered: Place | null = null;
  private touched: Head | null = null;

  constructor(
    private readonly host: GridHost,
    private readonly statistics: Statistics,
    id: string,
  ) {
    this.cell = h("div", { class: "model-cell", role: "gridcell", id, "aria-selected": "false" });
    this.row = h("div", { role: "row" }, this.cell);
    this.keys = h(
      "div",
      {
        class: "model-keys",
        role: "grid",
        tabindex: 0,
        "data-grid": true,
        "aria-label": `heads, a thumbnail each: arrow keys walk, Enter opens the head${host.edits ? ", Space switches it off or on" : ""}`,
        "aria-activedescendant": id,
      },
      this.row,
    );
    this.space.append(this.picture, this.chosen, this.keys, host.edits?.element ?? "");
    this.element.append(this.space);
    this.listen();
  }

  draw(drawing: Drawing): void {
    const before = this.cursor && this.headAt(this.cursor);
    this.drawing = drawing;
    const { plan } = drawing;
    this.space.style.width = `${plan.width}px`;
    this.space.style.height = `${plan.height}px`;
    const label = (text: string, name: string, x: number, y: number, width?: number) => {
      const element = h("span", { class: name }, text);
      element.style.left = `${x}px`;
      element.style.top = `${y}px`;
      if (width) element.style.width = `${width}px`;
      return element;
    };
    this.picture.replaceChildren(
      ...plan.titles.map(({ y, text }) => label(text, "model-stack", 0, y)),
      ...plan.columns.map(({ x, y, text }) => label(text, "model-axis model-axis-head", x, y, plan.size)),
      ...plan.lines
        .filter((line) => line.label)
        .map((line) => {
          const gone = this.gone(line) ? " model-gone" : "";
          return label(line.label, `model-axis${gone}`, 0, line.y + plan.size / 2, plan.left - 8);
        }),
    );
    this.made = plan.lines.map(() => null);
    this.hovered = null;
    this.cursor = before ? find(plan, before) : null;
    setAttribute(this.keys, "aria-rowcount", String(plan.lines.length));
    setAttribute(this.keys, "aria-colcount", String(Math.max(...plan.lines.map(({ boxes }) => boxes.length))));
    this.host.edits?.lay(
      plan.lines.flatMap(({ y, boxes }) => boxes.map(({ head, x }) => ({ ...headName(head), x, y }))),
      plan.size,
    );
    this.frame();
  }

  /** In another order, thumbnails go from where they stood. */
  moveFrom(before: Plan): void {
    this.flight?.remove();
    if (!this.drawing || still()) return;
    const { plan } = this.drawing;
    const flight = h("div", { class: "model-flight" });
    this.flight = flight;
    this.picture.append(flight);
    const scale = before.size / plan.size;
    plan.lines.forEach(({ y, boxes }, i) => {
      const line = this.made[i]?.querySelector("canvas");
      if (!line) return;
      for (const { head, x } of boxes) {
        const place = find(before, head);
        if (!place) continue;
        const piece = copyOf(line, x - boxes[0].x, plan.size);
        piece.style.left = `${x}px`;
        piece.style.top = `${y}px`;
        flight.append(piece);
        const from = before.lines[place.line];
        const [dx, dy] = [from.boxes[place.column].x - x, from.y - y];
        moveFrom(piece, { transform: `translate(${dx}px, ${dy}px) scale(${scale})` })?.addEventListener("finish", () =>
          flight.remove(),
        );
      }
    });
    if (!flight.hasChildNodes()) flight.remove(); // the lines are hidden as long as it is there
  }

  /** The head that the state names: framed, and where the keyboard begins. */
  choose(head: Head): void {
    if (!this.drawing) return; // without a width nothing is laid out yet
    const { plan } = this.drawing;
    const place = find(plan, head);
    this.chosen.hidden = !place;
    if (!place) return;
    this.put(this.chosen, place);
    if (!this.keys.matches(":focus")) this.cursor = place;
    this.frame();
  }

  /** Lines that come near the viewport are drawn. */
  fill(top: number, bottom: number): void {
    const { drawing } = this;
    if (!drawing || !this.element.isConnected) return;
    const from = this.space.getBoundingClientRect().top;
    const reach = drawing.plan.size + drawing.plan.caption;
    drawing.plan.lines.forEach((line, i) => {
      if (this.made[i] || from + line.y > bottom + NEAR || from + line.y + reach < top - NEAR) return;
      const element = this.line(line, drawing);
      this.made[i] = element;
      this.picture.append(element);
    });
  }

  /** Shows where the keyboard or the choice stands; `unless` it is seen there already. */
  reveal(unless?: { top: number; bottom: number }): void {
    const { top, bottom } = this.cell.getBoundingClientRect();
    if (unless && top >= unless.top && bottom <= unless.bottom) return;
    this.cell.scrollIntoView({ block: "nearest", inline: "nearest" });
  }

  /** A whole layer that is not in this page is marked at its name. */
  private gone({ boxes }: Line): boolean {
    return boxes.every(({ head }) => this.host.absent(head));
  }

  private line({ y, boxes }: Line, { plan, look, lines, ratio, sort }: Drawing): HTMLElement {
    const canvas = h("canvas");
    const [first] = boxes;
    const width = boxes[boxes.length - 1].x + plan.size - first.x;
    const marked = sort === null && !boxes.every(({ head }) => this.host.absent(head));
    const placed = boxes.map(({ head, x }) => ({ head, x: x - first.x, absent: marked && this.host.absent(head) }));
    paint(canvas, placed, plan.size, width, ratio, look, lines);
    const element = h("div", { class: "model-line" }, canvas);
    element.style.left = `${first.x}px`;
    element.style.top = `${y}px`;
    for (const { head, x } of placed) {
      const label = badge(this.statistics.finds(head), plan.size);
      if (!label) continue;
      label.style.left = `${x}px`;
      label.style.maxWidth = `${plan.size}px`;
      element.append(label);
    }
    if (plan.size >= NAMED_FROM)
      for (const { head, x } of placed) {
        const name = this.statistics.plainName(head);
        if (!name) continue;
        const label = h("span", { class: "model-plain", "data-plain": name }, name);
        label.style.left = `${x}px`;
        label.style.width = `${plan.size}px`;
        label.style.top = `${plan.size}px`;
        element.append(label);
      }
    if (sort !== null)
      for (const { head, x } of placed) {
        const caption = h(
          "span",
          { class: "model-caption", "data-caption": nameOf(head), "data-value": this.statistics.value(head, sort) },
          h("b", { class: this.host.absent(head) ? "model-gone" : null }, nameOf(head)),
          h("span", {}, this.statistics.said(head, sort)),
        );
        caption.style.left = `${x}px`;
        caption.style.top = `${plan.size + 2}px`;
        element.append(caption);
      }
    return element;
  }

  private headAt({ line, column }: Place): Head | null {
    return this.drawing?.plan.lines[line]?.boxes[column]?.head ?? null;
  }

  private put(element: HTMLElement, { line, column }: Place): void {
    const { plan } = this.drawing as Drawing;
    const { y, boxes } = plan.lines[line];
    element.style.transform = `translate(${boxes[column].x}px, ${y}px)`;
    element.style.width = `${plan.size}px`;
    element.style.height = `${plan.size}px`;
  }

  /** The frame of what is looked at; it is the one cell that a screen reader meets. */
  private frame(): void {
    const place = this.hovered ?? this.cursor;
    this.cell.hidden = !place;
    const head = place && this.headAt(place);
    if (!place || !head) return;
    this.put(this.cell, place);
    setAttribute(this.row, "aria-rowindex", String(place.line + 1));
    setAttribute(this.cell, "aria-colindex", String(place.column + 1));
    this.cell.dataset.layer = String(head.site.layer);
    this.cell.dataset.head = String(head.head);
    this.cell.dataset.stack = head.site.stack ?? "";
    const sort = this.drawing?.sort;
    const value = sort ? `, ${this.statistics.full(sort)} ${this.statistics.said(head, sort)}` : "";
    setAttribute(
      this.cell,
      "aria-label",
      `${[nameOf(head), this.statistics.plainName(head), ...this.statistics.roles(head).map(badgeSaid)].filter(Boolean).join(", ")}${value}${this.host.absent(head) ? ", not in this page" : ""}${this.host.edits?.said(headName(head)) ?? ""}`,
    );
    this.keys.toggleAttribute("data-hovered", this.hovered !== null);
    const { y, boxes } = (this.drawing as Drawing).plan.lines[place.line];
    const seen = this.hovered || this.touched === head || this.keys.matches(":focus");
    this.host.edits?.look(seen ? { ...headName(head), x: boxes[place.column].x, y } : null);
  }

  private hover(place: Place | null): void {
    if (place?.line === this.hovered?.line && place?.column === this.hovered?.column) return;
    this.hovered = place;
    this.frame();
    this.tell();
  }

  private tell(): void {
    const place = this.hovered ?? (this.keys.matches(":focus") ? this.cursor : null);
    this.host.look(place && this.headAt(place));
  }

  private placeOf(event: MouseEvent): Place | null {
    const { left, top } = this.space.getBoundingClientRect();
    return this.drawing && at(this.drawing.plan, event.clientX - left, event.clientY - top);
  }

  private listen(): void {
    const { keys, space } = this;
    space.addEventListener("pointermove", (event) => {
      if (event.pointerType !== "touch") this.hover(this.placeOf(event));
    });
    space.addEventListener("pointerleave", (event) => {
      if (event.pointerType !== "touch") this.hover(null);
    });
    let touch = false;
    keys.addEventListener("pointerdown", (event) => {
      touch = event.pointerType === "touch";
    });
    keys.addEventListener("click", (event) => {
      const place = this.placeOf(event);
      const head = place && this.headAt(place);
      if (!place || !head) return;
      this.cursor = place;
      this.frame();
      // a finger cannot point: its first touch enlarges
      if (touch && this.touched !== head) {
        this.touched = head;
        this.frame();
        this.host.look(head);
      } else this.host.enter(head);
    });
    keys.addEventListener("focus", () => this.tell());
    keys.addEventListener("blur", () => this.tell());
    keys.addEventListener("keydown", (event) => {
      if (event.altKey || event.metaKey || !this.drawing) return;
      const from = this.cursor ?? { line: 0, column: 0 };
      if (event.key === "Enter" || event.key === " ") {
        const head = this.headAt(from);
        if (head && event.key === " " && this.host.edits) {
          this.host.edits.toggle(headName(head));
          this.frame();
        } else if (head) this.host.enter(head);
      } else {
        const to = step(this.drawing.plan, from, event);
        if (!to) return;
        this.cursor = to;
        this.hovered = null;
        this.frame();
        this.tell();
        this.reveal();
      }
      event.preventDefault();
    });
  }
}
