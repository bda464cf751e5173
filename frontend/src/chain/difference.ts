/** One head in B minus the same head in A, along the tokens of both texts merged into one row. */

import { HeadTensors } from "../data/head-tensors";
import type { Metadata, Places } from "../data/metadata";
import { type Chain, chainOf, isMasked, linksOf } from "./chain";

/** One side of a difference, at one query. */
export interface SideOf {
  name: "A" | "B";
  meta: Metadata;
  tensors: HeadTensors;
  /** null where this text has no such query. */
  chain: Chain | null;
  /** Row of the query among those of the site, position of the query among the tokens. */
  row: number;
  query: number;
  /** Position in this text of every key of the merged row; null where it has none. */
  keys: (number | null)[];
}

export interface PairScene {
  a: SideOf;
  b: SideOf;
}

export class Difference extends HeadTensors {
  constructor(
    readonly meta: Metadata,
    index: number,
    head: number,
    readonly a: { meta: Metadata; tensors: HeadTensors },
    readonly b: { meta: Metadata; tensors: HeadTensors },
    private readonly queries: Places,
    private readonly keys: Places,
  ) {
    const site = meta.sites[index];
    const held = { ...site, held: { dtype: "F32", heads: Array.from({ length: site.heads }, (_, i) => i) } };
    const sites = meta.sites.map((one) => (one === site ? held : one));
    const none = () => new Float32Array(0);
    super(
      {
        meta: { ...meta, sites },
        has: () => false,
        shape: () => [],
        floats: none,
        integers: () => new Int32Array(0),
        octets: () => new Uint8Array(0),
      },
      index,
      head,
    );
  }

  /** Row of a query of the merged row in A or B; null where it has none. */
  private rowIn(side: "a" | "b", query: number): number | null {
    const position = this.queries[side][query];
    const { site } = this[side].tensors;
    const row = position === null ? -1 : position - (site.query_offset ?? 0);
    return row >= 0 && row < site.queries ? row : null;
  }

  private keysOf(side: "a" | "b"): (number | null)[] {
    const most = this[side].tensors.site.keys;
    return this.keys[side].map((key) => (key !== null && key < most ? key : null));
  }

  /** Weight in B minus weight in A; a key that a text lacks has none there. Zero where a text lacks the query. */
  override given(query: number): Float64Array {
    const out = new Float64Array(this.site.keys);
    const rows = { a: this.rowIn("a", query), b: this.rowIn("b", query) };
    if (rows.a === null || rows.b === null) return out;
    for (const side of ["b", "a"] as const) {
      const { weights } = linksOf(this[side].tensors, rows[side] as number);
      const sign = side === "b" ? 1 : -1;
      this.keysOf(side).forEach((key, n) => {
        if (key !== null) out[n] += sign * weights[key];
      });
    }
    return out;
  }

  /** A key that either text has and may see; no key at all where a text lacks the query. */
  override allowed(query: number): Uint8Array | null {
    const out = new Uint8Array(this.site.keys);
    const rows = { a: this.rowIn("a", query), b: this.rowIn("b", query) };
    if (rows.a === null || rows.b === null) return out;
    for (const side of ["a", "b"] as const) {
      const seen = this[side].tensors.allowed(rows[side] as number);
      this.keysOf(side).forEach((key, n) => {
        if (key !== null && (!seen || seen[key])) out[n] = 1;
      });
    }
    return out.includes(0) ? out : null;
  }

  /** Both sides at a query, with all of their numbers. */
  at(query: number): PairScene {
    const of = (side: "a" | "b"): SideOf => {
      const { meta, tensors } = this[side];
      const row = this.rowIn(side, query);
      return {
        name: side === "a" ? "A" : "B",
        meta,
        tensors,
        chain: row === null ? null : chainOf(tensors, row),
        row: row ?? -1,
        query: this.queries[side][query] ?? -1,
        keys: this.keysOf(side),
      };
    };
    return { a: of("a"), b: of("b") };
  }
}

/** A number of one side at a key of the merged row; null where it has none. `masked` where it may not be seen. */
export function numberAt(side: SideOf, values: (chain: Chain) => ArrayLike<number> | null, key: number): number | null {
  const at = side.keys[key];
  const all = side.chain && values(side.chain);
  return at === null || !all ? null : all[at];
}

export const maskedAt = (side: SideOf, key: number) => {
  const at = side.keys[key];
  return at !== null && side.chain !== null && isMasked(side.chain, at);
};

/** The index in a merged row of a position of a side. */
export function placeOf(places: Places, side: "a" | "b" | "difference", position: number): number {
  return side === "difference" ? position : places[side].indexOf(position);
}

/** Where a place of the merged row stands on a side; null: it has none. */
export function positionOn(places: Places, side: "a" | "b" | "difference", place: number): number | null {
  return side === "difference" ? place : (places[side][place] ?? null);
}
