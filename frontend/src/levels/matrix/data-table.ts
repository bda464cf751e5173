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

export function dataTableOf({ site, state }: Scene, axes: Axes, { cache, quantity, rows }: Field): Content {
  const number = (value: number, masked: number) => {
    if (masked && !(quantity === "weights" && value > 0)) return "masked";
    return quantity === "weights" ? `${(value * 100).toFixed(4)} %` : fixed(value, 4);
  };
  const where = placeName({ site, head: state.head }, state.average);
  const of = (slot: Slot) => `${slot.tokens[0]} ${isolated(slot.text)}`;
  return {
    caption: `${where[0].toUpperCase()}${where.slice(1)}: ${cache.signed ? DIFFERENCE : NAMES[quantity]} of every query (rows) and key (columns)`,
    columns: ["query", ...axes.keys.slots.map(of)],
    rows,
    row: (i) => {
      const row = slotRow(cache, axes, i, true);
      const cells = Array.from(valuesOf(row, quantity), (value, j) => number(value, row.masked[j]));
      return [of(axes.queries.slots[i]), ...cells];
    },
  };
}
