/** What the foot says of scales where one query is shown against every key. */

import { domainEnd } from "../base/format";
import { weightDomain } from "../base/scale";
import type { Legend } from "./level";
import type { Scene } from "./scene";

export function queryLegends(scene: Scene): Legend[] {
  const { domains, site, scoreEnd, weightEnd, zEnd, tensors, chain } = scene;
  const signed: [string, number][] = site.weights_only
    ? []
    : [
        ["q", domains.q],
        ["k", domains.k],
        ["q × k", domains.product],
        ["score", scoreEnd],
      ];
  if (tensors.v.length) signed.push(["v", domains.v], ["z", zEnd]);
  const legends: Legend[] = [];
  if (signed.length) {
    legends.push({ swatch: "sign", said: signed.map(([name, end]) => [name, `±${domainEnd(end)}`]) });
    legends.push({ swatch: "notch", said: [["", "clipped"]] });
  }
  const parts = tensors.v.length ? "weight, share" : "weight";
  legends.push({ swatch: "ink", said: [[parts, weightDomain(weightEnd)]] });
  if (chain.allowed?.includes(0)) legends.push({ swatch: "masked", said: [["", "masked"]] });
  if (tensors.broken > 0) legends.push({ swatch: "broken", said: [["", "NaN or infinite"]] });
  return legends;
}
