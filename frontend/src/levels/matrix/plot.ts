/** The grid as it is drawn: cells, labels, sums; what is pointed at lies over it as elements. */

import { h } from "../../base/dom";
import { domainEnd } from "../../base/format";
import { nice } from "../../base/scale";
import { SANS } from "../../base/svg";
import { fromRight, joins } from "../../scene/labels";
import type { Field } from "./field";
import { axisLabels, labelRoom } from "./labels";
import { type Marks, paint } from "./paint";
import type { Shade } from "./shade";
import type { Tiles } from "./tiles";
import type { Plot, ViewBox } from "./viewbox";

export interface Room {
  /** Of the labels, and of the sums. */
  left: number;
  top: number;
  right: number;
  bottom: number;
  /** Length of the bar of the largest sum. */
  sum: number;
  /** Some rows do not add up to 1, and have a bar. */
  rowSums: boolean;
  /** Of the cells. */
  plot: Plot;
}

export interface Colours {
  ground: string;
  text: string;
  muted: string;
  line: string;
  hatch: string;
  ink: string;
}

export interface Drawing {
  field: Field;
  tiles: Tiles | null;
  box: ViewBox;
  shade: Shade;
  query: number;
  key: number;
  /** Rows and columns where a group of the text, or what was generated, begins. */
  borders: { query: number[]; key: number[] };
}

export const MONO = "ui-monospace, 'SF Mono', 'Cascadia Mono', Menlo, Consolas, 'DejaVu Sans Mono', monospace";
const SUM = 54; // px of a sum of full length
const NARROW_SUM = 24;
const AXIS = 60; // px for the titles of the axes, in the corner
/** What runs along an axis, and where to. */
export const AXES = { query: "query ↓", key: "key →" };
/** Where the bars of sums end; sums of weights are one but for rounding. */
export const sumEnd = (sums: Float64Array) => nice(sums.reduce((most, sum) => Math.max(most, sum), 0) - 1e-6);
/** Thickness of a bar beside a cell of this size. */
export const barOf = (cell: number) => (cell >= 8 ? Math.min(8, cell * 0.4) : cell);
const TILT = -Math.PI / 3;

/** `width`: all there is; `height`: of the cells at most. */
export function roomFor(field: Field, width: number, height: number): Room {
  const { queries, keys } = field.axes;
  const narrow = width < 560;
  const left = Math.max(AXIS, Math.min(labelRoom(queries.slots, 7.8), narrow ? 100 : 150));
  const top = Math.round(Math.max(AXIS * 0.7, Math.min(labelRoom(keys.slots, 7.8) * 0.87, 110) + 8));
  const sum = narrow ? NARROW_SUM : SUM;
  const [rows, columns] = [sumsOf(field) && field.anyUneven, sumsOf(field)];
  const right = rows ? sum + 34 : narrow ? 12 : 34; // the last labels lean over the edge
  const plot = { width: Math.max(80, width - left - right), height: Math.max(120, height) };
  return { left, top, right, bottom: columns ? sum + 22 : 8, sum, rowSums: rows, plot };
}

/** Sums are of weights. */
export const sumsOf = ({ quantity, cache, tiled }: Field) => quantity === "weights" && !cache.signed && !tiled;

/** How much of the plot cells take. */
export const coveredBy = (field: Field, box: ViewBox, { plot }: Room): Plot => ({
  width: Math.min(plot.width, (field.columns - box.x) * box.cellX),
  height: Math.min(plot.height, (field.rows - box.y) * box.cellY),
});

export const packed = (hex: string): number => {
  const n = Number.parseInt(hex.slice(1), 16);
  return (0xff000000 | ((n & 255) << 16) | (n & 0xff00) | (n >> 16)) >>> 0;
};

export class PlotView {
  readonly canvas = h("canvas", { "aria-hidden": "true" });
  /** Cells in sight take this much of the plot. */
  covered: Plot = { width: 0, height: 0 };

  draw(room: Room, drawing: Drawing, colours: Colours, ratio: number, canvas = this.canvas, bare = false): void {
    const { field, tiles, box, shade } = drawing;
    this.covered = coveredBy(field, box, room);
    const width = bare ? this.covered.width : room.left + this.covered.width + room.right;
    const height = bare ? this.covered.height : room.top + this.covered.height + room.bottom;
    const [w, hgt] = [Math.round(width * ratio), Math.round(height * ratio)];
    if (canvas.width !== w || canvas.height !== hgt) {
      canvas.width = w;
      canvas.height = hgt;
      canvas.style.width = `${w / ratio}px`;
      canvas.style.height = `${hgt / ratio}px`;
    }
    const context = canvas.getContext("2d");
    if (!context || !w || !hgt) return;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, w, hgt);
    const marks: Marks = { ground: packed(colours.ground), hatch: packed(colours.hatch), ink: packed(colours.text) };
    const [cw, ch] = [Math.round(this.covered.width * ratio), Math.round(this.covered.height * ratio)];
    const frame = bare
      ? { left: 0, top: 0 }
      : { left: Math.round(room.left * ratio), top: Math.round(room.top * ratio) };
    if (cw > 0 && ch > 0 && tiles) tiles.draw(context, box, { ...frame, width: cw, height: ch }, shade, marks, ratio);
    else if (cw > 0 && ch > 0) {
      const pixels = paint(field, box, shade, marks, cw, ch, ratio);
      const image = new ImageData(new Uint8ClampedArray(pixels.buffer), cw, ch);
      context.putImageData(image, frame.left, frame.top);
    }
    if (bare) return;
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    this.labels(context, room, drawing, colours);
    if (sumsOf(field)) this.sums(context, room, drawing, colours);
    this.borders(context, room, drawing, colours);
  }

  private labels(
    context: CanvasRenderingContext2D,
    room: Room,
    { field, box, query, key }: Drawing,
    colours: Colours,
  ): void {
    const { covered } = this;
    const size = Math.max(9, Math.min(13, Math.max(box.cellY, 12) * 0.95));
    context.textBaseline = "middle";
    const draw = (text: string, chosen: boolean, special: boolean) => {
      context.font = `${chosen ? "700 " : ""}${size}px ${joins(text) ? SANS : MONO}`;
      context.fillStyle = special && !chosen ? colours.muted : colours.text;
      context.direction = fromRight(text) ? "rtl" : "ltr";
      context.fillText(text, 0, 0);
    };
    context.textAlign = "right";
    for (const label of axisLabels(field.axes.queries.slots, box.y, box.cellY, covered.height, query)) {
      context.save();
      context.translate(room.left - 9, room.top + label.at);
      draw(label.text, label.chosen, label.special);
      context.restore();
    }
    context.font = `11px ${SANS}`;
    context.fillStyle = colours.muted;
    context.direction = "ltr";
    context.fillText(AXES.key, room.left - 9, room.top - 24);
    context.fillText(AXES.query, room.left - 9, room.top - 9);
    context.textAlign = "left";
    for (const label of axisLabels(field.axes.keys.slots, box.x, box.cellX, covered.width, key)) {
      context.save();
      context.translate(room.left + label.at, room.top - 7);
      context.rotate(TILT);
      draw(label.text, label.chosen, label.special);
      context.restore();
    }
  }

  /** Bars with a value at their ends: to the right the sums of rows that are not 1, below what each key receives. */
  private sums(context: CanvasRenderingContext2D, room: Room, { field, box }: Drawing, colours: Colours): void {
    const { covered } = this;
    const [right, below] = [room.left + covered.width + 8, room.top + covered.height + 8];
    const rowEnd = sumEnd(field.rowSums);
    const columnEnd = sumEnd(field.columnSums);
    context.fillStyle = colours.ink;
    const [wide, high] = [barOf(box.cellX), barOf(box.cellY)];
    // whole pixels: thin bars side by side leave no stripes between them
    const ratio = context.getTransform().a;
    const span = (at: number, size: number): [number, number] => {
      const from = Math.floor((at - size / 2) * ratio) / ratio;
      return [from, Math.max(1 / ratio, Math.ceil((at + size / 2) * ratio) / ratio - from)];
    };
    for (let r = Math.floor(box.y); r < field.rows; r++) {
      if (!field.uneven(r)) continue;
      const y = (r + 0.5 - box.y) * box.cellY;
      if (y > covered.height) break;
      const [from, size] = span(room.top + y, high);
      if (y >= 0) context.fillRect(right, from, (room.sum * field.rowSums[r]) / rowEnd, size);
    }
    for (let c = Math.floor(box.x); c < field.columns; c++) {
      const x = (c + 0.5 - box.x) * box.cellX;
      if (x > covered.width) break;
      const [from, size] = span(room.left + x, wide);
      if (x >= 0) context.fillRect(from, below, size, (room.sum * field.columnSums[c]) / columnEnd);
    }
    context.fillStyle = colours.muted;
    context.font = "11px system-ui, 'DejaVu Sans', sans-serif";
    context.textBaseline = "alphabetic";
    context.textAlign = "left";
    if (room.rowSums) context.fillText(`${room.sum < SUM ? "" : "sum "}0 … ${domainEnd(rowEnd)}`, right, room.top - 6);
    context.textAlign = "right";
    context.fillText("received", room.left - 9, below + 10);
    context.fillText(`0 … ${domainEnd(columnEnd)}`, room.left - 9, below + 24);
  }

  private borders(context: CanvasRenderingContext2D, room: Room, { box, borders }: Drawing, colours: Colours): void {
    const { covered } = this;
    context.strokeStyle = colours.muted;
    context.setLineDash([4, 3]);
    context.lineWidth = 1;
    context.beginPath();
    for (const row of borders.query) {
      const y = (row - box.y) * box.cellY;
      if (y < 0 || y > covered.height) continue;
      context.moveTo(room.left - 8, room.top + y);
      context.lineTo(room.left + covered.width, room.top + y);
    }
    for (const column of borders.key) {
      const x = (column - box.x) * box.cellX;
      if (x < 0 || x > covered.width) continue;
      context.moveTo(room.left + x, room.top - 6);
      context.lineTo(room.left + x, room.top + covered.height);
    }
    context.stroke();
    context.setLineDash([]);
  }
}
