/** What is drawn of a field, and in which shades. */

import type { Axes } from "../../heads/axes";
import type { Scene } from "../../scene/scene";
import type { Field } from "./field";
import type { Drawing } from "./plot";
import { Shade } from "./shade";
import type { ViewBox } from "./viewbox";

export function shadeOf({ cache: { signed }, quantity, end, largest }: Field, { ramp, state }: Scene): Shade {
  const log = state.log && quantity === "weights" && !signed;
  return new Shade(ramp, quantity, end, largest, log, signed);
}

export function drawingOf(field: Field, box: ViewBox, axes: Axes, scene: Scene): Drawing {
  const border = (table: number, slots: { tokens: number[] }[]) => {
    const at = scene.meta.tokens[table].border;
    return at === null ? -1 : slots.findIndex(({ tokens }) => tokens[0] >= at);
  };
  return {
    field,
    box,
    shade: shadeOf(field, scene),
    query: axes.query,
    key: axes.key,
    border: {
      query: border(scene.site.query_tokens, axes.queries.slots),
      key: border(scene.site.key_tokens, axes.keys.slots),
    },
  };
}
