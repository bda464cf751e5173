/** Cells as pixels. Where several share a pixel it shows the largest of them. */
import { BROKEN, type Field, MASKED, SHOWN } from "./field";
import type { Shade } from "./shade";
import type { ViewBox } from "./viewbox";

export interface Marks {
  ground: number;
  hatch: number;
  ink: number;
}

const NONE = 3; // still to be computed, or beyond the grid

/** For each device pixel the cells that it shows: [first, last], or -1 beyond the grid. `edge`: a gap follows. */
function spans(
  n: number,
  at: number,
  cell: number,
  pixels: number,
): { first: Int32Array; last: Int32Array; gap: Uint8Array } {
  const first = new Int32Array(pixels).fill(-1);
  const last = new Int32Array(pixels).fill(-1);
  const gap = new Uint8Array(pixels);
  for (let p = 0; p < pixels; p++) {
    const from = Math.floor(at + (p + 1e-6) / cell);
    if (from >= n) break;
    first[p] = from;
    last[p] = Math.min(n - 1, Math.max(from, Math.ceil(at + (p + 1) / cell - 1e-6) - 1));
    if (cell >= 1) last[p] = from;
    if (cell >= 8 && Math.floor(at + (p + 1 + 1e-6) / cell) !== from) gap[p] = 1;
  }
  return { first, last, gap };
}

/** True where cells share pixels. */
export const pools = (box: ViewBox, ratio: number) => box.cellX * ratio < 1 || box.cellY * ratio < 1;

/** RGBA of `width` × `height` device pixels; `ratio` of them are one CSS pixel. */
export function paint(
  field: Field,
  box: ViewBox,
  shade: Shade,
  marks: Marks,
  width: number,
  height: number,
  ratio: number,
): Uint32Array<ArrayBuffer> {
  const pixels = new Uint32Array(width * height);
  const columns = spans(field.columns, box.x, box.cellX * ratio, width);
  const rows = spans(field.rows, box.y, box.cellY * ratio, height);
  const kinds = new Uint8Array(width);
  const colours = new Uint32Array(width);
  const clipped = new Uint8Array(width);
  const [deviceX, deviceY] = [box.cellX * ratio, box.cellY * ratio];
  const notch = deviceX >= 10 && deviceY >= 10 ? Math.round(3 * ratio) : 0;
  const period = Math.max(5, Math.round(5 * ratio));
  const bar = Math.max(2, Math.round(1.5 * ratio));
  // a corner of a cell whose number lies beyond the scale
  const inNotch = (x: number, y: number) => {
    const dx = x - (columns.first[x] - box.x) * deviceX;
    const dy = y - (rows.first[y] - box.y) * deviceY;
    return dx + dy < notch * 1.5;
  };
  let before = -1;
  let plain = true;
  for (let y = 0; y < height; y++) {
    const from = rows.first[y];
    if (from < 0) break;
    const line = y * width;
    if (rows.gap[y]) continue;
    const same = from === before && y > 0 && !rows.gap[y - 1];
    if (same && plain) {
      pixels.copyWithin(line, line - width, line);
      continue;
    }
    if (from !== before) {
      plain = true;
      before = from;
      let lastColumn = -2;
      for (let x = 0; x < width; x++) {
        const column = columns.first[x];
        if (column >= 0 && column === lastColumn && columns.last[x] === column) {
          kinds[x] = kinds[x - 1];
          colours[x] = colours[x - 1];
          clipped[x] = clipped[x - 1];
          continue;
        }
        lastColumn = columns.last[x] === column ? column : -2;
        const { kind, value } =
          column < 0 ? { kind: NONE, value: 0 } : pooled(field, from, rows.last[y], column, columns.last[x]);
        kinds[x] = kind;
        clipped[x] = notch && kind === SHOWN && Math.abs(value) > shade.end ? 1 : 0;
        if (kind === MASKED || kind === BROKEN || clipped[x]) plain = false;
        if (kind === MASKED || kind === BROKEN) colours[x] = 0;
        else colours[x] = kind === NONE ? 0 : shade.pixel(value);
      }
    }
    for (let x = 0; x < width; x++) {
      if (columns.gap[x]) continue;
      const kind = kinds[x];
      if (kind === MASKED) pixels[line + x] = (x + y) % period === 0 ? marks.hatch : 0;
      else if (kind === BROKEN) pixels[line + x] = Math.floor(y / bar) & 1 ? 0 : marks.ink;
      else if (clipped[x] && inNotch(x, y)) pixels[line + x] = marks.ground;
      else pixels[line + x] = colours[x];
    }
  }
  return pixels;
}

const found = { kind: NONE, value: 0 };

/** What is broken is seen, then the largest magnitude; masked only where all of them are. */
function pooled(field: Field, r0: number, r1: number, c0: number, c1: number): typeof found {
  found.kind = NONE;
  found.value = 0;
  for (let r = r0; r <= r1; r++) {
    const row = field.row(r);
    if (!row) continue;
    for (let c = c0; c <= c1; c++) {
      const kind = row.kinds[c];
      if (kind === BROKEN) {
        found.kind = BROKEN;
        return found;
      }
      if (kind === MASKED) {
        if (found.kind === NONE) found.kind = MASKED;
        continue;
      }
      if (found.kind !== SHOWN || Math.abs(row.values[c]) > Math.abs(found.value)) found.value = row.values[c];
      found.kind = SHOWN;
    }
  }
  return found;
}
