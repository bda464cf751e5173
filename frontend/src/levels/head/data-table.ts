/** The data table of a head: every key of the selected queries. */

import type { Axes } from "../../heads/axes";
import type { SlotRow } from "../../heads/axis";
import type { Content } from "../../heads/data-table";
import { placeName } from "../../heads/members";
import type { Scene } from "../../scene/scene";

/** `rows`: one per head. */
export function dataTableOf(scene: Scene, axes: Axes, rows: SlotRow[], heads: number[], chosen: number[]): Content {
  const { slots } = axes.keys;
  const several = chosen.length > 1;
  const of = several
    ? `${scene.state.combine} over ${chosen.length} queries`
    : `query “${axes.queries.slots[chosen[0]]?.text ?? ""}” at ${scene.query}`;
  const where = placeName({ site: scene.site, head: scene.state.head }, scene.state.average);
  const extra: [string, Float64Array][] = [];
  if (!several && rows.length === 1) {
    if (rows[0].scores) extra.push(["score", rows[0].scores]);
    if (rows[0].dot) extra.push(["q · k", rows[0].dot]);
  }
  return {
    caption: `${where[0].toUpperCase()}${where.slice(1)}, ${of}: every key`,
    columns: [
      "position",
      "key",
      ...rows.map((_, i) => (heads.length > 1 ? `weight, head ${heads[i]}` : "weight")),
      "mask",
      ...extra.map(([name]) => name),
    ],
    rows: slots.length,
    row: (s) => [
      slots[s].tokens.join(", "),
      slots[s].text,
      ...rows.map(({ weights }) => `${(weights[s] * 100).toFixed(4)} %`),
      rows[0].masked[s] ? "masked" : "allowed",
      ...extra.map(([, values]) => (Number.isFinite(values[s]) ? values[s].toFixed(4) : "masked")),
    ],
  };
}
