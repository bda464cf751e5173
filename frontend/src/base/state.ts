/** What is being looked at, and how it is written into a page's URL: `#layer=2&head=8&query=8&key=9`. */

export type Theme = "auto" | "light" | "dark";
export type Filter = "all" | "aa" | "ab" | "ba" | "bb";
export const THEMES: readonly Theme[] = ["auto", "light", "dark"];
export const FILTERS: readonly Filter[] = ["all", "aa", "ab", "ba", "bb"];
export const LEVELS = ["model", "head", "matrix", "neuron", "steps"] as const;
export type LevelName = (typeof LEVELS)[number];
/** What a head's picture is the mean of. */
export const AVERAGES = ["none", "heads", "layers", "all"] as const;
export const COMBINATIONS = ["mean", "sum"] as const;
export const QUANTITIES = ["weights", "scores", "dot"] as const;
export const SPECIALS = ["show", "hide"] as const;
/** Of two traces that are compared: A, B, or B − A. */
export const SIDES = ["a", "b", "difference"] as const;
export type Side = (typeof SIDES)[number];
export const THUMBS = ["matrix", "lines"] as const;

export interface State {
  level: LevelName;
  stack: string | null;
  layer: number;
  head: number;
  query: number;
  /** The pinned key; null follows the strongest key of the query. */
  key: number | null;
  theme: Theme;
  filter: Filter;
  /** head: heads drawn over each other beside `head`, in the order they were picked. */
  heads: number[];
  /** head, matrix: the mean over the heads of the layer, over this head of all layers, or over all. */
  average: (typeof AVERAGES)[number];
  /** head: query tokens selected beside `query`, and how their rows become one. */
  queries: number[];
  combine: (typeof COMBINATIONS)[number];
  /** head: weights below are not drawn; how much that leaves out is said. */
  threshold: number;
  /** matrix: what the cells hold, and whether on a logarithmic scale. */
  quantity: (typeof QUANTITIES)[number];
  log: boolean;
  /** Pieces of a word drawn as one: their weights summed as keys, averaged as queries. */
  words: boolean;
  special: (typeof SPECIALS)[number];
  /** model: by layer, or by a statistic of the payload; how a thumbnail is drawn. */
  sort: string;
  thumbs: (typeof THUMBS)[number];
  /** steps: the dimension the running dot product has come to; null shows all of it. */
  dim: number | null;
  /** Which side of a comparison; `query` and `key` count its tokens. A view of one trace has side a only. */
  side: Side;
  /** Why this place was chosen, when the reader did not choose it. */
  why: string | null;
}

export const INITIAL: State = {
  level: "neuron",
  stack: null,
  layer: 0,
  head: 0,
  query: 0,
  key: null,
  theme: "auto",
  filter: "all",
  heads: [],
  average: "none",
  queries: [],
  combine: "mean",
  threshold: 0,
  quantity: "weights",
  log: false,
  words: false,
  special: "show",
  sort: "layer",
  thumbs: "matrix",
  dim: null,
  side: "a",
  why: null,
};

/** What a field may hold, and how that is said. */
type Reader = { read(text: string): unknown; expected: string };

const whole = (text: string) => (/^\d{1,9}$/.test(text) ? Number(text) : undefined);
const position: Reader = { read: whole, expected: "a whole number from 0" };
const optional: Reader = { read: (text) => (text === "" ? null : whole(text)), expected: position.expected };
const words: Reader = { read: (text) => text || null, expected: "text" };
const oneOf = (choices: readonly string[]): Reader => ({
  read: (text) => choices.find((choice) => choice === text),
  expected: `one of ${choices.join(", ")}`,
});
const several: Reader = {
  read: (text) => {
    const numbers = text === "" ? [] : text.split(",").map((part) => whole(part.trim()));
    return numbers.length <= 1000 && numbers.every((n) => n !== undefined) ? [...new Set(numbers)] : undefined;
  },
  expected: "whole numbers from 0 with commas between",
};
const part: Reader = {
  read: (text) => (/^(0(\.\d{1,9})?|1(\.0{1,9})?|\d(\.\d{1,9})?e-\d{1,2})$/.test(text) ? Number(text) : undefined),
  expected: "a number from 0 to 1",
};
const flag: Reader = {
  read: (text) => ({ 1: true, true: true, 0: false, false: false })[text],
  expected: "1 or 0",
};

const READERS: Record<keyof State, Reader> = {
  level: oneOf(LEVELS),
  stack: words,
  layer: position,
  head: position,
  query: position,
  key: optional,
  theme: { ...oneOf(THEMES), read: (text) => oneOf(THEMES).read(text === "system" ? "auto" : text) },
  filter: oneOf(FILTERS),
  heads: several,
  average: oneOf(AVERAGES),
  queries: several,
  combine: oneOf(COMBINATIONS),
  threshold: part,
  quantity: oneOf(QUANTITIES),
  log: flag,
  words: flag,
  special: oneOf(SPECIALS),
  sort: { read: (text) => (/^[a-z_]{1,40}$/.test(text) ? text : undefined), expected: "the name of a statistic" },
  thumbs: oneOf(THUMBS),
  dim: optional,
  side: oneOf(SIDES),
  why: words,
};
/** Fields for which an empty text means something; elsewhere it means "as it was". */
const MAY_BE_EMPTY: ReadonlySet<string> = new Set(["stack", "key", "heads", "queries", "dim", "why"]);

/** Reads a hash or the traits of a widget; what cannot be read is left out and said in `problems`. */
export function parse(entries: Iterable<[string, unknown]>): { state: Partial<State>; problems: string[] } {
  const state: Record<string, unknown> = {};
  const problems: string[] = [];
  for (const [name, value] of entries) {
    if (!Object.hasOwn(READERS, name)) continue;
    const text = value === null || value === undefined ? "" : String(value);
    if (text === "" && !MAY_BE_EMPTY.has(name)) continue;
    const { read, expected } = READERS[name as keyof State];
    const found = read(text);
    if (found !== undefined) state[name] = found;
    else problems.push(`${name}=${text.slice(0, 40)} is not ${expected}; it is left as it was.`);
  }
  return { state: state as Partial<State>, problems };
}

export function fromHash(hash: string): { state: Partial<State>; problems: string[] } {
  return parse(new URLSearchParams(hash.replace(/^#/, "")));
}

/** Always in the address, whatever they are. */
const ALWAYS: ReadonlySet<string> = new Set(["layer", "head", "query"]);

/** Defaults are left out; layer, head and query always stand in it. */
export function toHash(state: State): string {
  const entries: [string, string][] = [];
  for (const name of Object.keys(INITIAL) as (keyof State)[]) {
    if (name === "why") continue;
    const text = spelled(state[name]);
    if (ALWAYS.has(name) || text !== spelled(INITIAL[name])) entries.push([name, text]);
  }
  return `#${new URLSearchParams(entries)}`;
}

function spelled(value: State[keyof State]): string {
  if (typeof value === "boolean") return value ? "1" : "0";
  return value === null ? "" : String(value);
}
