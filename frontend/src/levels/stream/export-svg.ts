/** The column and the lens grid as an SVG: what the reader sees, with what is opened. */

import { domainEnd, fixed, percent } from "../../base/format";
import { inkRamp } from "../../base/scale";
import { escaped, fitting, sheet, tag } from "../../base/svg";
import type { StreamNote } from "../../data/metadata";
import type { StreamTable } from "../../data/stream";
import type { Column, Line } from "../../heads/stream-column";
import { shown } from "../../heads/target-names";
import type { Label } from "../../scene/labels";
import type { Picture } from "../../scene/level";
import type { Scene } from "../../scene/scene";
import { asText, type Part } from "../../scene/text";
import { unfolded } from "./folding";
import { TASKS } from "./predictions";
import { FAILED, receiptSaid } from "./receipt";
import { endsOf, isFirst, isPart, rowName } from "./rows";
import { sentenceOf, signed, stageName } from "./sentence";

const LEFT = 24;
const WIDTH = 1000;
const STEP = 18;
const SIZE = 12;
const [LAYER, NAME, BAR, VALUE, TRACK, SUM, LENS, END] = [LEFT, 64, 160, 370, 390, 560, 580, 760];
const BAR_WIDE = 160;
const TRACK_WIDE = 130;

type More = Record<string, string | number>;
const muted = { opacity: 0.7 };

export function exportSvg(
  scene: Scene,
  column: Column,
  drawn: { lines: Line[]; opened: ReadonlySet<string> },
  where: string,
  note: StreamNote,
  said: string,
): Picture {
  const { palette } = scene.ramp;
  const { attributed, target, against, receipt } = column;
  const parts: string[] = [];
  const text = (words: string, x: number, y: number, more: More = {}) =>
    parts.push(tag("text", { x, y, ...more }, escaped(words)));
  const rect = (x: number, y: number, width: number, height: number, fill: string, more: More = {}) =>
    parts.push(tag("rect", { x, y, width, height, fill, ...more }));
  let y = 14;
  const lines = (words: string, width: number, step: number, more: More = {}) => {
    for (const line of fitting(words, width, Number(more["font-size"] ?? SIZE))) {
      y += step;
      text(line, LEFT, y, more);
    }
  };
  lines(asText(sentenceOf(column)), WIDTH - 2 * LEFT, 24, { "font-size": 17 });
  y += 20;
  text(`${scene.meta.model.name} · the stream at ${where}, from the embedding to the prediction`, LEFT, y, muted);
  if (said) lines(said, WIDTH - 2 * LEFT, 18, muted);
  y += 28;
  const top = y;
  const ends = endsOf(column);
  const bold = { "font-weight": 650 };
  const pair = against ? `${target?.text} − ${against.text}` : `${target?.text}`;
  if (receipt.passed) {
    text(attributed ? `adds to ${pair}` : "turns x by", BAR, y, bold);
    text(attributed ? `±${domainEnd(ends.value)}` : `0 … ${domainEnd(ends.value)}°`, VALUE, y, {
      ...muted,
      "text-anchor": "end",
    });
    text(attributed ? "sum so far" : "‖x‖", TRACK, y, bold);
    text(attributed ? `±${domainEnd(ends.running)}` : `0 … ${domainEnd(ends.running)}`, SUM, y, {
      ...muted,
      "text-anchor": "end",
    });
    if (column.lens.length) text("lens", LENS, y, bold);
    y += 8;
    let before = 0;
    for (const { line } of unfolded(drawn.lines, drawn.opened)) before = row(line, isPart(column, line), before);
  } else lines(`✕ ${FAILED}`, END - 2 * LEFT, 18);

  function row(line: Line, part: boolean, before: number): number {
    const middle = y + STEP / 2;
    const base = middle + 4;
    if (line.folded || (!part && isFirst(column, line))) {
      parts.push(tag("line", { x1: LEFT, x2: END - 24, y1: y, y2: y, stroke: palette.ink, opacity: 0.15 }));
      text(line.folded ? line.name.replaceAll("L", "") : String(line.layer), LAYER, base, bold);
    }
    text(rowName(line, part), NAME + (part ? 12 : 0), base, part ? muted : {});
    const value = attributed ? line.value : line.turn;
    if (value !== null && Number.isFinite(value)) {
      const wide = (Math.abs(value) / ends.value) * (attributed ? BAR_WIDE / 2 : BAR_WIDE);
      const x = attributed ? BAR + BAR_WIDE / 2 - (value < 0 ? wide : 0) : BAR;
      const fill = attributed ? (value < 0 ? palette.negative : palette.positive) : palette.ink;
      rect(x, middle - 5, wide, 10, fill, { "data-part": line.name, "data-value": String(value) });
      text(attributed ? signed(value, 2) : `${fixed(value, 1)}°`, VALUE, base, { "text-anchor": "end" });
    }
    if (attributed) {
      const at = (one: number) => TRACK + TRACK_WIDE * (0.5 + one / ends.running / 2);
      const to = line.running ?? before;
      if (line.running !== null)
        parts.push(
          tag("path", {
            d: `M${at(before)} ${y}H${at(to)}V${y + STEP}`,
            fill: "none",
            stroke: palette.ink,
            "stroke-width": 1.5,
          }),
        );
      else parts.push(tag("path", { d: `M${at(to)} ${y}V${y + STEP}`, stroke: palette.ink, "stroke-width": 1.5 }));
      if (line.running !== null)
        text(signed(line.running, 2), SUM, base, { "text-anchor": "end", "data-running": String(line.running) });
    } else if (line.stage !== null) {
      const size = column.sizes[line.stage];
      rect(TRACK, middle - 5, (size / ends.running) * TRACK_WIDE, 10, palette.ink);
      text(fixed(size, 1), SUM, base, { "text-anchor": "end" });
    }
    if (line.stage !== null && line.stage < column.lens.length) {
      const chance = column.lens[line.stage];
      rect(LENS, middle - 7, 130 * chance, 14, palette.ink, { opacity: 0.18, "data-value": String(chance) });
      text(`${fitting(column.lensText[line.stage], 100, SIZE)[0]}  ${percent(chance)}`, LENS + 3, base);
    }
    y += STEP;
    return line.running ?? before;
  }

  let side = top;
  if (column.predictions.length) {
    text(`prediction: ${TASKS[note.task]}`, END, side, bold);
    side += 8;
    for (const one of column.predictions) {
      const mark = !attributed || !against ? "" : one === target ? "target" : one === against ? "against" : "";
      rect(END, side + 2, 90 * one.probability, 14, palette.ink, { opacity: 0.18 });
      text(`${fitting(one.text, 90, SIZE)[0]}`, END + 3, side + 13, mark ? bold : {});
      text(percent(one.probability), END + 140, side + 13, {
        "text-anchor": "end",
        "data-value": String(one.probability),
      });
      text(mark, END + 150, side + 13, { "font-size": 10 });
      side += STEP;
    }
  }
  y = Math.max(y, side) + 22;
  const receiptWords = `${receipt.passed ? "✓" : "✕"} ${receiptSaid(column, note.receipt).join(" ")} Layers and heads count from 0.`;
  for (const line of fitting(receiptWords, WIDTH - 2 * LEFT, 11)) {
    text(line, LEFT, y, { ...muted, "font-size": 11 });
    y += 16;
  }
  return sheet(`${scene.meta.model.name}: the stream at ${where}`, [WIDTH, Math.ceil(y + 8)], palette, SIZE, ...parts);
}

const CELL = 64;
const MOST = 32; // positions beside each other on paper

export function exportLens(
  scene: Scene,
  table: StreamTable,
  labels: Label[],
  row: number,
  said: Part[] | null,
): Picture {
  const { note } = table;
  const { palette } = scene.ramp;
  const ink = inkRamp(scene.ramp);
  const from = Math.max(0, Math.floor(row / MOST)) * MOST;
  const positions = note.positions.slice(from, from + MOST);
  const width = Math.max(480, 2 * LEFT + 70 + positions.length * CELL);
  const parts: string[] = [];
  const text = (words: string, x: number, y: number, more: More = {}) =>
    parts.push(tag("text", { x, y, ...more }, escaped(words)));
  let y = 14;
  for (const line of fitting(said ? asText(said) : "", width - 2 * LEFT, 15)) {
    y += 22;
    text(line, LEFT, y, { "font-size": 15 });
  }
  y += 20;
  text(`${scene.meta.model.name} · lens: the most probable token after each layer`, LEFT, y, muted);
  y += 28;
  const cut = (words: string) => fitting(words, CELL - 6, 11)[0];
  positions.forEach((position, i) => {
    const x = LEFT + 70 + (i + 0.5) * CELL;
    const how = { "text-anchor": "middle", "font-size": 11, ...(from + i === row ? { "font-weight": 700 } : {}) };
    text(cut(labels[position]?.text ?? "?"), x, y, how);
  });
  y += 8;
  for (let stage = 0; stage <= note.layers; stage++, y += STEP + 2) {
    text(stageName(stage).replace("the ", ""), LEFT + 62, y + 13, { ...muted, "text-anchor": "end", "font-size": 11 });
    positions.forEach((_, i) => {
      const value = table.lens(from + i)[stage];
      const x = LEFT + 70 + i * CELL;
      parts.push(
        tag("rect", { x, y, width: CELL - 2, height: STEP, fill: ink.css(value, 1), "data-value": String(value) }),
      );
      text(cut(shown(note.lens_text[from + i][stage])), x + 3, y + 13, { "font-size": 11, fill: ink.on(value, 1) });
    });
  }
  text("ink: its probability, 0 … 100 %. Layers count from 0.", LEFT, y + 20, { ...muted, "font-size": 11 });
  return sheet(`${scene.meta.model.name}: lens`, [width, y + 36], palette, SIZE, ...parts);
}
