/** The grid as an SVG that needs nothing beside itself: cells as one PNG, everything else as text and shapes. */

import { domainEnd } from "../../base/format";
import { escaped, MONO, SANS } from "../../base/svg";
import { joins } from "../../scene/labels";
import type { Picture } from "../../scene/level";
import { axisLabels } from "./labels";
import { AXES, barOf, type Colours, type Drawing, PlotView, type Room, sumEnd, sumsOf } from "./plot";
import { NAMES } from "./shade";

const TITLE = 30;

export function exportSvg(room: Room, drawing: Drawing, colours: Colours, title: string): Picture {
  const { field, box, shade, query, key } = drawing;
  const canvas = document.createElement("canvas");
  const view = new PlotView();
  view.draw(room, drawing, colours, Math.max(2, devicePixelRatio || 1), canvas, true);
  const { width: w, height: hgt } = view.covered;
  const weights = sumsOf(field);
  const width = Math.ceil(room.left + w + room.right);
  const height = Math.ceil(TITLE + room.top + hgt + (weights ? room.bottom : 8) + 26);
  const f = (n: number) => Math.round(n * 100) / 100;
  const label = (text: string, chosen: boolean, special: boolean, attributes: string) =>
    `<text font-family="${joins(text) ? SANS : MONO}" font-size="12" fill="${special && !chosen ? colours.muted : colours.text}"${chosen ? ' font-weight="700"' : ""} ${attributes}>${escaped(text)}</text>`;
  const rows = axisLabels(field.axes.queries.slots, box.y, box.cellY, hgt, query).map(({ text, at, chosen, special }) =>
    label(text, chosen, special, `text-anchor="end" x="-9" y="${f(at + 4)}"`),
  );
  const columns = axisLabels(field.axes.keys.slots, box.x, box.cellX, w, key).map(({ text, at, chosen, special }) =>
    label(text, chosen, special, `transform="translate(${f(at + 4)} -7) rotate(-60)"`),
  );
  const titles = [AXES.key, AXES.query].map(
    (title, i) =>
      `<text text-anchor="end" x="-9" y="${15 * i - 20}" font-size="11" fill="${colours.muted}">${title}</text>`,
  );
  const bars: string[] = [];
  if (weights) {
    const rowEnd = sumEnd(field.rowSums);
    const columnEnd = sumEnd(field.columnSums);
    const bar = (x: number, y: number, wide: number, high: number) => {
      if (wide > 0 && high > 0) bars.push(`<rect x="${f(x)}" y="${f(y)}" width="${f(wide)}" height="${f(high)}"/>`);
    };
    const [wide, high] = [barOf(box.cellX), barOf(box.cellY)];
    for (let r = 0; r < field.rows; r++) {
      if (!field.uneven(r)) continue;
      const y = (r + 0.5 - box.y) * box.cellY;
      if (y >= 0 && y <= hgt) bar(w + 8, y - high / 2, (room.sum * field.rowSums[r]) / rowEnd, high);
    }
    for (let c = 0; c < field.columns; c++) {
      const x = (c + 0.5 - box.x) * box.cellX;
      if (x >= 0 && x <= w) bar(x - wide / 2, hgt + 8, wide, (room.sum * field.columnSums[c]) / columnEnd);
    }
    if (room.rowSums)
      bars.push(
        `<text x="${f(w + 8)}" y="-6" font-size="11" fill="${colours.muted}">sum 0 … ${domainEnd(rowEnd)}</text>`,
      );
    bars.push(
      ...["received", `0 … ${domainEnd(columnEnd)}`].map(
        (line, i) =>
          `<text text-anchor="end" x="-9" y="${f(hgt + 18 + 14 * i)}" font-size="11" fill="${colours.muted}">${line}</text>`,
      ),
    );
  }
  const stops = Array.from({ length: 9 }, (_, i) => {
    const t = weights ? i / 8 : i / 4 - 1;
    return `<stop offset="${i / 8}" stop-color="${shade.ramp.css(t, 1)}"/>`;
  });
  const svg = `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" font-family="${SANS}" font-size="13">
<title>${escaped(title)}</title>
<defs><linearGradient id="scale">${stops.join("")}</linearGradient></defs>
<rect width="100%" height="100%" fill="${colours.ground}"/>
<text x="12" y="22" font-weight="600" fill="${colours.text}">${escaped(title)}</text>
<g transform="translate(${room.left} ${TITLE + room.top})">
<image href="${canvas.toDataURL("image/png")}" width="${f(w)}" height="${f(hgt)}" style="image-rendering:pixelated"/>
${titles.join("")}${rows.join("")}${columns.join("")}
<g fill="${colours.ink}">${bars.join("")}</g>
</g>
<g transform="translate(${room.left} ${height - 18})"><rect width="90" height="8" fill="url(#scale)"/>
<text x="98" y="8" font-size="11" fill="${colours.text}">${escaped(`${NAMES[shade.quantity]} ${shade.said}`)}</text></g>
</svg>`;
  return { svg, width, height };
}
