/** What the foot says of the lines and bars. */

import { percentInWords } from "../../base/format";
import { weightDomain } from "../../base/scale";
import type { Legend } from "../../scene/level";
import type { Scene } from "../../scene/scene";

/** `end`: of the bars beside the keys. */
export function legendsOf({ pair, chain }: Scene, end: number): Legend[] {
  const legends: Legend[] = [
    pair
      ? {
          swatch: "sign",
          said: [["weight, B − A", `by thickness: blue shrank, orange grew; bars 0 … ${percentInWords(end)}`]],
        }
      : { swatch: "ink", said: [["weight", `by thickness and darkness; bars ${weightDomain(end)}`]] },
  ];
  if (chain.allowed?.includes(0)) legends.push({ swatch: "masked", said: [["", "masked"]] });
  return legends;
}
