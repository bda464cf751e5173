/** The lines as an SVG that needs nothing beside itself. */

import { escaped, MONO, SANS } from "../../base/svg";
import type { Pen } from "../../heads/palette";
import { joins } from "../../scene/labels";
import type { Picture } from "../../scene/level";
import { NUMBERS } from "./column";
import { curve, type Line, opacity, thickness } from "./geometry";

export interface DrawnSide {
  text: string;
  y: number;
  chosen: boolean;
  special: boolean;
  /** As they are written, one per head. */
  numbers: string[];
}

export interface LinesDrawing {
  title: string;
  width: number;
  height: number;
  queries: DrawnSide[];
  keys: DrawnSide[];
  /** What the numbers beside the queries and beside the keys are. */
  columns: { query: string; key: string };
  faint: Line[];
  strong: Line[];
  y: { query(slot: number): number; key(slot: number): number };
  /** How far lines of a head lie from the middle. */
  beside(head: number): number;
  pens: Pen[];
  /** Where there are several. */
  heads: string[];
  /** What is not drawn. */
  undrawn: string;
  colours: { ground: string; text: string; muted: string };
}

const LINE_THICKNESS = 7;
const TOP = 46;
const SIDE = 230;

export function exportSvg(of: LinesDrawing): Picture {
  const { colours } = of;
  const width = of.width + 2 * SIDE;
  const height = of.height + TOP + (of.heads.length > 1 ? 56 : 34);
  const inside = (y: number) => y > 0 && y < of.height;
  const text = (x: number, y: number, anchor: string, content: string, more = "") =>
    `<text x="${x}" y="${Math.round(y * 10) / 10}" text-anchor="${anchor}" ${more}>${escaped(content)}</text>`;
  const path = (line: Line, opacity: number, stroke: number, beside = 0) => {
    const pen = of.pens[line.head];
    const dash = pen.dash.length
      ? ` stroke-dasharray="${pen.dash.map((n) => n * Math.max(1, stroke / 2)).join(" ")}"`
      : "";
    return `<path d="${curve(of.width, of.y.query(line.query) + beside, of.y.key(line.key) + beside)}" stroke="${pen.colour}" stroke-width="${stroke.toFixed(2)}" opacity="${opacity.toFixed(2)}"${dash}/>`;
  };
  const side = ({ y, text: token, chosen, special, numbers: all }: DrawnSide, left: boolean) => {
    if (!inside(y)) return "";
    const numbers = all.filter(Boolean).slice(0, NUMBERS).join("  ");
    const look = `font-family="${joins(token) ? SANS : MONO}" fill="${special && !chosen ? colours.muted : colours.text}"${chosen ? ' font-weight="700"' : ""}`;
    const at = left ? -10 : of.width + 10;
    const beside = numbers
      ? text(
          left ? -SIDE + 12 : of.width + SIDE - 12,
          y + 4,
          left ? "start" : "end",
          numbers,
          `fill="${colours.muted}" font-size="11"`,
        )
      : "";
    return text(at, y + 4, left ? "end" : "start", token.length > 20 ? `${token.slice(0, 19)}…` : token, look) + beside;
  };
  const column = `fill="${colours.muted}" font-size="11"`;
  const legend = of.heads.map((name, i) => {
    const pen = of.pens[i];
    const dash = pen.dash.length ? ` stroke-dasharray="${pen.dash.join(" ")}"` : "";
    return `<path d="M${i * 92} 0h24" stroke="${pen.colour}" stroke-width="3"${dash}/>${text(i * 92 + 30, 4, "start", name, `fill="${colours.text}"`)}`;
  });
  const svg = `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" font-family="${SANS}" font-size="13">
<title>${escaped(of.title)}</title>
<rect width="100%" height="100%" fill="${colours.ground}"/>
${text(16, 24, "start", of.title, `fill="${colours.text}" font-weight="600"`)}
<g transform="translate(${SIDE} ${TOP})">
${text(-SIDE + 12, -6, "start", of.columns.query, column)}${text(of.width + SIDE - 12, -6, "end", of.columns.key, column)}
<clipPath id="within"><rect width="${of.width}" height="${of.height}"/></clipPath>
<g fill="none" clip-path="url(#within)">
${of.faint.map((line) => path(line, 0.05 + 0.3 * Math.min(1, line.size), 0.6 + 1.6 * Math.min(1, line.size))).join("\n")}
${of.strong.map((line) => path(line, opacity(line.size), thickness(line.size, LINE_THICKNESS), of.beside(line.head))).join("\n")}
</g>
${of.queries.map((one) => side(one, true)).join("")}
${of.keys.map((one) => side(one, false)).join("")}
${of.heads.length > 1 ? `<g transform="translate(0 ${of.height + 18})">${legend.join("")}</g>` : ""}
${text(-SIDE + 12, of.height + (of.heads.length > 1 ? 44 : 20), "start", of.undrawn, column)}
</g>
</svg>`;
  return { svg, width, height };
}
