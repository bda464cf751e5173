/** A small payload, made by hand: what the DOM tests draw, and what `npm run dev` shows. */

import type { Metadata, StreamNote } from "../src/data/metadata";
import { f32, meta, safetensors, site, type Tensor, u8 } from "./made";

export interface Streamed {
  note: StreamNote;
  tensors: Record<string, Tensor>;
}

export const WORDS = ["The", "cat", "sat", "on", "its", "mat", "."];
const KEYS = WORDS.length;
const SIZE = 5;

/** Numbers that look like noise and are the same each time. */
const noise = (n: number, seed: number) =>
  Array.from({ length: n }, (_, i) => Math.round(1000 * Math.sin((i + 1) * 12.9898 + seed * 78.233)) / 500);

const MASK = { lower: null, upper: 0, keys: null, rows: null, packed: null, empty_rows: "zero" as const };

/** As Python writes them: number, symbol and title. */
const STEP_NAMES: Metadata["step_names"] = {
  x: ["1", "x", "x"],
  query: ["2", "q", "q"],
  query_norm: ["2a", "q", "norm"],
  query_rotary: ["2b", "q", "rotary embedding"],
  keys: ["3", "k", "k"],
  key_norm: ["3a", "k", "norm"],
  key_rotary: ["3b", "k", "rotary embedding"],
  values: ["3c", "v", "v"],
  products: ["4", "q × k", "q × k"],
  dot: ["5", "q · k", "q · k"],
  scaled: ["6", "scaled", "scaling"],
  capped: ["7", "capped", "softcap"],
  biased: ["8", "biased", "position bias"],
  masked: ["9", "score", "mask"],
  weights: ["10", "weight", "softmax"],
  output: ["11", "z", "z"],
  write: ["12", "z · W_O", "write"],
};

/** Two layers of two heads, causal, with thumbnails and statistics; `streamed`: with the table of the stream, from stream-fixture.ts. */
export function bytes(streamed: Streamed | null = null): Uint8Array {
  const thumb = (index: number) => ({
    tensor: `t${index}`,
    rows: KEYS,
    columns: KEYS,
    method: "max",
    steps: 253,
    masked: 254,
    broken: 255,
    queries_sampled: null,
  });
  const sites = [0, 1].map((index) =>
    site({
      index,
      layer: index,
      path: `layer.${index}`,
      queries: KEYS,
      keys: KEYS,
      head_size: SIZE,
      value_size: SIZE,
      scaling: SIZE ** -0.5,
      mask: { ...MASK, words: "causal" },
      thumb: thumb(index),
      stats: { special: [0.25, 0.5], distance: [1.5 + index, 2.5] },
      links: [
        [4, 1, 0.5],
        [5, 2, 0.75],
      ],
    }),
  );
  const pooled = (index: number) =>
    Array.from({ length: 2 * KEYS * KEYS }, (_, i) => {
      const [row, column] = [Math.floor(i / KEYS) % KEYS, i % KEYS];
      return column > row ? 254 : (37 * (i + 1) * (index + 1)) % 253;
    });
  const tensors = Object.fromEntries(
    [0, 1].flatMap((index) => [
      [`s${index}.q`, f32([2, KEYS, SIZE], noise(2 * KEYS * SIZE, index))],
      [`s${index}.k`, f32([1, KEYS, SIZE], noise(KEYS * SIZE, index + 7))],
      [`s${index}.v`, f32([1, KEYS, SIZE], noise(KEYS * SIZE, index + 13))],
      [`t${index}`, u8([2, KEYS, KEYS], pooled(index))],
    ]),
  );
  const table = { ...meta([]).tokens[0], text: WORDS, words: WORDS.map((_, i) => i), word_text: WORDS };
  const described = {
    ...meta(sites),
    tokens: [
      {
        ...table,
        ids: WORDS.map((_, i) => i),
        special: WORDS.map((word) => word === "."),
        segments: WORDS.map(() => 0),
      },
    ],
    stat_words: { special: "Of special tokens.", distance: "How far." },
    stat_titles: { special: "on special tokens", distance: "mean distance" },
    stat_units: { special: "part", distance: "tokens" },
    step_names: STEP_NAMES,
    ...(streamed && { stream: streamed.note }),
  };
  Object.assign(tensors, streamed?.tensors);
  return safetensors(tensors, { attnscope: JSON.stringify(described) });
}
