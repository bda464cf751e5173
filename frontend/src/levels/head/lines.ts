/** The lines between the columns: faint ones on a canvas for all queries, strong ones as SVG for what is looked at. */
import { h, setAttribute } from "../../base/dom";
import { isMoving, moveFrom, still, stop } from "../../base/motion";
import type { Pen } from "../../heads/palette";
import { curve, heightAt, type Line, opacity, thickness } from "./geometry";

const SVG = "http://www.w3.org/2000/svg";
const NEAR = 12; // px from a line that one still means
const LEVELS = 10; // of darkness among faint lines: lines of one level are one stroke

export interface Drawn extends Line {
  /** Tokens of its ends. */
  queryToken: number;
  keyToken: number;
  /** The exact weight. */
  value: number;
}

export interface Ends {
  query(slot: number): number;
  key(slot: number): number;
}

export class Lines {
  readonly element = h("div", { class: "lines", "aria-hidden": "true" });
  private readonly canvas = h("canvas");
  private readonly svg = document.createElementNS(SVG, "svg");
  private faint: Line[] = [];
  private strong: Drawn[] = [];
  private paths: SVGPathElement[] = [];
  private pens: Pen[] = [];
  private width = 0;
  private height = 0;

  constructor(private readonly ends: Ends) {
    this.svg.setAttribute("focusable", "false");
    this.element.append(this.canvas, this.svg);
  }

  setFaint(lines: Line[], pens: Pen[]): void {
    this.faint = lines;
    this.pens = pens;
    this.drawFaint();
  }

  /** `moves`: they are of another query than before, and go from its lines to the same keys. */
  setStrong(lines: Drawn[], pens: Pen[], most: number, moves = false): void {
    const before = moves && !still() ? this.standing() : null;
    for (const path of this.paths) stop(path);
    this.strong = [...lines].sort((a, b) => a.size - b.size);
    this.pens = pens;
    while (this.paths.length > this.strong.length) this.paths.pop()?.remove();
    while (this.paths.length < this.strong.length) {
      const path = document.createElementNS(SVG, "path");
      this.paths.push(path);
      this.svg.append(path);
    }
    this.strong.forEach((line, i) => {
      const path = this.paths[i];
      const pen = pens[line.head];
      const width = thickness(line.size, most);
      path.dataset.query = String(line.queryToken);
      path.dataset.key = String(line.keyToken);
      path.dataset.overlay = String(line.head);
      path.dataset.value = String(line.value);
      path.style.stroke = pen.colour;
      path.style.strokeWidth = String(width);
      path.style.opacity = String(opacity(line.size));
      setAttribute(
        path,
        "stroke-dasharray",
        pen.dash.map((length) => length * Math.max(1, width / 2)).join(" ") || null,
      );
    });
    this.place();
    if (before) for (const [i, line] of this.strong.entries()) moveFrom(this.paths[i], before(line));
  }

  /** Where the line of a head to a key is now; one that there was not begins at the query, with no thickness. */
  private standing(): (line: Drawn) => Keyframe {
    const old = new Map<string, Keyframe>();
    const name = ({ head, key }: Line) => `${head} ${key}`;
    this.strong.forEach((line, i) => {
      const path = this.paths[i];
      const own = isMoving(path);
      const { strokeWidth, opacity } = own ? getComputedStyle(path) : path.style;
      const d = own ? getComputedStyle(path).d : `path("${path.getAttribute("d")}")`;
      old.set(name(line), { d, strokeWidth, opacity });
    });
    const [first] = this.strong;
    return (line) => {
      const d = `path("${this.curve({ ...line, query: first?.query ?? line.query })}")`;
      return old.get(name(line)) ?? { d, strokeWidth: "0", opacity: "0" };
    };
  }

  resize(width: number, height: number): void {
    if (width === this.width && height === this.height) return;
    this.width = width;
    this.height = height;
    this.move();
  }

  /** Something scrolled: the same lines elsewhere. */
  move(): void {
    this.place();
    this.drawFaint();
  }

  private place(): void {
    for (const [i, line] of this.strong.entries()) this.paths[i].setAttribute("d", this.curve(line));
  }

  private curve({ head, query, key }: Line): string {
    const beside = this.beside(head);
    return curve(this.width, this.ends.query(query) + beside, this.ends.key(key) + beside);
  }

  /** Lines of several heads between the same tokens lie beside each other. */
  beside(head: number): number {
    const room = Math.min(3, 14 / this.pens.length);
    return (head - (this.pens.length - 1) / 2) * room;
  }

  private drawFaint(): void {
    const { width, height } = this;
    const scale = devicePixelRatio || 1;
    const [w, hgt] = [Math.round(width * scale), Math.round(height * scale)];
    if (this.canvas.width !== w || this.canvas.height !== hgt) {
      this.canvas.width = w;
      this.canvas.height = hgt;
    }
    const context = this.canvas.getContext("2d");
    if (!context || !w) return;
    context.setTransform(scale, 0, 0, scale, 0, 0);
    context.clearRect(0, 0, width, height);
    const strokes = new Map<string, { path: Path2D; pen: Pen; level: number }>();
    for (const line of this.faint) {
      const [a, b] = [this.ends.query(line.query), this.ends.key(line.key)];
      // a line that ends out of sight would only be a stripe across the picture
      if (a < 0 || b < 0 || a > height || b > height) continue;
      const level = Math.max(1, Math.ceil(Math.min(1, line.size) * LEVELS));
      const name = `${line.head} ${level}`;
      const stroke = strokes.get(name) ?? { path: new Path2D(), pen: this.pens[line.head], level };
      strokes.set(name, stroke);
      stroke.path.moveTo(0, a);
      stroke.path.bezierCurveTo(width * 0.42, a, width * 0.58, b, width, b);
    }
    for (const { path, pen, level } of strokes.values()) {
      context.strokeStyle = pen.colour;
      context.globalAlpha = 0.05 + (0.3 * level) / LEVELS;
      context.lineWidth = 0.6 + (1.6 * level) / LEVELS;
      context.setLineDash(pen.dash as number[]);
      context.stroke(path);
    }
    context.globalAlpha = 1;
  }

  /** The strong line nearest to a point, within a few pixels; the stronger of two. */
  at(x: number, y: number): Drawn | null {
    let [found, nearest]: [Drawn | null, number] = [null, NEAR];
    for (const line of this.strong) {
      const beside = this.beside(line.head);
      const height = heightAt(x, this.width, this.ends.query(line.query) + beside, this.ends.key(line.key) + beside);
      const away = height === null ? NEAR : Math.abs(height - y);
      if (away <= nearest && away < NEAR) [found, nearest] = [line, away];
    }
    return found;
  }

  get lines(): { faint: Line[]; strong: Drawn[] } {
    return { faint: this.faint, strong: this.strong };
  }
}
