/** Every number of the chain as the sum that made it. Pure: numbers in, terms out; accumulates in double precision. */

export interface Term {
  name: string;
  /** What is multiplied, in the order of the heads; the term itself where there is nothing to multiply. */
  factors: number[];
  value: number;
  /** The name is a token of the text. */
  token?: boolean;
  /** Which of the terms it is, in the order of the formula. */
  at: number;
}

export interface Sum {
  /** The formula of this one number: "q[3] = Σ over m of x[m] · W_q[m, 3]". */
  formula: string;
  /** What stands above the factors. */
  heads: string[];
  terms: Term[];
  /** Added once, or multiplied or divided by, after the terms: a bias, a factor, a denominator. */
  after: { name: string; sign: "+" | "×" | "÷"; value: number }[];
  total: number;
  /** How the total is written: a plain number, or a weight. */
  unit?: "percent";
}

export function total(terms: Term[], after: Sum["after"] = []): number {
  let sum = 0;
  for (const { value } of terms) sum += value;
  for (const { sign, value } of after) sum = sign === "+" ? sum + value : sign === "×" ? sum * value : sum / value;
  return sum;
}

/** Largest first; a number that is not finite before all others. */
export function largestFirst(terms: Term[]): Term[] {
  const size = ({ value }: Term) => (Number.isFinite(value) ? Math.abs(value) : Number.POSITIVE_INFINITY);
  return [...terms].sort((a, b) => size(b) - size(a) || a.at - b.at);
}

/** Σ over i of a[i] · b[i]. */
export function products(
  a: ArrayLike<number>,
  b: (i: number) => number,
  name: (i: number) => string,
  token = false,
): Term[] {
  return Array.from({ length: a.length }, (_, i) => {
    const [one, other] = [a[i], b(i)];
    return { name: name(i), factors: [one, other], value: one * other, at: i, ...(token ? { token } : {}) };
  });
}

export interface Turn {
  /** The pair's other dimension, and which of the two this one is. */
  other: number;
  second: boolean;
  cos: number;
  sin: number;
}

/**
 * What rotary embedding did to one vector, read from the vector before and after: which dimensions are turned in pairs, and
 * by how much. Pairs are halves (d, d + R/2) or neighbours (2i, 2i + 1) of the first R dimensions; the right pairing keeps
 * the length of every pair, up to one factor. null: no such pairing explains it.
 */
export function turns(before: ArrayLike<number>, after: ArrayLike<number>): (Turn | null)[] | null {
  const D = before.length;
  let size = 0;
  for (let d = 0; d < D; d++) size = Math.max(size, Math.abs(before[d]), Math.abs(after[d]));
  let turned = 0;
  for (let d = 0; d < D; d++) if (Math.abs(before[d] - after[d]) > 1e-6 * size) turned = d + 1;
  if (turned === 0) return Array.from({ length: D }, () => null);
  const widths = [D, D / 2, D / 4, turned, turned + 1].filter(
    (R, i, all) => R >= turned && R % 2 === 0 && all.indexOf(R) === i,
  );
  for (const neighbours of [false, true]) {
    for (const R of widths) {
      const pairs = Array.from({ length: R / 2 }, (_, i) => (neighbours ? [2 * i, 2 * i + 1] : [i, i + R / 2]));
      const length = (of: ArrayLike<number>, [a, b]: number[]) => Math.hypot(of[a], of[b]);
      const factor =
        pairs.reduce((sum, pair) => sum + length(after, pair), 0) /
        pairs.reduce((sum, pair) => sum + length(before, pair), 0);
      if (!pairs.every((pair) => Math.abs(length(after, pair) - factor * length(before, pair)) <= 2e-3 * size))
        continue;
      const found: (Turn | null)[] = Array.from({ length: D }, () => null);
      for (const [a, b] of pairs) {
        const squared = before[a] ** 2 + before[b] ** 2;
        if (squared === 0 || (before[a] === after[a] && before[b] === after[b])) continue;
        const cos = (after[a] * before[a] + after[b] * before[b]) / squared;
        const sin = (after[b] * before[a] - after[a] * before[b]) / squared;
        found[a] = { other: b, second: false, cos, sin };
        found[b] = { other: a, second: true, cos, sin };
      }
      return found;
    }
  }
  return null;
}

/** One number after rotary embedding, as the two that it was made of. */
export function turned(before: ArrayLike<number>, d: number, { other, second, cos, sin }: Turn, letter: string): Sum {
  const part = (i: number, name: string, by: number, at: number): Term => ({
    name: `${letter}[${i}]${name}`,
    factors: [before[i], by],
    value: before[i] * by,
    at,
  });
  const terms = [part(d, " · cos θ", cos, 0), part(other, second ? " · sin θ" : " · (−sin θ)", second ? sin : -sin, 1)];
  const sign = second ? "+" : "−";
  return {
    formula: `${letter}[${d}] after = ${letter}[${d}] · cos θ ${sign} ${letter}[${other}] · sin θ`,
    heads: ["before", "turned by"],
    terms,
    after: [],
    total: total(terms),
  };
}

/** The weights of a row if the mask had not been there, sink included. */
export function withoutMask(scores: ArrayLike<number>, sink: number | null): Float64Array {
  let largest = sink ?? Number.NEGATIVE_INFINITY;
  for (let j = 0; j < scores.length; j++) largest = Math.max(largest, scores[j]);
  const out = Float64Array.from({ length: scores.length }, (_, j) => Math.exp(scores[j] - largest));
  let sum = sink === null ? 0 : Math.exp(sink - largest);
  for (const value of out) sum += value;
  return out.map((value) => value / sum);
}
