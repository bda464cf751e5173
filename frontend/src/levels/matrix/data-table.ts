/** The data table of the grid: every query and key. */

import { fixed } from "../../base/format";
import type { Axes } from "../../heads/axes";
import type { Slot } from "../../heads/axis";
import type { Content } from "../../heads/data-table";
import { placeName } from "../../heads/members";
import { slotRow } from "../../heads/rows";
import { isolated } from "../../scene/labels";
import type { Scene } from "../../scene/scene";
import { type Field, valuesOf } from "./field";
import { DIFFERENCE, NAMES } from "./shade";
import type { ViewBox } from "./viewbox";

const MOST = 200; // columns of a long text, from the first one in sight

export function dataTableOf(
  { site, state }: Scene,
  axes: Axes,
  { cache, quantity, rows, columns, tiled }: Field,
  box: ViewBox | null,
): Content {
  const from = tiled && box ? Math.floor(box.x) : 0;
  const to = tiled ? Math.min(columns, from + MOST) : columns;
  const number = (value: number, masked: number) => {
    if (masked && !(quantity === "weights" && value > 0)) return "masked";
    return quantity === "weights" ? `${(value * 100).toFixed(4)} %` : fixed(value, 4);
  };
  const where = placeName({ site, head: state.head }, state.average);
  const of = (slot: Slot) => `${slot.tokens[0]} ${isolated(slot.text)}`;
  return {
    caption: `${where[0].toUpperCase()}${where.slice(1)}: ${cache.signed ? DIFFERENCE : NAMES[quantity]} of every query (rows) and ${tiled ? `keys ${from} to ${to - 1}` : "key"} (columns)`,
    columns: ["query", ...axes.keys.slots.slice(from, to).map(of)],
    rows,
    row: (i) => {
      const row = slotRow(cache, axes, i, true);
      const cells = Array.from(valuesOf(row, quantity).subarray(from, to), (value, j) =>
        number(value, row.masked[from + j]),
      );
      return [of(axes.queries.slots[i]), ...cells];
    },
  };
}
