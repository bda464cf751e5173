/** What one head's q, k and v were made of: x, the projections, q and k before norm and rotary embedding; as far as they are held. */
import type { Site } from "./metadata";
import type { Payload } from "./payload";

export type Letter = "q" | "k" | "v";

export class StepTensors {
  /** Model width; 0 where neither x nor a projection is here. */
  readonly width: number;
  /** [Q, M], and [K, M] where keys and values are made of something else. */
  readonly x: Float32Array | null;
  readonly xKeys: Float32Array | null;
  /** [D, M] and [D] of this head: a row for each of its numbers. */
  readonly w: Record<Letter, Float32Array | null>;
  readonly b: Record<Letter, Float32Array | null>;
  /** [Dv, M] of this head, and [M]. */
  readonly wo: Float32Array | null;
  readonly bo: Float32Array | null;
  /** [Q, D] and [K, D]. */
  readonly preRotary: Record<"q" | "k", Float32Array | null>;
  readonly preNorm: Record<"q" | "k", Float32Array | null>;

  constructor(
    payload: Payload,
    readonly site: Site,
    head: number,
  ) {
    const held = site.steps?.heads ?? [];
    const group = site.heads / site.kv_heads;
    const groups = [...new Set(held.map((one) => Math.floor(one / group)))].sort((a, b) => a - b);
    const read = (name: string, part?: number) => {
      const full = `s${site.index}.${name}`;
      return payload.has(full) ? payload.floats(full, part) : null;
    };
    const at = held.indexOf(head);
    const kv = groups.indexOf(Math.floor(head / group));
    const both = (name: string) => ({ q: read(`${name}_q`, at), k: read(`${name}_k`, kv) });
    this.x = read("x");
    this.xKeys = read("x_keys");
    this.w = { ...both("w"), v: read("w_v", kv) };
    this.b = { ...both("b"), v: read("b_v", kv) };
    this.wo = read("w_o", at);
    this.bo = read("b_o");
    this.preRotary = both("pre_rotary");
    this.preNorm = both("pre_norm");
    const shaped = ["x", "w_q", "w_k", "w_v", "w_o"].find((name) => payload.has(`s${site.index}.${name}`));
    this.width = shaped ? (payload.shape(`s${site.index}.${shaped}`).at(-1) as number) : 0;
  }

  /** What query `row` is made of. */
  ofQuery(row: number): Float32Array | null {
    return this.x?.subarray(row * this.width, (row + 1) * this.width) ?? null;
  }

  /** What key `key` and its value are made of. */
  ofKey(key: number): Float32Array | null {
    const { site, width } = this;
    const from = this.xKeys ?? (site.kind === "self" && site.queries === site.keys ? this.x : null);
    return from?.subarray(key * width, (key + 1) * width) ?? null;
  }

  rotated(letter: "q" | "k", row: number): Float32Array | null {
    return this.row(this.preRotary[letter], row);
  }

  normed(letter: "q" | "k", row: number): Float32Array | null {
    return this.row(this.preNorm[letter], row);
  }

  private row(values: Float32Array | null, row: number): Float32Array | null {
    const D = this.site.head_size;
    return values && (row + 1) * D <= values.length ? values.subarray(row * D, (row + 1) * D) : null;
  }
}
