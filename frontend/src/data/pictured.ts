/** A head of which a page has a coarse picture, and neither q nor k. */

import { HeadTensors } from "./head-tensors";
import type { Metadata, Thumb } from "./metadata";

/** First and last index. */
export type Span = [first: number, last: number];

/** The patch of an axis that an index lies in: patch p of n holds p·size//n up to (p+1)·size//n. */
export function patchOf(index: number, size: number, patches: number): number {
  return Math.floor(((index + 1) * patches - 1) / size);
}

/** The same in the other direction. */
export function patchRange(patch: number, size: number, patches: number): Span {
  return [Math.floor((patch * size) / patches), Math.floor(((patch + 1) * size) / patches) - 1];
}

/** The largest weight of each patch of queries and keys. */
export class Picture {
  readonly rows: number;
  readonly columns: number;
  /** Row by row; −1 where all is masked, NaN where one is. */
  readonly values: Float32Array;
  /** From how many queries it was made; null: from all. */
  readonly sampled: number | null;

  constructor(
    { rows, columns, steps, masked, broken, queries_sampled }: Thumb,
    octets: Uint8Array,
    /** Of the whole picture. */
    readonly queries: number,
    readonly keys: number,
  ) {
    this.rows = rows;
    this.columns = columns;
    this.sampled = queries_sampled;
    this.values = Float32Array.from(octets, (byte) =>
      byte === masked ? -1 : byte === broken ? Number.NaN : byte / steps,
    );
  }

  /** Queries and keys of a cell, at most. */
  get block(): [queries: number, keys: number] {
    return [Math.ceil(this.queries / this.rows), Math.ceil(this.keys / this.columns)];
  }

  /** The cell that a query (as a row) and a key lie in. */
  at(query: number, key: number): { value: number; queries: Span; keys: Span } {
    const row = Math.min(this.rows - 1, patchOf(query, this.queries, this.rows));
    const column = Math.min(this.columns - 1, patchOf(key, this.keys, this.columns));
    return {
      value: this.values[row * this.columns + column],
      queries: patchRange(row, this.queries, this.rows),
      keys: patchRange(column, this.keys, this.columns),
    };
  }
}

const none = () => new Float32Array(0);

/** Stands where a head's tensors would; its rows are unknown, and nothing shows them. */
export class Pictured extends HeadTensors {
  constructor(
    meta: Metadata,
    index: number,
    head: number,
    readonly picture: Picture,
  ) {
    const sites = meta.sites.map((one) =>
      one.index === index
        ? { ...one, weights_only: true, held: { dtype: "F32", heads: [...Array(one.heads).keys()] } }
        : one,
    );
    const integers = () => new Int32Array(0);
    super(
      {
        meta: { ...meta, sites },
        has: () => false,
        shape: () => [],
        floats: none,
        integers,
        octets: () => new Uint8Array(0),
      },
      index,
      head,
    );
  }

  override given(): Float64Array {
    return new Float64Array(this.site.keys);
  }

  override allowed(): null {
    return null;
  }
}
