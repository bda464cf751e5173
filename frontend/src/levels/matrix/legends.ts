/** What the foot says of the grid's shades. */

import { percent } from "../../base/format";
import type { Legend } from "../../scene/level";
import type { Field } from "./field";
import { DIFFERENCE, NAMES, type Shade } from "./shade";

/** `swatch`: the element that shows the gradient. */
export function legendsOf(field: Field, shade: Shade, swatch: HTMLElement): Legend[] {
  const gradient = shade.gradient();
  if (swatch.style.backgroundImage !== gradient) swatch.style.backgroundImage = gradient;
  const legends: Legend[] = [{ swatch, said: [[shade.signed ? DIFFERENCE : NAMES[shade.quantity], shade.said]] }];
  if (shade.clips) legends.push({ swatch: "notch", said: [["", `clipped: up to ${percent(shade.largest)}`]] });
  if (field.masked)
    legends.push({ swatch: "masked", said: [["", shade.signed ? "masked, or only in one" : "masked"]] });
  if (field.broken) legends.push({ swatch: "broken", said: [["", "NaN or infinite"]] });
  return legends;
}
