/** All rows of one picture by token: of one head, or the mean over several. Computed when wanted, kept as they come. */

import { linksOf } from "../chain/chain";
import { Difference } from "../chain/difference";
import type { HeadTensors } from "../data/head-tensors";
import type { Site } from "../data/metadata";
import type { Row } from "./axis";

/** What a head does over all queries, added up while its rows are computed. */
export interface Tally {
  rows: number;
  /** What each key receives: the sum of its column. */
  received: Float64Array;
  /** Weight by where the key stands: before, at and after the query. */
  back: number;
  itself: number;
  ahead: number;
  sink: number;
  empty: number;
  broken: number;
  largest: number;
}

/** Weights of one picture that a page can hold: a text of 4,000 tokens. */
const MOST_CELLS = 16_000_000;

/** Beyond, rows are computed one at a time, and the grid comes in tiles. */
export const isLarge = ({ queries, keys }: Site) => queries * keys > MOST_CELLS;

export class RowCache {
  readonly site: Site;
  readonly tally: Tally;
  private readonly kept: (Row | undefined)[];
  private readonly recent = new Map<number, Row>();
  private scan = 0;

  /** `missing`: heads of the mean that are not here. */
  constructor(
    readonly members: HeadTensors[],
    readonly missing = 0,
    /** Of differences only what grew (1), or what shrank (-1) as a positive number; 0: as they are. */
    readonly part: 0 | 1 | -1 = 0,
  ) {
    this.site = members[0].site;
    this.kept = new Array(this.site.queries);
    const received = new Float64Array(this.site.keys);
    this.tally = {
      rows: 0,
      received,
      back: 0,
      itself: 0,
      ahead: 0,
      sink: 0,
      empty: 0,
      broken: 0,
      largest: 0,
    };
  }

  get complete(): boolean {
    return this.tally.rows === this.site.queries;
  }

  /** Too large to be kept: rows are computed one at a time, and nothing is added up. */
  get large(): boolean {
    return isLarge(this.site);
  }

  /** Differences between two traces, which have a sign. */
  get signed(): boolean {
    return this.members[0] instanceof Difference;
  }

  /** Scores and q · k are of one head. */
  get hasScores(): boolean {
    return this.members.length === 1 && !this.site.weights_only;
  }

  /** Weights (single precision) and mask of a row of the site; scores are left to `exact`. */
  row(index: number): Row {
    const known = this.kept[index];
    if (known) return known;
    const exact = this.exact(index);
    if (this.large) return exact;
    const row = { ...exact, weights: Float32Array.from(exact.weights), scores: null, dot: null };
    this.kept[index] = row;
    this.count(index, exact);
    return row;
  }

  knows(index: number): boolean {
    return this.kept[index] !== undefined;
  }

  /** Every number of a row, in double precision. */
  exact(index: number): Row {
    let row = this.recent.get(index);
    if (!row) {
      row = this.compute(index);
      this.recent.set(index, row);
      if (this.recent.size > 24) this.recent.delete(this.recent.keys().next().value as number);
    }
    return row;
  }

  /** One more row that is not known yet; false when there is none. */
  advance(): boolean {
    if (this.large) return false;
    while (this.scan < this.kept.length && this.kept[this.scan]) this.scan++;
    if (this.scan >= this.kept.length) return false;
    this.row(this.scan++);
    return true;
  }

  /** A difference as these rows show it. */
  shown(weight: number): number {
    return this.part === 0 ? weight : Math.max(0, this.part * weight);
  }

  private compute(index: number): Row {
    const rows = this.members.map((head) => linksOf(head, index));
    if (rows.length === 1) {
      const { weights, biased, dot, allowed, sink, empty } = rows[0];
      return { weights, scores: biased, dot, allowed, sink, empty };
    }
    const part = 1 / rows.length;
    const weights = new Float64Array(this.site.keys);
    let allowed: Uint8Array | null = rows.every((row) => row.allowed) ? new Uint8Array(weights.length) : null;
    let sink = 0;
    for (const row of rows) {
      for (let j = 0; j < weights.length; j++) weights[j] += row.weights[j] * part;
      if (allowed && row.allowed) for (let j = 0; j < weights.length; j++) allowed[j] |= row.allowed[j];
      sink += row.sink * part;
    }
    if (allowed && !allowed.includes(0)) allowed = null;
    return { weights, scores: null, dot: null, allowed, sink, empty: rows.every((row) => row.empty) };
  }

  private count(index: number, { weights, sink, empty }: Row): void {
    const { tally, site } = this;
    const query = index + (site.query_offset ?? 0);
    tally.rows++;
    tally.sink += sink;
    if (empty) tally.empty++;
    let broken = false;
    for (let j = 0; j < weights.length; j++) {
      const weight = weights[j];
      if (weight === 0) continue;
      if (Number.isNaN(weight)) {
        broken = true;
        continue;
      }
      tally.received[j] += weight;
      if (j < query) tally.back += weight;
      else if (j > query) tally.ahead += weight;
      else tally.itself += weight;
      if (weight > tally.largest) tally.largest = weight;
    }
    if (broken) tally.broken++;
  }
}

const BUDGET = 24_000_000; // weights kept over all rows of a source
const shelves = new WeakMap<object, Map<string, RowCache>>();

/** Rows are shared by the levels of one view. What you looked at last is kept longest. */
export function shelved(source: object, name: string, make: () => RowCache): RowCache {
  const shelf = shelves.get(source) ?? new Map<string, RowCache>();
  shelves.set(source, shelf);
  const cache = shelf.get(name) ?? make();
  shelf.delete(name);
  shelf.set(name, cache);
  let cells = 0;
  for (const [other, one] of [...shelf].reverse()) {
    cells += one.site.queries * one.site.keys;
    if (cells > BUDGET && other !== name) shelf.delete(other);
  }
  return cache;
}
