/** Everything one drawing needs, computed once per change of state. Levels read it and draw. */

import { nice, niceChange, nicePart, type Ramp, robustDomain } from "../base/scale";
import type { State } from "../base/state";
import { type Chain, chainOf } from "../chain/chain";
import { Difference, type PairScene } from "../chain/difference";
import type { HeadTensors } from "../data/head-tensors";
import type { Metadata, Site } from "../data/metadata";
import { type Picture, Pictured } from "../data/pictured";
import { type Aside, asideOf, leading } from "./aside";
import type { Label } from "./labels";

export interface Domains {
  q: number;
  k: number;
  product: number;
  v: number;
}

export interface Scene {
  meta: Metadata;
  site: Site;
  tensors: HeadTensors;
  chain: Chain;
  state: State;
  /** Position of the query among the tokens, and its row among the queries of the site. */
  query: number;
  row: number;
  /** The query vector; empty where the site holds weights only. */
  q: Float32Array;
  /** The key under the lens: the pinned one, else the strongest that is neither special nor a sink token. */
  key: number;
  pinned: boolean;
  queryLabels: Label[];
  keyLabels: Label[];
  /** Keys that pass the sentence-pair filter, in text order. */
  keys: number[];
  /** Weight of the keys that do not. */
  outside: number;
  domains: Domains;
  /** One symmetric end for scores, one end for weights and shares, one for z: of this query's row. */
  scoreEnd: number;
  weightEnd: number;
  zEnd: number;
  ramp: Ramp;
  dimSpecial: boolean;
  /** Special and sink tokens among the keys; whether they are left out, and what is drawn has a scale of its own. */
  aside: Aside;
  without: boolean;
  /** Both sides, where weights are differences B − A: then all of `chain.weights` may be below zero. */
  pair: PairScene | null;
  /** In place of all numbers of the query, where the page holds no more of the head. */
  picture: Picture | null;
}

const domainsOf = new WeakMap<HeadTensors, Domains>();

export function domains(head: HeadTensors): Domains {
  let known = domainsOf.get(head);
  if (!known) {
    // neighbours that share a cell in a strip of usual width, whatever the width just now
    const n = (size: number) => Math.max(1, Math.ceil((2 * size) / 190));
    const [keys, values] = [n(head.site.head_size), n(head.site.value_size)];
    known = {
      q: robustDomain(head.q, keys),
      k: robustDomain(head.k, keys),
      product: robustDomain(products(head), keys),
      v: robustDomain(head.v, values),
    };
    domainsOf.set(head, known);
  }
  return known;
}

/** q × k of pairs spread evenly over the text, so that the scale does not jump from query to query. */
function products(head: HeadTensors): Float32Array {
  const { queries, keys, head_size: D } = head.site;
  if (head.q.length === 0) return new Float32Array(0);
  const pairs = Math.min(queries * keys, Math.max(64, Math.floor(8192 / D)));
  const out = new Float32Array(pairs * D);
  for (let p = 0; p < pairs; p++) {
    const pair = Math.floor((p * queries * keys) / pairs);
    const q = head.query(Math.floor(pair / keys));
    const k = head.key(pair % keys);
    for (let d = 0; d < D; d++) out[p * D + d] = q[d] * k[d];
  }
  return out;
}

/** `left`: not these. */
function largest(values: ArrayLike<number> | null, allowed: Uint8Array | null, left?: Uint8Array | null): number {
  let most = 0;
  if (values)
    for (let j = 0; j < values.length; j++)
      if ((!allowed || allowed[j]) && !left?.[j] && Number.isFinite(values[j]))
        most = Math.max(most, Math.abs(values[j]));
  return most;
}

export function passes(filter: State["filter"], query: number, key: number): boolean {
  if (filter === "all") return true;
  return "ab"[query] === filter[0] && "ab"[key] === filter[1];
}

export function scene(
  meta: Metadata,
  tensors: HeadTensors,
  state: State,
  labels: Label[][],
  look: { ramp: Ramp; dimSpecial: boolean },
): Scene {
  const { site } = tensors;
  const row = state.query - (site.query_offset ?? 0);
  const chain = chainOf(tensors, row);
  const queryLabels = labels[site.query_tokens];
  const keyLabels = labels[site.key_tokens];
  const segment = queryLabels[state.query].segment;
  const keys: number[] = [];
  let outside = 0;
  for (let j = 0; j < site.keys; j++) {
    if (passes(state.filter, segment, keyLabels[j].segment)) keys.push(j);
    else outside += chain.weights[j];
  }
  const aside = asideOf(meta, site, keyLabels);
  const without = state.special === "hide" && aside.any;
  const left = without && aside.keys.includes(0) ? aside.keys : null;
  const pinned = state.key !== null;
  const pair = tensors instanceof Difference ? tensors.at(row) : null;
  const sizes = pair ? chain.weights.map(Math.abs) : chain.weights;
  return {
    meta,
    site,
    tensors,
    chain,
    state,
    query: state.query,
    row,
    q: tensors.query(row),
    pinned,
    key: state.key ?? leading(sizes, aside.keys, keys),
    queryLabels,
    keyLabels,
    keys,
    outside,
    domains: domains(tensors),
    scoreEnd: nice(largest(chain.biased, chain.allowed)),
    weightEnd: (pair ? niceChange : nicePart)(
      Math.max(largest(chain.weights, null, left), largest(chain.share, null, left), without ? 0 : chain.sink),
    ),
    zEnd: nice(largest(chain.z, null)),
    ...look,
    aside,
    without,
    pair,
    picture: tensors instanceof Pictured ? tensors.picture : null,
  };
}
