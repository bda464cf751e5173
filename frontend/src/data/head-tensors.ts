/** The tensors of one head of one site, and its mask and bias, read from a payload. */
import type { Site } from "./metadata";
import type { Tensors } from "./payload";
import { PayloadError } from "./safetensors";

export class HeadTensors {
  readonly site: Site;
  /** [Q, D], [K, D], [K, Dv]; empty where the site holds weights only. */
  readonly q: Float32Array;
  readonly k: Float32Array;
  readonly v: Float32Array;
  /** ‖v · W_O‖ or ‖v‖ per key, as `site.norms` says. */
  readonly norms: Float32Array;
  /** W_O · W_Oᵀ of this head, the upper half row by row; null where W_O is not known. */
  readonly products: Float32Array | null;
  /** [Q, K], only where the site holds weights only. */
  readonly weights: Float32Array | null;
  /** What the implementation returned for the queries `zRows`. */
  readonly z: Float32Array | null;
  readonly zRows: Int32Array;
  /** Numbers among q, k and v that are not finite. */
  readonly broken: number;
  private biases: Float32Array | null = null;

  constructor(
    private readonly payload: Tensors,
    index: number,
    readonly head: number,
  ) {
    const site = payload.meta.sites.find((one) => one.index === index);
    if (!site?.held) throw new PayloadError(`Site ${index} is not in this data.`);
    this.site = site;
    const at = site.held.heads.indexOf(head);
    if (at < 0) throw new PayloadError(`Head ${head} is not in this data.`);
    const group = site.heads / site.kv_heads;
    const groups = [...new Set(site.held.heads.map((h) => Math.floor(h / group)))].sort((a, b) => a - b);
    const kv = groups.indexOf(Math.floor(head / group));
    const read = (name: string, part: number) => {
      const full = `s${index}.${name}`;
      return payload.has(full) ? payload.floats(full, part) : new Float32Array(0);
    };
    this.weights = site.weights_only ? payload.floats(`s${index}.weights`, at) : null;
    this.q = site.weights_only ? new Float32Array(0) : payload.floats(`s${index}.q`, at);
    this.k = site.weights_only ? new Float32Array(0) : payload.floats(`s${index}.k`, kv);
    this.v = read("v", kv);
    const norms = read("norms", at);
    this.norms = norms.length === site.keys ? norms : lengths(this.v, site.keys);
    const products = read("w_o_products", at);
    this.products =
      products.length === (site.value_size * (site.value_size + 1)) / 2 && products.length ? products : null;
    this.z = payload.has(`s${index}.z`) ? payload.floats(`s${index}.z`, at) : null;
    this.zRows = payload.has(`s${index}.z_rows`) ? payload.integers(`s${index}.z_rows`) : new Int32Array(0);
    this.broken = broken(this.q) + broken(this.k) + broken(this.v);
  }

  /** The weights of a query, where nothing but weights is known; null where they follow from q and k. */
  given(query: number): Float64Array | null {
    const { keys } = this.site;
    return this.weights && Float64Array.from(this.weights.subarray(query * keys, (query + 1) * keys));
  }

  query(row: number): Float32Array {
    const D = this.site.head_size;
    return this.q.subarray(row * D, (row + 1) * D);
  }

  key(row: number): Float32Array {
    const D = this.site.head_size;
    return this.k.subarray(row * D, (row + 1) * D);
  }

  value(row: number): Float32Array {
    const D = this.site.value_size;
    return this.v.subarray(row * D, (row + 1) * D);
  }

  /** Which keys this query may see, from the rule; null when it may see all. */
  allowed(query: number): Uint8Array | null {
    const { lower, upper, keys, rows, packed } = this.site.mask;
    if (lower === null && upper === null && !keys && !rows && !packed) return null;
    const K = this.site.keys;
    const out = new Uint8Array(K);
    const first = lower === null ? 0 : Math.max(0, query + lower);
    const last = upper === null ? K - 1 : Math.min(K - 1, query + upper);
    if (first <= last) out.fill(1, first, last + 1);
    if (rows && !this.payload.octets(rows)[query]) out.fill(0);
    if (keys) {
      const seen = this.payload.octets(keys);
      for (let j = 0; j < K; j++) out[j] &= seen[j] ? 1 : 0;
    }
    if (packed) {
      const [heads, queries, row] = this.payload.shape(packed);
      const bits = this.payload.octets(packed);
      const start = ((heads === 1 ? 0 : this.head) * queries + query) * row;
      for (let j = 0; j < K; j++) out[j] &= (bits[start + (j >> 3)] >> (7 - (j & 7))) & 1;
    }
    return out;
  }

  /** The position bias of this query's row; null when there is none. */
  bias(query: number): Float32Array | null {
    const { bias, queries, keys } = this.site;
    if (!bias) return null;
    const [heads, , each, wide] = this.payload.shape(bias.tensor);
    this.biases ??= this.payload.floats(bias.tensor, heads === 1 ? 0 : this.head);
    const values = this.biases;
    if (bias.form === "full") return values.subarray(query * keys, (query + 1) * keys);
    if (bias.form === "blocks") {
      const row = new Float32Array(keys); // of parts that do not see each other: 0 outside of the query's own
      row.set(values.subarray(query * wide, (query + 1) * wide), Math.floor(query / each) * wide);
      return row;
    }
    const start = queries - 1 - query; // key - query + Q - 1 at key 0
    return values.subarray(start, start + keys);
  }

  sink(): number | null {
    return this.site.sinks ? this.payload.floats(this.site.sinks)[this.head] : null;
  }
}

function broken(values: Float32Array): number {
  let found = 0;
  // by index: this runs once, before the first draw, where an iterator is slow; x - x is 0 for finite numbers only
  for (let i = 0; i < values.length; i++) if (values[i] - values[i] !== 0) found++;
  return found;
}

function lengths(vectors: Float32Array, rows: number): Float32Array {
  const size = vectors.length / rows;
  const out = new Float32Array(rows);
  for (let j = 0; j < rows; j++) out[j] = Math.hypot(...vectors.subarray(j * size, (j + 1) * size));
  return out;
}
