/**
 * Tokens drawn as fewer: the pieces of a word as one, special and sink tokens hidden, one sentence of a pair alone.
 *
 * Weights are summed into a word as keys, for softmax shares one whole among them, and averaged out of it as queries, so
 * that a row stays a distribution. Scores and q · k are no shares: a word has the mean over its pieces that may be seen.
 */
import type { Group } from "../scene/groups";
import type { Label } from "../scene/labels";

/** What one place on an axis stands for. */
export interface Slot {
  /** Positions of its tokens. */
  tokens: number[];
  text: string;
  special: boolean;
  segment: number;
}

export interface Axis {
  slots: Slot[];
  /** Token -> slot; -1 where it is not drawn. By position among the tokens. */
  of: Int32Array;
  /** Tokens that are not drawn: special and sink tokens, and those of the other sentence. */
  hidden: number[];
  outside: number[];
  /** Any slot has several tokens. */
  merged: boolean;
}

export interface AxisOptions {
  words: boolean;
  hideSpecial: boolean;
  /** Tokens that are hidden with the special ones. */
  sinks?: readonly number[];
  /** Only this sentence of a pair; null: both. */
  segment: number | null;
  /** A token that is drawn whatever it is. */
  keep?: number | null;
  /** Groups that are drawn as one: of each token its group, or -1. */
  pool?: Int32Array | null;
  groups?: Group[];
}

/** Positions `from` … `to` - 1 of the tokens as places on an axis. */
export function axisOf(labels: Label[], from: number, to: number, options: AxisOptions): Axis {
  const of = new Int32Array(to).fill(-1);
  const axis: Axis = { slots: [], of, hidden: [], outside: [], merged: false };
  let last: Label | null = null;
  let pooled = -1;
  for (let i = from; i < to; i++) {
    const label = labels[i];
    if (i !== options.keep) {
      const elsewhere = options.segment !== null && label.segment !== options.segment;
      const hidden = options.hideSpecial && (label.special || (options.sinks?.includes(i) ?? false));
      if (elsewhere || hidden) {
        (elsewhere ? axis.outside : axis.hidden).push(i);
        last = null;
        continue;
      }
    }
    const group = (i === options.keep ? -1 : options.pool?.[i]) ?? -1;
    if (group >= 0) {
      last = null;
      if (group === pooled) axis.slots[axis.slots.length - 1].tokens.push(i);
      else
        axis.slots.push({
          tokens: [i],
          text: options.groups?.[group].name ?? "",
          special: false,
          segment: label.segment,
        });
      axis.merged = true;
      pooled = group;
      of[i] = axis.slots.length - 1;
      continue;
    }
    pooled = -1;
    const before: Label | null = last;
    last = label;
    if (
      options.words &&
      before &&
      label.word !== null &&
      label.word === before.word &&
      label.segment === before.segment
    ) {
      const slot = axis.slots[axis.slots.length - 1];
      slot.tokens.push(i);
      slot.text = label.whole || slot.text + label.text;
      axis.merged = true;
    } else axis.slots.push({ tokens: [i], text: label.text, special: label.special, segment: label.segment });
    of[i] = axis.slots.length - 1;
  }
  return axis;
}

/** One query against every key, as numbers by token. */
export interface Row {
  weights: ArrayLike<number>;
  /** null where they are not known, and for a mean over heads. */
  scores: ArrayLike<number> | null;
  dot: ArrayLike<number> | null;
  /** 1 = may be seen; null: all of them. */
  allowed: Uint8Array | null;
  sink: number;
  /** No key was allowed. */
  empty: boolean;
}

/** The same by slot, and what is not drawn. */
export interface SlotRow {
  weights: Float64Array;
  scores: Float64Array | null;
  dot: Float64Array | null;
  /** 1 = no piece of the query may see any piece of the key. */
  masked: Uint8Array;
  sink: number;
  empty: boolean;
  /** Weight of the tokens that are hidden, and of the keys outside the filter. */
  hidden: number;
  outside: number;
}

/** Rows of the pieces of one query, put together by the axis of the keys. */
export function mergedRow(rows: Row[], axis: Axis): SlotRow {
  const n = axis.slots.length;
  if (rows.length === 1 && n === rows[0].weights.length) return asIs(rows[0]);
  const out: SlotRow = {
    weights: new Float64Array(n),
    scores: rows.every((row) => row.scores) ? new Float64Array(n) : null,
    dot: rows.every((row) => row.dot) ? new Float64Array(n) : null,
    masked: new Uint8Array(n),
    sink: 0,
    empty: rows.every((row) => row.empty),
    hidden: 0,
    outside: 0,
  };
  const part = 1 / rows.length;
  for (const { weights, sink } of rows) {
    out.sink += sink * part;
    for (const j of axis.hidden) out.hidden += weights[j] * part;
    for (const j of axis.outside) out.outside += weights[j] * part;
  }
  for (let s = 0; s < n; s++) {
    const { tokens } = axis.slots[s];
    let weight = 0;
    let score = 0;
    let dot = 0;
    let seen = 0;
    for (const row of rows)
      for (const j of tokens) {
        weight += row.weights[j] * part;
        if (row.dot) dot += row.dot[j];
        if (row.allowed && !row.allowed[j]) continue;
        seen++;
        if (row.scores) score += row.scores[j];
      }
    out.weights[s] = weight;
    out.masked[s] = seen === 0 ? 1 : 0;
    if (out.scores) out.scores[s] = seen === 0 ? Number.NEGATIVE_INFINITY : score / seen;
    if (out.dot) out.dot[s] = dot / (rows.length * tokens.length);
  }
  return out;
}

/** Nothing merged and nothing hidden. */
function asIs({ weights, scores, dot, allowed, sink, empty }: Row): SlotRow {
  return {
    weights: Float64Array.from(weights),
    scores:
      scores && Float64Array.from(scores, (score, j) => (!allowed || allowed[j] ? score : Number.NEGATIVE_INFINITY)),
    dot: dot && Float64Array.from(dot),
    masked: allowed ? allowed.map((one) => (one ? 0 : 1)) : new Uint8Array(weights.length),
    sink,
    empty,
    hidden: 0,
    outside: 0,
  };
}

/** Several rows as one: their mean, or their sum. Scores have neither. */
export function combined(rows: SlotRow[], how: "mean" | "sum"): SlotRow {
  if (rows.length === 1) return rows[0];
  const part = how === "mean" ? 1 / rows.length : 1;
  const total = (of: (row: SlotRow) => number) => rows.reduce((sum, row) => sum + of(row), 0) * part;
  return {
    weights: rows[0].weights.map((_, s) => total((row) => row.weights[s])),
    scores: null,
    dot: null,
    masked: rows[0].masked.map((_, s) => (rows.every((row) => row.masked[s]) ? 1 : 0)),
    sink: total((row) => row.sink),
    empty: rows.every((row) => row.empty),
    hidden: total((row) => row.hidden),
    outside: total((row) => row.outside),
  };
}

/** Weight of the tokens that are hidden, one by one, the heaviest first: `[token, weight]`. */
export function hiddenMasses(rows: Row[], axis: Axis): [number, number][] {
  return axis.hidden
    .map((j): [number, number] => [j, rows.reduce((sum, row) => sum + row.weights[j] / rows.length, 0)])
    .sort((a, b) => b[1] - a[1] || a[0] - b[0]);
}
