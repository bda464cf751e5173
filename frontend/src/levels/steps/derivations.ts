/** The sums behind the numbers of one query and key: what each of them is made of, with names. */
import type { Letter, StepTensors } from "../../data/step-tensors";
import { isolated, named } from "../../scene/labels";
import type { Scene } from "../../scene/scene";
import { products, type Sum, type Term, total } from "./sums";

/** q, k or v before anything is done to it: Σ over m of x[m] · W[m, d] + b[d]; null where x or W is not here. */
export function affine(scene: Scene, given: StepTensors | null, letter: Letter): ((d: number) => Sum) | null {
  const x = letter === "q" ? given?.ofQuery(scene.row) : given?.ofKey(scene.key);
  const w = given?.w[letter];
  if (!given || !x || !w) return null;
  const M = given.width;
  const b = given.b[letter];
  const factor = scene.site.steps?.projections[letter]?.factor ?? 1;
  return (d) => {
    const terms = products(
      x,
      (m) => w[d * M + m],
      (m) => `m = ${m}`,
    );
    const after: Sum["after"] = [];
    if (b) after.push({ name: `b_${letter}[${d}], the bias`, sign: "+", value: b[d] });
    if (factor !== 1) after.push({ name: "what the model multiplies by itself", sign: "×", value: factor });
    const bias = b ? ` + b_${letter}[${d}]` : "";
    const times = factor !== 1 ? `, × ${Number(factor.toPrecision(4))}` : "";
    return {
      formula: `${letter}[${d}] = Σ over m of x[m] · W_${letter}[m, ${d}]${bias}${times}`,
      heads: [`x[m]`, `W_${letter}[m, ${d}]`],
      terms,
      after,
      total: total(terms, after),
    };
  };
}

/** A norm: one factor for each number, read from the vector before and after. */
export function normed(before: ArrayLike<number>, after: ArrayLike<number>, letter: string): (d: number) => Sum {
  return (d) => {
    const value = after[d];
    const by = before[d] === 0 ? Number.NaN : value / before[d];
    return {
      formula: `${letter}[${d}] after the norm = ${letter}[${d}] before · (its gain over the length of the vector)`,
      heads: ["before", "factor"],
      terms: [{ name: `${letter}[${d}]`, factors: [before[d], by], value, at: 0 }],
      after: [],
      total: value,
    };
  };
}

export function dotSum(scene: Scene): Sum {
  const k = scene.tensors.key(scene.key);
  const terms = products(
    scene.q,
    (d) => k[d],
    (d) => `d = ${d}`,
  );
  return { formula: "q · k = Σ over d of q[d] · k[d]", heads: ["q[d]", "k[d]"], terms, after: [], total: total(terms) };
}

/** A number made of one other: scaling, softcap, bias. */
export function single(formula: string, name: string, from: number, after: Sum["after"], value: number): Sum {
  return { formula, heads: [], terms: [{ name, factors: [], value: from, at: 0 }], after, total: value };
}

const token = (scene: Scene, key: number) => `${key} ${isolated(named(scene.keyLabels[key]))}`;

/** The denominator of the softmax: exp(score − max) of every key that may be seen, and of the sink. */
export function denominator(scene: Scene, max: number): Sum {
  const { chain } = scene;
  const terms: Term[] = [];
  for (let j = 0; j < scene.site.keys; j++) {
    if (chain.allowed && !chain.allowed[j]) continue;
    const score = chain.biased?.[j] ?? Number.NaN;
    terms.push({ name: token(scene, j), factors: [score], value: Math.exp(score - max), token: true, at: j });
  }
  const after: Sum["after"] = [];
  const sink = scene.tensors.sink();
  if (sink !== null) after.push({ name: "exp(sink − max), the learned sink", sign: "+", value: Math.exp(sink - max) });
  return {
    formula: `Σ over keys of exp(score − max), max = ${Number(max.toPrecision(6))}`,
    heads: ["score"],
    terms,
    after,
    total: total(terms, after),
  };
}

/** The largest score that takes part, the sink's included. */
export function largestScore(scene: Scene): number {
  const { chain, site } = scene;
  let max = scene.tensors.sink() ?? Number.NEGATIVE_INFINITY;
  for (let j = 0; j < site.keys; j++)
    if (!chain.allowed || chain.allowed[j]) max = Math.max(max, chain.biased?.[j] ?? Number.NEGATIVE_INFINITY);
  return max;
}

export function outputSum(scene: Scene): (d: number) => Sum {
  const { chain, tensors } = scene;
  return (d) => {
    const terms: Term[] = [];
    for (let j = 0; j < scene.site.keys; j++) {
      const weight = chain.weights[j];
      if (weight === 0) continue;
      const v = tensors.value(j)[d];
      terms.push({ name: token(scene, j), factors: [weight, v], value: weight * v, token: true, at: j });
    }
    return {
      formula: `z[${d}] = Σ over keys of weight[key] · v[key, ${d}]`,
      heads: ["weight", `v[key, ${d}]`],
      terms,
      after: [],
      total: total(terms),
    };
  };
}

/** z · W_O of this head: [M]. */
export function write(scene: Scene, given: StepTensors): Float64Array | null {
  const { wo, width: M } = given;
  if (!wo) return null;
  const out = new Float64Array(M);
  scene.chain.z.forEach((z, d) => {
    for (let m = 0; m < M; m++) out[m] += z * wo[d * M + m];
  });
  return out;
}

export function writeSum(scene: Scene, given: StepTensors): (m: number) => Sum {
  const { width: M } = given;
  const wo = given.wo as Float32Array;
  return (m) => {
    const terms = products(
      scene.chain.z,
      (d) => wo[d * M + m],
      (d) => `d = ${d}`,
    );
    const formula = `write[${m}] = Σ over d of z[d] · W_O[d, ${m}]`;
    return { formula, heads: ["z[d]", `W_O[d, ${m}]`], terms, after: [], total: total(terms) };
  };
}

export function shareSum(scene: Scene): Sum {
  const { chain, tensors, key, site } = scene;
  const lengths = Array.from(chain.weights, (weight, j) => weight * tensors.norms[j]);
  const whole = lengths.reduce((sum, one) => sum + one, 0);
  const what = site.norms === "output" ? "‖v · W_O‖" : "‖v‖";
  return {
    formula: `share = weight · ${what}, over the sum of these for all keys`,
    heads: ["weight", what],
    terms: [
      {
        name: token(scene, key),
        factors: [chain.weights[key], tensors.norms[key]],
        value: lengths[key],
        token: true,
        at: key,
      },
    ],
    after: [{ name: "the sum for all keys", sign: "÷", value: whole }],
    total: chain.share[key],
    unit: "percent",
  };
}
