/**
 * The chain of attention for one query against every key, one function per link:
 *
 *   dot -> scaled -> capped -> biased -> masked -> softmax -> output
 *
 * The same links, names and order as attnscope/attention.py, and checked against it. Accumulates in double precision.
 */

/** q · k for every key: `dot[j] = Σ_d query[d] * keys[j, d]`. */
export function dot(query: Float32Array, keys: Float32Array): Float64Array {
  const D = query.length;
  const K = D === 0 ? 0 : keys.length / D;
  const out = new Float64Array(K);
  for (let j = 0, at = 0; j < K; j++) {
    let sum = 0;
    for (let d = 0; d < D; d++, at++) sum += query[d] * keys[at];
    out[j] = sum;
  }
  return out;
}

/** dot · scaling, usually 1 / √D. */
export function scaled(dot: Float64Array, scaling: number): Float64Array {
  return dot.map((value) => value * scaling);
}

/** softcap · tanh(scaled / softcap); no cap leaves it as it is. */
export function capped(scaled: Float64Array, softcap: number | null): Float64Array {
  return softcap === null ? scaled : scaled.map((value) => softcap * Math.tanh(value / softcap));
}

/** Adds the position bias of this query's row. */
export function biased(capped: Float64Array, bias: ArrayLike<number> | null): Float64Array {
  return bias === null ? capped : capped.map((value, j) => value + bias[j]);
}

/** Keys that may not be seen get -∞, so that their weight is exactly zero. */
export function masked(biased: Float64Array, allowed: ArrayLike<number> | null): Float64Array {
  return allowed === null ? biased : biased.map((value, j) => (allowed[j] ? value : Number.NEGATIVE_INFINITY));
}

export interface Weights {
  weights: Float64Array;
  /** What the sink took: one more logit in the softmax, whose column is dropped. 0 without one. */
  sink: number;
  /** No key was allowed: the weights are what the implementation returned for such a row. */
  empty: boolean;
}

/**
 * softmax over keys. A row with no key allowed is zero, or uniform where the captured implementation made it so.
 * NaN scores give NaN weights: what is wrong in the model is shown, not repaired.
 */
export function softmax(
  scores: Float64Array,
  sink: number | null = null,
  emptyRow: "zero" | "uniform" = "zero",
): Weights {
  const K = scores.length;
  let largest = Number.NEGATIVE_INFINITY;
  for (const score of scores) {
    if (Number.isNaN(score))
      return { weights: new Float64Array(K).fill(Number.NaN), sink: sink === null ? 0 : Number.NaN, empty: false };
    if (score > largest) largest = score;
  }
  const empty = largest === Number.NEGATIVE_INFINITY;
  if (empty) {
    const weights = new Float64Array(K);
    if (emptyRow === "uniform") weights.fill(1 / K);
    return { weights, sink: sink === null || emptyRow === "uniform" ? 0 : 1, empty };
  }
  if (sink !== null && sink > largest) largest = sink;
  const weights = scores.map((score) => Math.exp(score - largest));
  const sinkMass = sink === null ? 0 : Math.exp(sink - largest);
  let total = sinkMass;
  for (const weight of weights) total += weight;
  for (let j = 0; j < K; j++) weights[j] /= total;
  return { weights, sink: sinkMass / total, empty };
}

/** z = Σ_j weights[j] · values[j]. `broken`: values hold NaN or infinities, which a weight of zero does not undo. */
export function output(weights: Float64Array, values: Float32Array, broken = false): Float64Array {
  const K = weights.length;
  const Dv = K === 0 ? 0 : values.length / K;
  const out = new Float64Array(Dv);
  for (let j = 0, at = 0; j < K; j++) {
    const weight = weights[j];
    if (weight === 0 && !broken) at += Dv;
    else for (let d = 0; d < Dv; d++, at++) out[d] += weight * values[at];
  }
  return out;
}

/** ‖z · W_O‖ from W_O · W_Oᵀ, of which `products` holds the upper half row by row. */
export function written(z: Float64Array, products: Float32Array): number {
  let sum = 0;
  for (let i = 0, at = 0; i < z.length; i++)
    for (let j = i; j < z.length; j++, at++) sum += (i === j ? 1 : 2) * z[i] * z[j] * products[at];
  return Math.sqrt(Math.max(0, sum));
}

/** Share of the head's output: weight · ‖v · W_O‖ over the sum of these norms. All zero where the sum is. */
export function share(weights: Float64Array, norms: Float32Array): Float64Array {
  let total = 0;
  const out = weights.map((weight, j) => weight * norms[j]);
  for (const part of out) total += part;
  return total === 0 ? out : out.map((part) => part / total);
}
