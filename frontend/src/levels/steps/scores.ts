/** From q and k to the weight: product, sum, scaling, softcap, position bias, mask, softmax. */

import { count, fixed, percent, percentInWords } from "../../base/format";
import { isMasked } from "../../chain/chain";
import type { Scene } from "../../scene/scene";
import { scalingName } from "../../scene/text";
import { denominator, dotSum, largestScore, single } from "./derivations";
import { absent, keyName, number, quiet, type Scalar, scalar, shown, type Unnamed } from "./step";
import { withoutMask } from "./sums";

export function toScore(scene: Scene, pick: (dim: number) => void): Unnamed[] {
  const { site, chain, key, domains, q, tensors } = scene;
  const { dot, scaled, capped, biased } = chain;
  if (!dot || !scaled || !capped || !biased) return [];
  const D = site.head_size;
  const k = tensors.key(key);
  const product = Float64Array.from({ length: D }, (_, d) => q[d] * k[d]);
  const steps: Unnamed[] = [
    {
      id: "products",
      why: "The two vectors, multiplied number by number and added up one after another.",
      onScreen: "The arrow keys on the slider step along.",
      formula: [{ symbol: "q × k", shape: [D] }, "=", { symbol: "q", shape: [D] }, "×", { symbol: "k", shape: [D] }],
      special: "running",
      vectors: [
        {
          id: "product",
          symbol: "q × k",
          values: product,
          domain: domains.product,
          pick,
          upTo: scene.state.dim ?? D - 1,
        },
      ],
    },
    {
      id: "dot",
      why: "Their sum, the dot product: how well the key matches the query.",
      formula: [{ symbol: "q · k" }, "= Σ", { symbol: "q × k", shape: [D] }],
      scalars: [scalar("dot", "q · k", dot[key], () => dotSum(scene))],
    },
  ];
  const times = scalingName(scene.site);
  if (site.scaling === 1) {
    const own = site.steps?.projections.q?.factor;
    const by =
      own && own !== 1 ? `the model has multiplied q by ${Number(own.toPrecision(4))} itself` : "q · k enters as it is";
    steps.push(quiet("scaled", `× 1: ${by}.`));
  } else
    steps.push({
      id: "scaled",
      why: `So that its size does not grow with the ${D} numbers that were added.`,
      formula: [{ symbol: "scaled" }, "=", { symbol: "q · k" }, times],
      scalars: [
        scalar("scaled", "scaled", scaled[key], () =>
          single(
            `scaled = q · k × ${Number(site.scaling.toPrecision(6))}`,
            "q · k",
            dot[key],
            [{ name: `the scaling, ${times}`, sign: "×", value: site.scaling }],
            scaled[key],
          ),
        ),
      ],
    });
  if (site.softcap === null) steps.push(absent("capped", "none: this layer does not bend its scores."));
  else
    steps.push({
      id: "capped",
      why: `Bends scores smoothly so that none leaves ±${Number(site.softcap.toPrecision(4))}.`,
      formula: [
        { symbol: "capped" },
        "=",
        `${Number(site.softcap.toPrecision(4))} · tanh(`,
        { symbol: "scaled" },
        `/ ${Number(site.softcap.toPrecision(4))})`,
      ],
      scalars: [
        scalar("capped", "capped", capped[key], () => {
          const c = site.softcap as number;
          const bent = Math.tanh(scaled[key] / c);
          return single(
            `capped = ${Number(c.toPrecision(4))} · tanh(scaled / ${Number(c.toPrecision(4))})`,
            `tanh(${number(scaled[key])} / ${Number(c.toPrecision(4))})`,
            bent,
            [{ name: "the cap", sign: "×", value: c }],
            capped[key],
          );
        }),
      ],
    });
  if (!chain.bias) steps.push(absent("biased", "none: nothing is added for the distance of the two tokens."));
  else {
    const bias = chain.bias[key];
    steps.push({
      id: "biased",
      why: `A learned number for the distance of the two tokens, here ${key - scene.row - (site.query_offset ?? 0)}.`,
      formula: [
        { symbol: "score" },
        "=",
        { symbol: site.softcap === null ? "scaled" : "capped" },
        "+",
        { symbol: "bias" },
      ],
      scalars: [
        scalar("bias", "bias", bias),
        scalar("biased", "score", biased[key], () =>
          single(
            "score = scaled + bias",
            site.softcap === null ? "scaled" : "capped",
            capped[key],
            [{ name: "the position bias", sign: "+", value: bias }],
            biased[key],
          ),
        ),
      ],
    });
  }
  steps.push(mask(scene), softmax(scene));
  return steps;
}

function mask(scene: Scene): Unnamed {
  const { chain, site, key } = scene;
  const { allowed, biased } = chain;
  if (!allowed || !biased) return absent("masked", `none: all ${count(site.keys, "key")} may be seen.`);
  const removed = allowed.reduce((sum, may) => sum + (may ? 0 : 1), 0);
  const before = withoutMask(biased, scene.tensors.sink());
  let mass = 0;
  for (let j = 0; j < site.keys; j++) if (!allowed[j]) mass += before[j];
  const masked = isMasked(chain, key);
  const rule = site.mask.words ? `${site.mask.words}: ` : "";
  const scalars: Scalar[] = [
    { id: "removed", symbol: "keys removed", value: removed, text: `${removed} of ${site.keys}` },
    { id: "removed_mass", symbol: "weight these keys would get without the mask", value: mass, text: percent(mass) },
    { id: "before_mask", symbol: "weight of this key, without a mask", value: before[key], text: percent(before[key]) },
  ];
  return {
    id: "masked",
    why: `${rule}${removed ? `${count(removed, "key")} of ${site.keys} get the score −∞` : "it removes none of the keys of this query"}${masked ? `, ${keyName(scene)} among them` : ""}.`,
    formula: [{ symbol: "score" }, "=", masked ? "−∞" : number(biased[key])],
    scalars,
  };
}

function softmax(scene: Scene): Unnamed {
  const { chain, key, site } = scene;
  const score = chain.biased?.[key] ?? Number.NaN;
  const masked = isMasked(chain, key);
  if (chain.empty) {
    const even = site.mask.empty_rows === "uniform";
    return {
      id: "weights",
      why: even
        ? "No key is allowed; this implementation then spreads its weight evenly."
        : "No key is allowed: there is nothing to spread, and the head writes zero.",
      scalars: [{ id: "weight", symbol: "weight", value: chain.weights[key], text: percent(chain.weights[key]) }],
    };
  }
  const max = largestScore(scene);
  const sum = denominator(scene, max);
  const part = masked ? 0 : Math.exp(score - max);
  const sink = scene.tensors.sink();
  const scalars: Scalar[] = [
    {
      id: "part",
      symbol: masked ? "exp(−∞)" : `exp(${number(score)} − ${max < 0 ? `(${number(max)})` : number(max)})`,
      value: part,
      text: fixed(part, 4),
    },
    { ...scalar("denominator", "Σ exp(score − max)", sum.total, () => sum), text: fixed(sum.total, 4) },
    {
      id: "weight",
      symbol: "weight",
      value: chain.weights[key],
      text: shown(scene, chain.weights[key]),
      expand: () => ({
        formula: "weight = exp(score − max) / Σ over keys of exp(score − max)",
        heads: [],
        terms: [{ name: "exp(score − max)", factors: [], value: part, at: 0 }],
        after: [{ name: "Σ exp(score − max)", sign: "÷", value: sum.total }],
        total: chain.weights[key],
        unit: "percent",
      }),
    },
  ];
  if (sink !== null)
    scalars.push({ id: "sink", symbol: "weight that the sink takes", value: chain.sink, text: percent(chain.sink) });
  const among = chain.allowed ? chain.allowed.reduce((all, may) => all + may, 0) : site.keys;
  return {
    id: "weights",
    why: `Turns the scores of ${count(among, "key")} into weights that add up to ${sink === null ? "100 %" : `${percentInWords(1 - chain.sink)}; a learned sink, with the score ${number(sink)} and no token, takes the rest`}. max is the largest score, ${number(max)}: it cancels out, and keeps exp small.`,
    formula: [
      { symbol: "weight" },
      "=",
      "exp(",
      { symbol: "score" },
      "−",
      { symbol: "max" },
      ") / Σ exp(",
      { symbol: "score" },
      "−",
      { symbol: "max" },
      ")",
    ],
    scalars,
  };
}
