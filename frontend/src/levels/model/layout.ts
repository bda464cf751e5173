/** Where each thumbnail stands: layers × heads, or a flow of sorted heads. Pure numbers, in CSS pixels. */
import type { Head } from "./heads";

export interface Box {
  head: Head;
  x: number;
}

/** A line of thumbnails. */
export interface Line {
  y: number;
  boxes: Box[];
  label: string;
}

export interface Plan {
  lines: Line[];
  /** Names of the stacks. */
  titles: { y: number; text: string }[];
  /** Names of the heads, above the columns. */
  columns: { x: number; y: number; text: string }[];
  size: number;
  /** Height of a caption under a thumbnail; 0: none. */
  caption: number;
  /** Width of the names of the layers. */
  left: number;
  width: number;
  height: number;
}

const SMALLEST = 24;
const LARGEST = 132;
const CAPTION = 32;
const CAPTIONED = 52;
const AXIS = 22;
const TITLE = 30;
const GAPS = [8, 6, 4];

/** Whole device pixels for each patch, where that costs little; and the gap that goes with it. */
function sizeFor(width: number, columns: number, patches: number, ratio: number): { size: number; gap: number } {
  const fitting = (gap: number) =>
    Math.max(SMALLEST, Math.min(LARGEST, Math.floor((width - gap * (columns - 1)) / columns)));
  const whole = (size: number) => (Math.floor((size * ratio) / patches) * patches) / ratio;
  const fits = (gap: number) => fitting(gap) * columns + gap * (columns - 1) <= width;
  for (const gap of GAPS) {
    const size = fitting(gap);
    if (fits(gap) && whole(size) >= Math.max(SMALLEST, 0.94 * size)) return { size: whole(size), gap };
  }
  const gap = [6, 4, 3].find((one) => fitting(one) >= 8 * one && fits(one)) ?? 2;
  return { size: fitting(gap), gap };
}

/** `marked`: room for a mark beside the names of the layers. */
export function byLayer(heads: Head[], width: number, ratio: number, marked = false): Plan {
  const left = (width < 480 ? 30 : 62) + (marked ? 14 : 0);
  const columns = Math.max(...heads.map(({ head }) => head)) + 1;
  const patches = Math.max(...heads.map(({ site }) => site.thumb?.columns ?? 1));
  const { size, gap } = sizeFor(width - left, columns, patches, ratio);
  const plan: Plan = { lines: [], titles: [], columns: [], size, caption: 0, left, width: 0, height: 0 };
  const x = (head: number) => left + head * (size + gap);
  let y = 0;
  for (const stack of new Set(heads.map(({ site }) => site.stack))) {
    const sites = [...new Set(heads.filter(({ site }) => site.stack === stack).map(({ site }) => site))];
    if (stack !== null) {
      plan.titles.push({ y: y + (y ? 6 : 0), text: stack });
      y += TITLE;
    }
    const most = Math.max(...sites.map((site) => site.heads));
    for (let head = 0; head < most; head++)
      plan.columns.push({ x: x(head), y, text: size >= 60 ? `head ${head}` : String(head) });
    y += AXIS;
    for (const site of sites.sort((a, b) => a.layer - b.layer || a.call - b.call)) {
      const twins = sites.some((other) => other !== site && other.layer === site.layer);
      const call = twins ? `, call ${site.call}` : "";
      plan.lines.push({
        y,
        boxes: heads.filter((one) => one.site === site).map((head) => ({ head, x: x(head.head) })),
        label: `${left < 50 ? "L" : "layer "}${site.layer}${call}`,
      });
      y += size + gap;
    }
    y += 8;
  }
  plan.width = x(columns) - gap;
  plan.height = y;
  return plan;
}

export function inOrder(heads: Head[], width: number, ratio: number): Plan {
  const columns = Math.max(...heads.map(({ head }) => head)) + 1;
  const patches = Math.max(...heads.map(({ site }) => site.thumb?.columns ?? 1));
  const wide = heads.some(({ site }) => site.stack) ? CAPTIONED + 24 : CAPTIONED;
  const fitted = Math.max(1, Math.floor((width + 8) / (wide + 8)));
  const each = Math.min(Math.max(columns, 8), fitted);
  const { size, gap } = sizeFor(width, each, patches, ratio);
  const pitch = Math.max(size, wide) + gap;
  const perLine = Math.max(1, Math.min(each, Math.floor((width + gap) / pitch)));
  const lines: Line[] = [];
  for (let at = 0; at < heads.length; at += perLine)
    lines.push({
      y: lines.length * (size + CAPTION + 10),
      boxes: heads.slice(at, at + perLine).map((head, i) => ({ head, x: i * pitch })),
      label: "",
    });
  return {
    lines,
    titles: [],
    columns: [],
    size,
    caption: CAPTION,
    left: 0,
    width: perLine * pitch - gap,
    height: lines.length * (size + CAPTION + 10),
  };
}

export interface Place {
  line: number;
  column: number;
}

/** The thumbnail at a point; null between them. */
export function at(plan: Plan, x: number, y: number): Place | null {
  const reach = plan.size + plan.caption;
  let [low, high] = [0, plan.lines.length - 1];
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (plan.lines[middle].y <= y) low = middle;
    else high = middle - 1;
  }
  const line = plan.lines[low];
  if (!line || y < line.y || y > line.y + reach) return null;
  const column = line.boxes.findIndex((box) => x >= box.x && x <= box.x + plan.size);
  return column < 0 ? null : { line: low, column };
}

export function find(plan: Plan, wanted: Pick<Head, "site" | "head">): Place | null {
  for (const [line, { boxes }] of plan.lines.entries()) {
    const column = boxes.findIndex(({ head }) => head.site === wanted.site && head.head === wanted.head);
    if (column >= 0) return { line, column };
  }
  return null;
}

/** Where a key leads; null when it is not one of ours. */
export function step(plan: Plan, { line, column }: Place, event: Pick<KeyboardEvent, "key" | "ctrlKey">): Place | null {
  const last = plan.lines.length - 1;
  const to = (l: number, c: number): Place => {
    const there = Math.max(0, Math.min(last, l));
    return { line: there, column: Math.max(0, Math.min(plan.lines[there].boxes.length - 1, c)) };
  };
  const end = plan.lines[line].boxes.length - 1;
  const flows = plan.caption > 0;
  switch (event.key) {
    case "ArrowUp":
      return to(line - 1, column);
    case "ArrowDown":
      return to(line + 1, column);
    case "PageUp":
      return to(line - 5, column);
    case "PageDown":
      return to(line + 5, column);
    case "ArrowLeft":
      return column === 0 && flows && line > 0 ? to(line - 1, Number.POSITIVE_INFINITY) : to(line, column - 1);
    case "ArrowRight":
      return column === end && flows && line < last ? to(line + 1, 0) : to(line, column + 1);
    case "Home":
      return to(event.ctrlKey ? 0 : line, 0);
    case "End":
      return event.ctrlKey ? to(last, Number.POSITIVE_INFINITY) : to(line, end);
  }
  return null;
}
