/** A head's pooled weights as ink: a small matrix, or lines from queries to keys. */

import type { Palette, Ramp } from "../../base/scale";
import { inkRamp } from "../../base/scale";
import type { Thumb } from "../../data/metadata";
import type { Head } from "./heads";

const LINES = 64; // of one head
export const LINES_FROM = 0.04;

/** What each byte looks like; masked and broken ones are drawn by their place. */
export interface Look {
  ink: Ramp;
  end: number;
  /** Differences: their colour grows with the square root, so that a small change is seen beside a head that changed wholly. */
  signed: boolean;
  hatch: number;
  ground: number;
  text: number;
  palette: Palette;
  frame: string;
}

const packed = (css: string) => {
  const n = Number.parseInt(css.slice(1), 16);
  return (0xff000000 | ((n & 255) << 16) | (n & 0xff00) | ((n >> 16) & 255)) >>> 0;
};

export function lookOf(ramp: Ramp, end: number, hatch: string, frame: string, signed = false): Look {
  const { palette } = ramp;
  const known = (css: string, other: string) => packed(/^#[0-9a-f]{6}$/i.test(css) ? css : other);
  return {
    ink: signed ? ramp : inkRamp(ramp),
    end,
    signed,
    hatch: known(hatch, palette.zero),
    ground: packed(palette.ground),
    text: packed(palette.ink),
    palette,
    frame,
  };
}

/** First and last patch that each pixel stands for. */
function spans(pixels: number, patches: number): [number, number][] {
  return Array.from({ length: pixels }, (_, p) => {
    const first = Math.floor((p * patches) / pixels);
    // fewer pixels than patches: none of them is lost
    return [first, pixels >= patches ? first : Math.max(first, Math.ceil(((p + 1) * patches) / pixels) - 1)];
  });
}

/** The byte that stands for several: NaN before any weight, any weight before masked. */
function strongestOf(
  octets: Uint8Array,
  thumb: Thumb,
  [top, bottom]: [number, number],
  [left, right]: [number, number],
): number {
  const { columns, masked, broken, zero = 0 } = thumb;
  let found = masked;
  for (let row = top; row <= bottom; row++)
    for (let at = row * columns + left; at <= row * columns + right; at++) {
      const byte = octets[at];
      if (byte === broken) return broken;
      if (byte !== masked && (found === masked || Math.abs(byte - zero) > Math.abs(found - zero))) found = byte;
    }
  return found;
}

/** How far along the ramp a weight is, -1 … 1. */
export function partOf(weight: number, { end, signed }: Pick<Look, "end" | "signed">): number {
  const part = Math.min(1, Math.abs(weight) / end);
  return signed ? Math.sign(weight) * Math.sqrt(part) : part;
}

const weightOf = ({ zero = 0, steps }: Thumb, byte: number) => (byte - zero) / steps;

/** `size` device pixels, square, at (`x`, `y`) of an image `width` wide. */
export function paintMatrix(
  pixels: Uint32Array,
  width: number,
  x: number,
  y: number,
  size: number,
  head: Head,
  look: Look,
  ratio: number,
): void {
  const thumb = head.site.thumb as Thumb;
  const { octets } = head;
  if (!octets) return;
  const colours = Uint32Array.from({ length: 256 }, (_, byte) =>
    look.ink.pixel(partOf(weightOf(thumb, byte), look), 1),
  );
  const rows = spans(size, thumb.rows);
  const columns = spans(size, thumb.columns);
  const period = Math.max(3, Math.round(4 * ratio));
  const bar = Math.max(1, Math.round(ratio));
  for (let dy = 0; dy < size; dy++) {
    const start = (y + dy) * width + x;
    for (let dx = 0; dx < size; dx++) {
      const byte = strongestOf(octets, thumb, rows[dy], columns[dx]);
      let colour = colours[byte];
      if (byte === thumb.masked) colour = (dx + dy) % period < ratio ? look.hatch : look.ground;
      else if (byte === thumb.broken) colour = Math.floor(dy / bar) % 2 ? look.ground : look.text;
      pixels[start + dx] = colour;
    }
  }
}

/** The strongest cells of a head, weakest first, so that the strong ones lie on top. */
export function strongestCells(head: Head): { row: number; column: number; weight: number }[] {
  const { octets, site } = head;
  const thumb = site.thumb as Thumb;
  if (!octets) return [];
  const cells: { row: number; column: number; weight: number }[] = [];
  octets.forEach((byte, i) => {
    const weight = byte === thumb.masked || byte === thumb.broken ? 0 : weightOf(thumb, byte);
    if (Math.abs(weight) >= LINES_FROM)
      cells.push({ row: Math.floor(i / thumb.columns), column: i % thumb.columns, weight });
  });
  return cells.sort((a, b) => Math.abs(a.weight) - Math.abs(b.weight)).slice(-LINES);
}

/** Queries on the left, keys on the right; in CSS pixels. */
export function paintLines(
  context: CanvasRenderingContext2D,
  x: number,
  y: number,
  size: number,
  head: Head,
  look: Look,
): void {
  const thumb = head.site.thumb;
  context.strokeStyle = look.frame;
  context.lineWidth = 1;
  context.strokeRect(x + 0.5, y + 0.5, size - 1, size - 1);
  if (!thumb) return;
  for (const { row, column, weight } of strongestCells(head)) {
    const part = Math.abs(partOf(weight, look));
    context.strokeStyle = look.ink.css(Math.sign(weight) * (0.12 + 0.88 * part), 1);
    context.lineWidth = Math.max(0.5, (size / 56) * part);
    context.beginPath();
    context.moveTo(x + 2, y + ((row + 0.5) / thumb.rows) * size);
    context.lineTo(x + size - 2, y + ((column + 0.5) / thumb.columns) * size);
    context.stroke();
  }
}

/** A thumbnail, or a row of them, on a canvas of its own size. */
export function paint(
  canvas: HTMLCanvasElement,
  boxes: { head: Head; x: number; absent: boolean }[],
  size: number,
  width: number,
  ratio: number,
  look: Look,
  lines: boolean,
): void {
  const side = Math.round(size * ratio);
  canvas.width = Math.max(1, Math.round(width * ratio));
  canvas.height = Math.max(1, side);
  canvas.style.width = `${width}px`;
  canvas.style.height = `${size}px`;
  const context = canvas.getContext("2d");
  if (!context) return;
  if (!lines) {
    const image = context.createImageData(canvas.width, canvas.height);
    const pixels = new Uint32Array(image.data.buffer);
    for (const { head, x } of boxes)
      paintMatrix(pixels, canvas.width, Math.round(x * ratio), 0, side, head, look, ratio);
    context.putImageData(image, 0, 0);
  }
  context.scale(ratio, ratio);
  for (const { head, x, absent } of boxes) {
    if (lines) paintLines(context, x, 0, size, head, look);
    if (!absent && head.octets) continue;
    // nothing to draw, or not in this page: a frame of dashes
    context.setLineDash([3, 3]);
    context.strokeStyle = look.palette.ground;
    context.lineWidth = 2;
    context.strokeRect(x + 1, 1, size - 2, size - 2);
    context.strokeStyle = look.palette.ink;
    context.lineWidth = 1;
    context.strokeRect(x + 0.5, 0.5, size - 1, size - 1);
    context.setLineDash([]);
  }
}
