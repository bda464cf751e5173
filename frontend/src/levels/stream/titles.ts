/** Headings of the column, each with the domain of its scale; and the same for the foot. */

import { h } from "../../base/dom";
import { explained } from "../../base/explained";
import { domainEnd } from "../../base/format";
import type { Column } from "../../heads/stream-column";
import type { Legend } from "../../scene/level";
import { endsOf } from "./rows";

const LENS =
  "The token that the model would predict after this layer: W_U · norm(x), the norm computed anew (logit lens).";
const SUM = "What all rows down to this one add up to; the last is the difference of the two logits.";
const ADDS = "What the row adds to the difference of the two logits, with every norm frozen at its value.";
const TURNS = "The angle between x before the block and after it.";
const SIZE = "The length of x after the layer.";

export function titlesOf(column: Column): HTMLElement[] {
  const { target, against, attributed, lens } = column;
  const ends = endsOf(column);
  const title = (name: string, domain: string, kind: string, words = "") => {
    const element = h("span", { class: `stream-title ${kind}` }, h("b", {}, name), " ", h("span", {}, domain));
    return words ? explained(element, words) : element;
  };
  const to = against ? `${target?.text} − ${against.text}` : `logit of ${target?.text}`;
  const [value, running] = [domainEnd(ends.value), domainEnd(ends.running)];
  return [
    title("block", "", "stream-title-block"),
    ...(attributed
      ? [
          title(`adds to ${to}`, `±${value}`, "stream-title-bar", ADDS),
          title("sum so far", `±${running}`, "stream-title-track", SUM),
        ]
      : [
          title("turns x by", `0 … ${value}°`, "stream-title-bar", TURNS),
          title("‖x‖ after the layer", `0 … ${running}`, "stream-title-track", SIZE),
        ]),
    ...(lens.length ? [title("lens", "", "stream-title-lens", LENS)] : []),
  ];
}

/** `column`: null where no bars are shown. `chances`: whether probabilities are. */
export function legendsOf(column: Column | null, chances: boolean): Legend[] {
  const legends: Legend[] = [];
  if (column?.attributed) {
    const ends = endsOf(column);
    legends.push({
      swatch: "sign",
      said: [
        ["adds", `±${domainEnd(ends.value)}`],
        ["sum so far", `±${domainEnd(ends.running)}`],
      ],
    });
  }
  if (chances) legends.push({ swatch: "ink", said: [["probability", "0 … 100 %"]] });
  return legends;
}
