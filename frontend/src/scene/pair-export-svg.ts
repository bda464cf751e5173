/** Numbers of A and B beside each other, for paper. */

import { escaped, sheet, tag } from "../base/svg";
import type { Picture } from "./level";
import type { Scene } from "./scene";

export interface PairRow {
  token: string;
  cells: string[];
  /** Of the last column: -1 … 1 of the scale, drawn as a bar; null: none. */
  part: number | null;
}

const EDGE = 16;
const ROW = 20;
const FIRST = 190;
const CELL = 96;
const BAR = 120;

export function exportPair(scene: Scene, columns: string[], rows: PairRow[]): Picture {
  const { palette } = scene.ramp;
  const parts: string[] = [];
  const right = (column: number) => EDGE + FIRST + CELL * column;
  const bars = rows.some(({ part }) => part !== null);
  const width = right(columns.length - 1) + (bars ? BAR + 12 : 0) + EDGE;
  const text = (said: string, x: number, y: number, more: Record<string, string | number> = {}): void => {
    parts.push(tag("text", { x, y, ...more }, escaped(said)));
  };
  const { site, state, queryLabels, query } = scene;
  const title = `${scene.meta.model.name}, layer ${site.layer}, head ${state.head}: ${queryLabels[query].text}, B − A`;
  text(title, EDGE, 26, {
    "font-size": 13,
    "font-weight": 600,
  });
  const head = 52;
  for (const [i, name] of columns.entries())
    text(name, i === 0 ? EDGE : right(i), head, { opacity: 0.75, "text-anchor": i === 0 ? "start" : "end" });
  rows.forEach(({ token, cells, part }, i) => {
    const y = head + (i + 1) * ROW;
    text(token, EDGE, y);
    for (const [n, said] of cells.entries()) text(said, right(n + 1), y, { "text-anchor": "end" });
    if (part === null || !Number.isFinite(part)) return;
    const middle = right(columns.length - 1) + 12 + BAR / 2;
    const long = (Math.min(1, Math.abs(part)) * BAR) / 2;
    const fill = part < 0 ? palette.negative : palette.positive;
    parts.push(tag("rect", { x: part < 0 ? middle - long : middle, y: y - 10, width: long, height: 12, fill }));
  });
  const height = head + rows.length * ROW + EDGE + 8;
  return sheet(title, [width, height], palette, 12, ...parts);
}
