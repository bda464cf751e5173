/** The chain of one query, all links at once, and the check of a head against what the implementation returned. */

import type { HeadTensors } from "../data/head-tensors";
import { biased, capped, dot, masked, output, scaled, share, softmax, written } from "./attention";

/** The chain up to the weights. */
export interface Links {
  query: number;
  /** null where the site holds weights only: nothing before the softmax is known. */
  dot: Float64Array | null;
  scaled: Float64Array | null;
  capped: Float64Array | null;
  bias: Float32Array | null;
  biased: Float64Array | null;
  /** 1 = may be seen; null: all of them. */
  allowed: Uint8Array | null;
  weights: Float64Array;
  sink: number;
  hasSink: boolean;
  /** No key was allowed. */
  empty: boolean;
}

/** All of the chain. */
export interface Chain extends Links {
  share: Float64Array;
  z: Float64Array;
  /** ‖write‖: how long what the head writes is; null where W_O is not known. */
  write: number | null;
}

export function chainOf(head: HeadTensors, query: number): Chain {
  const links = linksOf(head, query);
  const { weights } = links;
  const z = output(weights, head.v, head.broken > 0);
  return { ...links, share: share(weights, head.norms), z, write: head.products && written(z, head.products) };
}

export function linksOf(head: HeadTensors, query: number): Links {
  const { site } = head;
  const given = head.given(query);
  if (given) {
    return {
      query,
      dot: null,
      scaled: null,
      capped: null,
      bias: null,
      biased: null,
      allowed: head.allowed(query),
      weights: given,
      sink: 0,
      hasSink: false,
      empty: false,
    };
  }
  const allowed = head.allowed(query);
  const bias = head.bias(query);
  const sink = head.sink();
  const dots = dot(head.query(query), head.k);
  const scaledDots = scaled(dots, site.scaling);
  const cappedDots = capped(scaledDots, site.softcap);
  const scores = biased(cappedDots, bias);
  const { weights, sink: taken, empty } = softmax(masked(scores, allowed), sink, site.mask.empty_rows);
  return {
    query,
    dot: dots,
    scaled: scaledDots,
    capped: cappedDots,
    bias,
    biased: scores,
    allowed,
    weights,
    sink: taken,
    hasSink: sink !== null,
    empty,
  };
}

/** A key is masked when the rule forbids it and it indeed has no weight from a uniform "no key allowed" row. */
export const isMasked = (chain: Links, key: number) => chain.allowed !== null && !chain.allowed[key];

export interface Recheck {
  /** Largest |recomputed z - returned z| where both are finite, relative to the largest |z| there. */
  difference: number;
  rows: number;
  /** Numbers that are NaN or infinite in both. */
  broken: number;
  /** Numbers that are NaN or infinite in one of them only. */
  parted: number;
}

/** What this browser finds for one head, a row at a time. */
export function* rechecking(head: HeadTensors): Generator<undefined, Recheck | null> {
  const { z, zRows, site } = head;
  if (!z || zRows.length === 0 || head.weights) return null;
  let largest = 0;
  let difference = 0;
  let broken = 0;
  let parted = 0;
  for (let r = 0; r < zRows.length; r++) {
    if (r > 0) yield;
    const mine = chainOf(head, zRows[r]).z;
    for (let d = 0; d < site.value_size; d++) {
      const theirs = z[r * site.value_size + d];
      const known = Number.isFinite(theirs);
      if (known !== Number.isFinite(mine[d])) parted++;
      else if (!known) broken++;
      else {
        largest = Math.max(largest, Math.abs(theirs));
        difference = Math.max(difference, Math.abs(mine[d] - theirs));
      }
    }
  }
  return { difference: largest > 0 ? difference / largest : difference, rows: zRows.length, broken, parted };
}

export function recheck(head: HeadTensors): Recheck | null {
  const rows = rechecking(head);
  for (;;) {
    const { done, value } = rows.next();
    if (done) return value ?? null;
  }
}

/** The key of the largest weight, of all or of some. */
export function strongest(weights: ArrayLike<number>, among?: number[]): number {
  let best = among?.[0] ?? 0;
  for (const j of among ?? Array.from(weights, (_, i) => i)) if (weights[j] > weights[best]) best = j;
  return best;
}

/** Keys in the order of their weights, or as they stand. */
export const ordered = (chain: Chain, keys: number[], byWeight: boolean): number[] =>
  byWeight ? [...keys].sort((a, b) => chain.weights[b] - chain.weights[a] || a - b) : keys;
