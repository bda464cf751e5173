/** Everything one drawing needs, computed once per change of state. Levels read it and draw. */

import { nice, nicePart, type Ramp, robustDomain } from "../base/scale";
import type { LevelName, State } from "../base/state";
import { type Chain, chainOf } from "../chain/chain";
import { Difference, type PairScene } from "../chain/difference";
import type { HeadTensors } from "../data/head-tensors";
import type { Metadata, Site } from "../data/payload";
import type { Source } from "../data/source";
import type { Label } from "./labels";
import type { Part } from "./sentence";

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
  /** The key under the lens: the pinned one, else the strongest. */
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
  /** Both sides, where weights are differences B − A: then all of `chain.weights` may be below zero. */
  pair: PairScene | null;
}

/** What a level may ask of the frame. */
export interface Actions {
  /** Something of what is on screen; the address is rewritten. */
  set(change: Partial<State>): void;
  /** To another level or place: a step that one can go back from. */
  go(change: Partial<State>): void;
  /** Puts a number into words, in the readout. */
  say(text: string): void;
  /** Something wrong or missing, said in the view until it is dismissed; the same text once. */
  notice(text: string): void;
}

/** A scale or a mark, as the foot explains it. */
export interface Legend {
  /** A mark that all levels share ("sign" is the diverging ramp, "ink" the weight), or one of the level's own. */
  swatch: "sign" | "ink" | "masked" | "notch" | "broken" | HTMLElement;
  /** Quantities and their domains: `["weight", "0 … 60 %"]`. */
  said: [quantity: string, domain: string][];
}

/** A level as it is seen, for paper: an SVG that needs nothing beside itself, its size in CSS pixels. */
export interface Picture {
  svg: string;
  width: number;
  height: number;
}

export interface Level {
  readonly name: LevelName;
  /** Carries `data-level`; hidden by the frame while another level is shown. */
  readonly element: HTMLElement;
  /** Controls of its own, shown beside the switch only while the level is shown; sentence pair, special tokens, words and theme are the frame's. */
  readonly tools: HTMLElement[];
  /** The keys that work here, for the foot: "↑ ↓ ← → move · Enter pins". Enter in and Esc out are said by the frame. */
  readonly keys?: string;
  /** Only while shown; cheap when only the query changed. */
  draw(scene: Scene): void;
  /** The one sentence at this level; null: the one of the query. */
  sentence?(scene: Scene): Part[] | null;
  /** What the foot says of scales; without it, those of the neuron level. */
  scales?(scene: Scene): Legend[];
  /** Something scrolled or was laid out: fit to what is in sight. */
  look(): void;
  /** The level has opened and is laid out within what scrolls: show what it was opened for. */
  arrive(within: Element): void;
  /** Closes what the reader opened on top of it; false when nothing was open. */
  close(): boolean;
  /** For the page's save button; null: nothing to draw just now. */
  picture?(): Promise<Picture | null> | Picture | null;
  destroy(): void;
}

/** How a level is made, when it is first shown. `viewport`: top and bottom of what is in sight. */
export type MakeLevel = (actions: Actions, viewport: () => { top: number; bottom: number }, source: Source) => Level;

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

export function strongest(weights: ArrayLike<number>, among?: number[]): number {
  let best = among?.[0] ?? 0;
  for (const j of among ?? Array.from(weights, (_, i) => i)) if (weights[j] > weights[best]) best = j;
  return best;
}

function largest(values: ArrayLike<number> | null, allowed: Uint8Array | null): number {
  let most = 0;
  if (values)
    for (let j = 0; j < values.length; j++)
      if ((!allowed || allowed[j]) && Number.isFinite(values[j])) most = Math.max(most, Math.abs(values[j]));
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
    key: state.key ?? strongest(sizes, keys.length ? keys : undefined),
    queryLabels,
    keyLabels,
    keys,
    outside,
    domains: domains(tensors),
    scoreEnd: nice(largest(chain.biased, chain.allowed)),
    weightEnd: nicePart(Math.max(largest(chain.weights, null), largest(chain.share, null), chain.sink)),
    zEnd: nice(largest(chain.z, null)),
    ...look,
    pair,
  };
}
