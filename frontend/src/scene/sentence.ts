/** The one sentence: what this query does, in words. */

import { count, percentInWords } from "../base/format";
import { strongest } from "../chain/chain";
import { named } from "./labels";
import type { Scene } from "./scene";
import { note, type Part } from "./text";

const MENTIONED = 0.05;

export function sentence(scene: Scene): Part[] {
  const { chain, site, keyLabels, queryLabels, query } = scene;
  const who: Part = { token: named(queryLabels[query]), key: null, special: queryLabels[query].special };
  const said = new Map<string, number>();
  const key = (j: number): Part => {
    if (site.kind === "self" && j === query) return "itself";
    const label = keyLabels[j];
    const name = named(label);
    // the same word twice in one sentence: say which
    const again = (said.get(name) ?? j) !== j || name === named(queryLabels[query]);
    if (!said.has(name)) said.set(name, j);
    return { token: name, key: j, special: label.special, at: again ? j : undefined };
  };
  if (chain.empty) {
    const uniform = site.mask.empty_rows === "uniform";
    return [
      who,
      uniform
        ? " may look at no key at all; this implementation then spreads its weight evenly."
        : " may look at no key at all: no key allowed, and the head's output is zero.",
    ];
  }
  if (chain.weights.some(Number.isNaN)) return [who, ` has weights that are not numbers: ${whyBroken(scene)}.`];

  const order = Array.from(chain.weights.keys()).sort((a, b) => chain.weights[b] - chain.weights[a] || a - b);
  const first = order[0];
  const parts: Part[] = [who];
  const then = order.slice(1, 3).filter((j) => chain.weights[j] >= MENTIONED);
  if (chain.weights[first] < MENTIONED) {
    let mass = 0;
    let needed = 0;
    while (mass < (1 - chain.sink) / 2 && needed < order.length) mass += chain.weights[order[needed++]];
    parts.push(
      ` spreads its weight widely: ${count(needed, "key")} share ${percentInWords(mass)}, and the strongest, `,
      key(first),
      `, has ${percentInWords(chain.weights[first])}.`,
    );
  } else {
    parts.push(" attends most to ", key(first), ` with ${percentInWords(chain.weights[first])} of its weight`);
    if (then.length) {
      parts.push(", then to ", key(then[0]), ` (${percentInWords(chain.weights[then[0]])})`);
      if (then[1] !== undefined) parts.push(" and ", key(then[1]), ` (${percentInWords(chain.weights[then[1]])})`);
    }
    parts.push(".");
  }
  if (chain.hasSink && chain.sink >= MENTIONED) parts.push(` ${note("sink", { part: percentInWords(chain.sink) })}`);
  if (scene.tensors.v.length) parts.push(...parting(scene, key));
  if (scene.state.filter !== "all")
    parts.push(` ${note("outside", { part: percentInWords(scene.outside), whose: "its weight" })}`);
  return parts;
}

/** Where NaN comes from, as far as it is known here. */
function whyBroken({ chain }: Scene): string {
  if (!chain.dot) return "they were captured as NaN, and nothing before them is known";
  if (chain.dot.some((value) => !Number.isFinite(value))) return "the model's own query or key vectors hold NaN";
  return "its scores hold NaN, though its query and key vectors do not";
}

/** Where weight and share of the output part: weight is not effect. */
function parting(scene: Scene, key: (j: number) => Part): Part[] {
  const { chain, tensors } = scene;
  let under = -1;
  let over = -1;
  for (let j = 0; j < chain.weights.length; j++) {
    const gap = chain.weights[j] - chain.share[j];
    if (
      gap >= 0.08 &&
      chain.share[j] < chain.weights[j] / 2 &&
      (under < 0 || gap > chain.weights[under] - chain.share[under])
    )
      under = j;
    if (
      -gap >= 0.1 &&
      chain.share[j] > 1.5 * chain.weights[j] &&
      (over < 0 || -gap > chain.share[over] - chain.weights[over])
    )
      over = j;
  }
  if (under >= 0) {
    const middle = Float32Array.from(tensors.norms).sort()[tensors.norms.length >> 1];
    const why =
      tensors.norms[under] < 0.2 * middle ? "its value is near zero" : "its value is shorter than the others'";
    return [
      ` ${percentInWords(chain.weights[under])} of its weight goes to `,
      key(under),
      `, which carries ${percentInWords(chain.share[under])} of the output: ${why}.`,
    ];
  }
  if (over >= 0) {
    const top = strongest(chain.share) === over ? "most" : "more";
    return [
      " ",
      key(over),
      ` carries ${top} of the output, ${percentInWords(chain.share[over])}, with ${percentInWords(chain.weights[over])} of the weight: its value is long.`,
    ];
  }
  return [];
}
