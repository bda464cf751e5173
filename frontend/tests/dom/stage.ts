/** What DOM tests stand on: sizes and a canvas, which a document without a screen lacks, and a scene of seven tokens. */

import { Ramp } from "../../src/base/scale";
import { INITIAL, type State } from "../../src/base/state";
import type { HeadTensors } from "../../src/data/head-tensors";
import { Payload } from "../../src/data/payload";
import { Holdings, type Source } from "../../src/data/source";
import { labels } from "../../src/scene/labels";
import type { Actions } from "../../src/scene/level";
import { type Scene, scene } from "../../src/scene/scene";
import { f32, meta, safetensors, site, u8 } from "../made";

export const WIDTH = 960;
export const HEIGHT = 420;
export const WORDS = ["The", "cat", "sat", "on", "its", "mat", "."];
const KEYS = WORDS.length;
const SIZE = 5;

/** Every element is as large; every method of a canvas does nothing. */
export function stage(): void {
  for (const [name, value] of [
    ["clientWidth", WIDTH],
    ["clientHeight", HEIGHT],
    ["offsetHeight", 24],
  ] as const)
    Object.defineProperty(HTMLElement.prototype, name, { configurable: true, get: () => value });
  const nothing = new Proxy({} as Record<string | symbol, unknown>, {
    get: (target, name) =>
      name === "measureText"
        ? (text: string) => ({ width: 7 * text.length })
        : name === "createImageData" || name === "getImageData"
          ? (w: number, h: number) => ({ data: new Uint8ClampedArray(4 * w * h), width: w, height: h })
          : (target[name] ?? (() => {})),
    set: (target, name, value) => {
      target[name] = value;
      return true;
    },
  });
  HTMLCanvasElement.prototype.getContext = (() => nothing) as never;
  HTMLCanvasElement.prototype.toDataURL = () => "data:image/png;base64,";
  Element.prototype.scrollIntoView = () => {};
  globalThis.Path2D ??= class {
    moveTo() {}
    lineTo() {}
    bezierCurveTo() {}
  } as never;
  globalThis.ImageData ??= class {
    constructor(
      readonly data: Uint8ClampedArray,
      readonly width: number,
    ) {}
  } as never;
}

/** Numbers that look like noise and are the same each time. */
const noise = (n: number, seed: number) =>
  Array.from({ length: n }, (_, i) => Math.round(1000 * Math.sin((i + 1) * 12.9898 + seed * 78.233)) / 500);

const MASK = { lower: null, upper: 0, keys: null, rows: null, packed: null, empty_rows: "zero" as const };

/** Two layers of two heads, causal, with thumbnails and statistics. */
export function source(): Source {
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
    step_names: {
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
    },
    stat_titles: { special: "on special tokens", distance: "mean distance" },
    stat_units: { special: "part", distance: "tokens" },
  };
  const payload = new Payload(safetensors(tensors, { attnscope: JSON.stringify(described) }));
  const holdings = new Holdings(payload.meta);
  holdings.add(payload);
  return {
    meta: payload.meta,
    live: false,
    holds: (index, head) => holdings.holds(index, head),
    head: (index, head) => holdings.head(index, head) as HeadTensors,
    octets: (name) => (payload.has(name) ? payload.octets(name) : null),
  };
}

export function sceneAt(of: Source, change: Partial<State> = {}): Scene {
  const state = { ...INITIAL, query: 5, ...change };
  const found = of.meta.sites.find(({ layer }) => layer === state.layer)?.index ?? 0;
  const palette = { negative: "#1d5fb4", zero: "#ecebe7", positive: "#c4500d", ink: "#1a1a1a", ground: "#ffffff" };
  const look = { ramp: new Ramp(palette), dimSpecial: false };
  return scene(of.meta, of.head(found, state.head) as HeadTensors, state, of.meta.tokens.map(labels), look);
}

/** Actions that remember what they were asked for. */
export function actions(): Actions & { asked: Partial<State>[]; said: string[] } {
  const asked: Partial<State>[] = [];
  const said: string[] = [];
  return {
    asked,
    said,
    set: (change) => asked.push(change),
    go: (change) => asked.push(change),
    say: (text) => said.push(text),
    notice: (text) => said.push(text),
  };
}

export const press = (element: Element, key: string, more: KeyboardEventInit = {}) =>
  element.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true, ...more }));
