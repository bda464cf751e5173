/** Walking the table by keyboard: one active cell, arrows between keys and across cells; the readout shows each number. */

import { count, percent, precise } from "../../base/format";
import { largestIn } from "../../base/scale";
import { isMasked } from "../../chain/chain";
import { isolated } from "../../scene/labels";
import type { Scene } from "../../scene/scene";
import { type Column, isVector, type Layout } from "./columns";
import type { Line } from "./folding";
import { product } from "./row";

export interface Place {
  line: number;
  column: number;
  /** Cell within a strip. */
  cell: number;
}

export const cellsIn = (column: Column, layout: Layout) =>
  column === "v" ? layout.value.cells : isVector(column) ? layout.key.cells : 1;

/** Where a key leads; null when it is not one of ours. */
export function step(place: Place, event: KeyboardEvent, lines: Line[], layout: Layout): Place | null {
  const last = lines.length - 1;
  const { columns } = layout;
  const whole = lines[place.line]?.kind !== "key";
  const cells = whole ? 1 : cellsIn(columns[place.column], layout);
  const to = (line: number) => ({ ...place, line: Math.max(0, Math.min(last, line)) });
  switch (event.key) {
    case "ArrowUp":
      return to(place.line - 1);
    case "ArrowDown":
      return to(place.line + 1);
    case "PageUp":
      return to(place.line - 10);
    case "PageDown":
      return to(place.line + 10);
    case "Home":
      return event.ctrlKey ? to(0) : { ...place, column: 0, cell: 0 };
    case "End":
      return event.ctrlKey
        ? to(last)
        : { ...place, column: columns.length - 1, cell: cellsIn(columns[columns.length - 1], layout) - 1 };
    case "ArrowRight":
      if (!event.ctrlKey && place.cell < cells - 1) return { ...place, cell: place.cell + 1 };
      return place.column < columns.length - 1 ? { ...place, column: place.column + 1, cell: 0 } : place;
    case "ArrowLeft": {
      if (!event.ctrlKey && place.cell > 0) return { ...place, cell: place.cell - 1 };
      if (place.column === 0) return { ...place, cell: 0 };
      const column = place.column - 1;
      return { ...place, column, cell: event.ctrlKey ? 0 : cellsIn(columns[column], layout) - 1 };
    }
  }
  return null;
}

/** A cell in words: its number and its index. */
export function say(line: Line, column: Column, cell: number, scene: Scene, layout: Layout): string {
  const { chain, tensors, keyLabels } = scene;
  if (line.kind === "fold")
    return `${count(line.keys.length, "key")} with ${percent(line.weight)} together; Enter ${line.open ? "folds" : "opens"} them`;
  if (line.kind === "sink") return `sink (no token) · weight ${percent(chain.sink)}`;
  const { key } = line;
  const name = `${isolated(keyLabels[key].text)} (key ${key})`;
  if (isVector(column)) {
    const values =
      column === "v" ? tensors.value(key) : column === "k" ? tensors.key(key) : product(scene.q, tensors.key(key));
    const { perCell } = column === "v" ? layout.value : layout.key;
    const d = largestIn(values, cell * perCell, perCell);
    const title = column === "product" ? "q × k" : column;
    const terms = column === "product" ? ` = ${precise(scene.q[d])} × ${precise(tensors.key(key)[d])}` : "";
    const of = perCell > 1 ? `, largest of ${cell * perCell}–${Math.min(values.length, (cell + 1) * perCell) - 1}` : "";
    return `${name} · ${title} · dimension ${d}: ${precise(values[d])}${terms}${of}`;
  }
  const masked = isMasked(chain, key);
  switch (column) {
    case "dot":
      return `${name} · q · k = ${precise(chain.dot?.[key] ?? Number.NaN)}`;
    case "score":
      return `${name} · score ${precise(chain.biased?.[key] ?? Number.NaN)}${masked ? ", masked" : ""}`;
    case "weight":
      return `${name} · weight ${masked && !chain.weights[key] ? "masked" : `${precise(chain.weights[key] * 100)} %`}`;
    case "share":
      return `${name} · share of output ${precise(chain.share[key] * 100)} %`;
    default: {
      const { text, id, index } = keyLabels[key];
      const piece = scene.meta.tokens[scene.site.key_tokens]?.text[index] ?? text;
      const parts = [piece !== text && `piece ${isolated(piece)}`, id !== null && `id ${id}`];
      return [name, ...parts.filter(Boolean), `weight ${masked ? "masked" : percent(chain.weights[key])}`].join(" · ");
    }
  }
}
