/** The steps level as an SVG: every step with its formula and numbers, and what the reader has unfolded. */

import { decimals, fixed } from "../../base/format";
import { escaped, fitting, sheet, tag } from "../../base/svg";
import type { StepTensors } from "../../data/step-tensors";
import type { StreamTable } from "../../data/stream";
import type { Picture } from "../../scene/level";
import type { Scene } from "../../scene/scene";
import { sentence } from "../../scene/sentence";
import { asText } from "../../scene/text";
import { plain } from "./formula";
import { stepsOf } from "./steps";

const WIDTH = 1000;
const LEFT = 24;
const BODY = 270;
const SIZE = 13;
const CELL = 44;
const PER_LINE = Math.floor((WIDTH - BODY - LEFT) / CELL);
const MOST = 160; // numbers of a vector; the others are drawn without

export function exportSvg(scene: Scene, given: StepTensors | null, stream: StreamTable | null): Picture {
  const { palette } = scene.ramp;
  const parts: string[] = [];
  let y = 14;
  const text = (words: string, x: number, at: number, more: Record<string, string | number> = {}) =>
    parts.push(tag("text", { x, y: at, ...more }, escaped(words)));
  for (const line of fitting(asText(sentence(scene)), WIDTH - 2 * LEFT, 17)) {
    y += 24;
    text(line, LEFT, y, { "font-size": 17 });
  }
  y += 18;
  const steps = stepsOf(scene, given, stream, () => {});
  for (const step of steps) {
    if (step.absent) continue;
    parts.push(tag("line", { x1: LEFT, x2: WIDTH - LEFT, y1: y, y2: y, stroke: palette.ink, opacity: 0.25 }));
    y += 22;
    const muted = { opacity: 0.7 };
    text(`${step.number}  ${step.name}`.trim(), LEFT, y, { "font-weight": step.quiet ? 400 : 600 });
    if (step.quiet) {
      fitting(step.why, WIDTH - BODY - LEFT, SIZE).forEach((line, i) => {
        if (i > 0) y += 18;
        text(line, BODY, y, muted);
      });
      y += 10;
      continue;
    }
    let side = y;
    for (const line of fitting(step.why, BODY - LEFT - 18, SIZE)) {
      side += 16;
      if (line) text(line, LEFT, side, muted);
    }
    if (step.formula) {
      text(plain(step.formula), BODY, y, { "font-size": 17, "font-style": "italic", "font-family": "serif" });
      y += 18;
    }
    for (const { symbol, note, values, domain } of step.vectors ?? []) {
      text(`${symbol}${note ? ` ${note}` : ""} [${values.length}]`, BODY, y + 4, muted);
      y += 10;
      const numbers = values.length <= MOST;
      const [per, size, height] = numbers
        ? [PER_LINE, CELL, 20]
        : [values.length, (WIDTH - BODY - LEFT) / values.length, 16];
      for (let d = 0; d < values.length; d++) {
        const at = {
          x: BODY + (d % per) * size,
          y: y + Math.floor(d / per) * (height + 2),
          width: size - (numbers ? 2 : 0),
          height,
        };
        const fill = Number.isFinite(values[d]) ? scene.ramp.css(values[d], domain) : palette.ink;
        parts.push(tag("rect", { ...at, fill, "data-dim": d, "data-value": String(values[d]) }));
        if (numbers)
          text(fixed(values[d], Math.min(2, decimals(domain))), at.x + at.width / 2, at.y + 14, {
            "text-anchor": "middle",
            "font-size": 11,
            fill: scene.ramp.on(values[d], domain),
          });
      }
      y += Math.ceil(values.length / per) * (height + 2) + 14;
    }
    for (const { symbol, text: shown, value } of step.scalars ?? []) {
      parts.push(
        tag(
          "text",
          { x: BODY, y: y + 8, "font-size": 15, "data-value": String(value) },
          escaped(`${symbol} = ${shown}`),
        ),
      );
      y += 22;
    }
    for (const said of step.said ?? [])
      for (const line of fitting(said, WIDTH - BODY - LEFT, SIZE)) {
        text(line, BODY, y + 6, muted);
        y += 18;
      }
    y = Math.max(y, side) + 14;
  }
  const none = steps.filter(({ absent }) => absent).map(({ name }) => name);
  y += none.length ? 16 : 0;
  if (none.length) text(`Not in this layer: ${none.join(", ")}`, LEFT, y, { opacity: 0.7 });
  const height = Math.ceil(y + 12);
  const { meta, site, state } = scene;
  const where = `${meta.model.name} · ${site.stack ? `${site.stack} ` : ""}layer ${site.layer}, head ${state.head}, step by step`;
  return sheet(where, [WIDTH, height], palette, SIZE, ...parts);
}
