/** Payload bytes made by hand, as docs/payload.md describes them. */

import type { Metadata, Site } from "../src/data/metadata";
export type Tensor = { dtype: string; shape: number[]; bytes: Uint8Array };

const octets = (array: ArrayBufferView) => new Uint8Array(array.buffer, array.byteOffset, array.byteLength);

export const f32 = (shape: number[], values: number[]): Tensor => ({
  dtype: "F32",
  shape,
  bytes: octets(Float32Array.from(values)),
});
export const i32 = (values: number[]): Tensor => ({
  dtype: "I32",
  shape: [values.length],
  bytes: octets(Int32Array.from(values)),
});
export const u8 = (shape: number[], values: number[]): Tensor => ({
  dtype: "U8",
  shape,
  bytes: Uint8Array.from(values),
});
export const u16 = (dtype: "F16" | "BF16", shape: number[], bits: number[]): Tensor => ({
  dtype,
  shape,
  bytes: octets(Uint16Array.from(bits)),
});

export function safetensors(tensors: Record<string, Tensor>, metadata: Record<string, string>): Uint8Array {
  const header: Record<string, unknown> = { __metadata__: metadata };
  let at = 0;
  for (const [name, { dtype, shape, bytes }] of Object.entries(tensors)) {
    header[name] = { dtype, shape, data_offsets: [at, at + bytes.length] };
    at += bytes.length;
  }
  const json = new TextEncoder().encode(JSON.stringify(header));
  const out = new Uint8Array(8 + json.length + at);
  new DataView(out.buffer).setUint32(0, json.length, true);
  out.set(json, 8);
  at = 8 + json.length;
  for (const { bytes } of Object.values(tensors)) {
    out.set(bytes, at);
    at += bytes.length;
  }
  return out;
}

export function site(change: Partial<Site> = {}): Site {
  return {
    index: 0,
    path: "layer.0",
    call: 0,
    kind: "self",
    stack: null,
    layer: 0,
    heads: 2,
    kv_heads: 1,
    queries: 3,
    keys: 3,
    head_size: 2,
    value_size: 2,
    scaling: 0.5,
    scaled_by_model: false,
    softcap: null,
    query_tokens: 0,
    key_tokens: 0,
    mask: { lower: null, upper: null, keys: null, rows: null, packed: null, empty_rows: "zero" },
    bias: null,
    sinks: null,
    norms: "value",
    weights_only: false,
    held: { dtype: "F32", heads: [0, 1] },
    receipt: { status: "exact", max_error: 1e-7, tolerance: 1e-4, rows: 3, of: 3, no_key_rows: 0, note: "" },
    ...change,
  };
}

export function meta(sites: Site[], change: Partial<Metadata> = {}): Metadata {
  const words = ["one", "two", "three", "four", "five"];
  return {
    format: "attnscope",
    version: 1,
    trace: "t",
    model: { name: "m", class: "M", type: "m", dtype: "float32", implementation: "sdpa", revision: null },
    versions: {},
    tokens: [
      {
        text: words,
        ids: words.map((_, i) => i),
        special: words.map(() => false),
        words: words.map((_, i) => i),
        word_text: words,
        segments: words.map(() => 0),
        border: null,
      },
    ],
    sites,
    receipt: null,
    notes: [],
    ...change,
  };
}

/** Two query heads over one key/value head: [2, 3, 2], [1, 3, 2], [1, 3, 2]. */
export const QKV = {
  q: [1, 0, 0, 1, 1, 1, 2, -1, 0.5, 0, -1, 3],
  k: [1, 2, -1, 0.5, 3, -2],
  v: [1, 0, 0, 1, 2, 2],
};

export function payload(
  one: Site = site(),
  more: Record<string, Tensor> = {},
  change: Partial<Metadata> = {},
): Uint8Array {
  const tensors = {
    [`s${one.index}.q`]: f32([2, 3, 2], QKV.q),
    [`s${one.index}.k`]: f32([1, 3, 2], QKV.k),
    [`s${one.index}.v`]: f32([1, 3, 2], QKV.v),
    ...more,
  };
  return safetensors(tensors, { attnscope: JSON.stringify(meta([one], change)) });
}
