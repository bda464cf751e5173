/** The grid as an SVG: an SVG with each line of thumbnails as one embedded picture, and everything written as text. */

import type { Palette } from "../../base/scale";
import { escaped, estimated, fitting, sheet, tag, wrapped } from "../../base/svg";
import type { Role } from "../../data/metadata";
import type { Picture } from "../../scene/level";
import type { Scene } from "../../scene/scene";
import { asText, type Part } from "../../scene/text";
import { type Drawing, NAMED_FROM } from "./grid";
import { nameOf } from "./heads";
import { find } from "./layout";
import { paint } from "./paint";
import type { Statistics } from "./statistics";

const EDGE = 20;
const RATIO = 2;

export function exportSvg(
  scene: Scene,
  drawing: Drawing,
  statistics: Statistics,
  said: Part[],
  foot: string[],
): Picture {
  const { plan, look, lines, sort } = drawing;
  const { palette } = scene.ramp;
  const parts: string[] = [];
  const width = Math.max(640, plan.width + 2 * EDGE);
  const text = (words: string, x: number, y: number, more: Record<string, string | number> = {}) =>
    parts.push(tag("text", { x, y, ...more }, escaped(words)));
  let top = EDGE;
  for (const line of wrapped(asText(said), Math.floor((width - 2 * EDGE) / 9.2))) {
    top += 22;
    text(line, EDGE, top - 4, { "font-size": 17 });
  }
  top += 22;
  text(
    `${scene.meta.model.name} · every head · ${sort ? `by ${statistics.full(sort)}, highest first` : "by layer"}`,
    EDGE,
    top - 4,
    { opacity: 0.75 },
  );
  top += 14;
  for (const { y, text: name } of plan.titles) text(name, EDGE, top + y + 16, { "font-weight": 650 });
  for (const { x, y, text: name } of plan.columns)
    text(name, EDGE + x + plan.size / 2, top + y + 15, { "text-anchor": "middle", "font-size": 11 });
  const canvas = document.createElement("canvas");
  for (const { y, boxes, label } of plan.lines) {
    const [first] = boxes;
    const wide = boxes[boxes.length - 1].x + plan.size - first.x;
    paint(
      canvas,
      boxes.map(({ head, x }) => ({ head, x: x - first.x, absent: false })),
      plan.size,
      wide,
      RATIO,
      look,
      lines,
    );
    parts.push(
      tag("image", {
        x: EDGE + first.x,
        y: top + y,
        width: wide,
        height: plan.size,
        href: canvas.toDataURL("image/png"),
        style: "image-rendering: pixelated",
      }),
    );
    if (label)
      text(label, EDGE + plan.left - 10, top + y + plan.size / 2 + 4, { "text-anchor": "end", "font-size": 11 });
    for (const { head, x } of boxes)
      parts.push(...badged(statistics.finds(head), EDGE + x, top + y, plan.size, palette));
    if (plan.size >= NAMED_FROM)
      for (const { head, x } of boxes)
        parts.push(...named(statistics.plainName(head), EDGE + x, top + y, plan.size, palette));
    if (sort)
      for (const { head, x } of boxes) {
        text(nameOf(head), EDGE + x, top + y + plan.size + 13, { "font-size": 10, "font-weight": 600 });
        text(statistics.said(head, sort), EDGE + x, top + y + plan.size + 25, {
          "font-size": 10,
          "data-head": nameOf(head),
          "data-value": String(statistics.value(head, sort)),
        });
      }
  }
  const place = find(plan, {
    site: scene.meta.sites.find(({ index }) => index === scene.site.index) ?? scene.site,
    head: scene.state.head,
  });
  if (place) {
    const { y, boxes } = plan.lines[place.line];
    const x = EDGE + boxes[place.column].x;
    parts.push(
      tag("rect", {
        x: x - 2.5,
        y: top + y - 2.5,
        width: plan.size + 5,
        height: plan.size + 5,
        rx: 3,
        fill: "none",
        stroke: palette.ink,
        "stroke-width": 2,
      }),
    );
  }
  let y = top + plan.height + 8;
  for (const line of foot.flatMap((one) => wrapped(one, Math.floor((width - 2 * EDGE) / 6.2)))) {
    y += 16;
    text(line, EDGE, y - 4, { opacity: 0.75, "font-size": 11 });
  }
  const height = y + EDGE;
  return sheet(`${scene.meta.model.name}: every head`, [width, height], palette, 12, ...parts);
}

/** The best role of a head, at the top of its thumbnail. */
function badged([first, ...more]: Role[], x: number, y: number, size: number, { ink, ground }: Palette): string[] {
  if (!first) return [];
  if (size < NAMED_FROM)
    return [tag("circle", { cx: x + 4, cy: y + 4, r: 3, fill: ink, stroke: ground, "data-badge": first.name })];
  const count = more.length ? ` +${more.length}` : "";
  const [name] = fitting(first.name, size - 6 - estimated(count, NAME), NAME);
  const words = `${name}${count}`;
  return [
    tag("rect", { x, y, width: Math.min(size, estimated(words, NAME) + 6), height: NAME + 4, fill: ink }),
    tag(
      "text",
      { x: x + 3, y: y + NAME + 0.5, "font-size": NAME, fill: ground, "data-badge": first.name },
      escaped(words),
    ),
  ];
}

const NAME = 9; // px of a plain name

/** The plain name of a head, at the foot of its thumbnail. */
function named(name: string, x: number, y: number, size: number, { ink, ground }: Palette): string[] {
  const lines = name ? fitting(name, size - 4, NAME) : [];
  const top = y + size - (NAME + 1.5) * lines.length - 2;
  return lines.flatMap((line, i) => [
    tag("rect", {
      x: x + 1,
      y: top + i * (NAME + 1.5),
      width: Math.min(size - 2, estimated(line, NAME) + 3),
      height: NAME + 2.5,
      fill: ground,
      opacity: 0.85,
    }),
    tag(
      "text",
      { x: x + 2.5, y: top + i * (NAME + 1.5) + NAME, "font-size": NAME, fill: ink, "data-plain": name },
      escaped(line),
    ),
  ]);
}
