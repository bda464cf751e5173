/** What is drawn of a field, and in which shades. */

import type { TokenTable } from "../../data/metadata";
import type { Axes } from "../../heads/axes";
import type { Axis } from "../../heads/axis";
import { groupsIn } from "../../scene/groups";
import type { Scene } from "../../scene/scene";
import type { Field } from "./field";
import type { Drawing } from "./plot";
import { Shade } from "./shade";
import type { Tiles } from "./tiles";
import type { ViewBox } from "./viewbox";

const RULES = 60; // groups: lines between more would hide the cells

export function shadeOf({ cache: { signed }, quantity, end, largest }: Field, { ramp, state }: Scene): Shade {
  const log = state.log && quantity === "weights" && !signed;
  return new Shade(ramp, quantity, end, largest, log, signed);
}

const known = new WeakMap<Axis, number[]>();

/** Slots before which a sentence of a pair or a group begins. */
function bordersOf(axis: Axis, table: TokenTable): number[] {
  let borders = known.get(axis);
  if (!borders) {
    const parts = groupsIn(table).filter(({ kind, start }) => start && kind !== "sentence");
    const starts = new Set(parts.length < RULES ? parts.map(({ start }) => start) : []);
    if (table.border !== null) starts.add(table.border);
    borders = [...starts]
      .map((at) => axis.slots.findIndex(({ tokens }) => tokens[0] >= at))
      .filter((slot) => slot >= 0);
    known.set(axis, borders);
  }
  return borders;
}

export function drawingOf(field: Field, tiles: Tiles | null, box: ViewBox, axes: Axes, scene: Scene): Drawing {
  const { tokens } = scene.meta;
  return {
    field,
    tiles,
    box,
    shade: shadeOf(field, scene),
    query: axes.query,
    key: axes.key,
    borders: {
      query: bordersOf(axes.queries, tokens[scene.site.query_tokens]),
      key: bordersOf(axes.keys, tokens[scene.site.key_tokens]),
    },
  };
}
