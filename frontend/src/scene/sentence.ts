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

  const parts = whereto(scene, who, key);
  if (chain.hasSink && chain.sink >= MENTIONED) parts.push(` ${note("sink", { part: percentInWords(chain.sink) })}`);
  if (scene.tensors.v.length) parts.push(...parting(scene, key));
  if (scene.state.filter !== "all")
    parts.push(` ${note("outside", { part: percentInWords(scene.outside), whose: "its weight" })}`);
  return parts;
}

type Naming = (key: number) => Part;

/** Where the weight goes; special and sink tokens first where they have most of it, or left out. */
function whereto(scene: Scene, who: Part, key: Naming): Part[] {
  const { chain, keyLabels, aside, without } = scene;
  const { weights } = chain;
  const order = Array.from(weights.keys()).sort((a, b) => weights[b] - weights[a] || a - b);
  const others = order.filter((j) => !aside.keys[j]);
  const taken = order.reduce((sum, j) => sum + (aside.keys[j] ? weights[j] : 0), 0);
  const left = 1 - chain.sink - taken;
  const leads = aside.keys[order[0]];
  if (!others.length || !weights[others[0]] || (!leads && !(without && taken)))
    return [who, ...most(weights, key, order, 1 - chain.sink, MENTIONED, FIRST)];
  if (without) {
    const [tokens, verb] = setAside(scene, key);
    const parts: Part[] = ["Without ", ...tokens, `, which ${verb} ${percentInWords(taken)} of its weight, `, who];
    return [...parts, ...most(weights, key, others, left, MENTIONED * left, FIRST)];
  }
  const kind = keyLabels[order[0]].special ? "special" : "sink";
  const much = percentInWords(weights[order[0]]);
  const parts: Part[] = [who, " attends most to ", key(order[0]), `, a ${kind} token, with ${much} of its weight; `];
  return [...parts, ...most(weights, key, others, left, MENTIONED * left, BEHIND)];
}

/** How it is said where weight goes: spread widely, to one key, and how much this has. */
type Said = { widely: string; most: string; part: (part: string) => string };

const FIRST: Said = {
  widely: " spreads its weight widely: ",
  most: " attends most to ",
  part: (part) => ` with ${part} of its weight`,
};
/** Behind a token that is set aside. */
const BEHIND: Said = {
  widely: "among the others ",
  most: "among the others most to ",
  part: (part) => ` (${part})`,
};

/** Where most of the weight `left` goes, of the keys in `order`. Weights below `least` are not named. */
function most(weights: Float64Array, key: Naming, order: number[], left: number, least: number, said: Said): Part[] {
  const [first] = order;
  const part = percentInWords(weights[first]);
  if (weights[first] < least)
    return [`${said.widely}${halfOf(weights, order, left)}, and the strongest, `, key(first), `, has ${part}.`];
  return [said.most, key(first), said.part(part), ...then(weights, key, order, least)];
}

function then(weights: Float64Array, key: Naming, [, ...order]: number[], least: number): Part[] {
  const named = order.slice(0, 2).filter((j) => weights[j] >= least);
  const parts = named.flatMap((j, at): Part[] => [
    at ? " and " : ", then to ",
    key(j),
    ` (${percentInWords(weights[j])})`,
  ]);
  return [...parts, "."];
}

/** How many keys share half of the weight `left`, and how much they have. */
function halfOf(weights: Float64Array, order: number[], left: number): string {
  let mass = 0;
  let needed = 0;
  while (mass < left / 2 && needed < order.length) mass += weights[order[needed++]];
  return `${count(needed, "key")} share ${percentInWords(mass)}`;
}

/** What the view leaves out, and the verb for it: "special tokens and “The”", "have". */
function setAside({ aside, keyLabels, chain }: Scene, key: Naming): [Part[], string] {
  const special = keyLabels.some((label, j) => label.special && j < chain.weights.length);
  const sinks = aside.sinks.filter((j) => !keyLabels[j].special).sort((a, b) => a - b);
  const names: Part[] = [...(special ? ["special tokens"] : []), ...sinks.slice(0, 2).map(key)];
  if (sinks.length > 2) names.push(count(sinks.length - 2, "more sink token"));
  const parts = names.flatMap((name, at): Part[] => (at ? [at === names.length - 1 ? " and " : ", ", name] : [name]));
  return [parts, names.length === 1 && !special ? "has" : "have"];
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
    const who: Part[] = key(over) === "itself" ? [" The query itself"] : [" ", key(over)];
    return [
      ...who,
      ` carries ${top} of the output, ${percentInWords(chain.share[over])}, with ${percentInWords(chain.weights[over])} of the weight: its value is long.`,
    ];
  }
  return [];
}
