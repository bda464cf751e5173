/** Written by tools/generate.py from src/attnscope/views/state.py: change the table there, and run it. */

export const LEVELS = ["stream", "model", "head", "matrix", "neuron", "steps"] as const;
export const ALIASES: Record<string, string> = { lines: "head", grid: "matrix" };

export const CHOICES = {
  level: ["stream", "model", "head", "matrix", "neuron", "steps"],
  theme: ["auto", "light", "dark"],
  filter: ["all", "aa", "ab", "ba", "bb"],
  average: ["none", "heads", "layers", "all"],
  combine: ["mean", "sum"],
  quantity: ["weights", "scores", "dot"],
  special: ["show", "hide"],
  thumbs: ["matrix", "lines"],
  side: ["a", "b", "difference"],
} as const;

export interface State {
  /** The level that is drawn. */
  level: (typeof CHOICES.level)[number];
  /** The stack, for models with several. */
  stack: string | null;
  /** The layer, counted from 0. */
  layer: number;
  /** The head, counted from 0. */
  head: number;
  /** The query token's position. */
  query: number;
  /** The pinned key; None follows the strongest key of the query, special and sink tokens aside. */
  key: number | null;
  /** The page's colours. */
  theme: (typeof CHOICES.theme)[number];
  /** Of a pair of texts: the text of the query, then the text of the keys that are shown. */
  filter: (typeof CHOICES.filter)[number];
  /** Heads drawn over each other beside `head`, in this order. */
  heads: number[];
  /** The mean over the heads of the layer, over this head of all layers, or over all heads. */
  average: (typeof CHOICES.average)[number];
  /** Query tokens selected beside `query`. */
  queries: number[];
  /** How the rows of these queries become one. */
  combine: (typeof CHOICES.combine)[number];
  /** Weights below it are not drawn at the head level. */
  threshold: number;
  /** What the matrix shows. */
  quantity: (typeof CHOICES.quantity)[number];
  /** Whether the matrix is on a logarithmic scale. */
  log: boolean;
  /** Whether the pieces of a word are drawn as one. */
  words: boolean;
  /** The group of tokens that is looked at, by its number among the groups. */
  group: number | null;
  /** Whether each group of tokens is drawn as one, but for the one that is looked at. */
  pooled: boolean;
  /** Whether special tokens and sink tokens are drawn. */
  special: (typeof CHOICES.special)[number];
  /** The order of the heads at the model level: layer, a statistic, pair or pair_write for the chosen pair, group for the group. */
  sort: string;
  /** How the model level draws a head. */
  thumbs: (typeof CHOICES.thumbs)[number];
  /** The dimension that the running dot product of the steps has reached. */
  dim: number | null;
  /** The token or label whose logit the stream adds up to, by its id; None: the most probable. */
  target: number | null;
  /** The one whose logit is subtracted, by its id; None: the most probable other one. */
  against: number | null;
  /** Edits that hold while a live view asks for predictions, such as off_L2H8. */
  edits: string[];
  /** Whether the stream is drawn as a lens grid: positions by layers. */
  lens: boolean;
  /** Of a comparison: trace A, trace B, or B − A, whose queries and keys count along the merged row of tokens. */
  side: (typeof CHOICES.side)[number];
  /** Why the view opened here, where you did not choose the place. */
  why: string | null;
}

export const INITIAL: State = {
  level: "head",
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
  threshold: 0.03,
  quantity: "weights",
  log: false,
  words: false,
  group: null,
  pooled: false,
  special: "show",
  sort: "layer",
  thumbs: "matrix",
  dim: null,
  target: null,
  against: null,
  edits: [],
  lens: false,
  side: "a",
  why: null,
};

export type Kind =
  | "position"
  | "optional position"
  | "positions"
  | "weight"
  | "flag"
  | "edits"
  | "choice"
  | "name"
  | "text";

export const KINDS: Record<keyof State, Kind> = {
  level: "choice",
  stack: "text",
  layer: "position",
  head: "position",
  query: "position",
  key: "optional position",
  theme: "choice",
  filter: "choice",
  heads: "positions",
  average: "choice",
  queries: "positions",
  combine: "choice",
  threshold: "weight",
  quantity: "choice",
  log: "flag",
  words: "flag",
  group: "optional position",
  pooled: "flag",
  special: "choice",
  sort: "name",
  thumbs: "choice",
  dim: "optional position",
  target: "optional position",
  against: "optional position",
  edits: "edits",
  lens: "flag",
  side: "choice",
  why: "text",
};

export const EXPECTED: Record<Kind, string> = {
  position: "a whole number from 0",
  "optional position": "a whole number from 0",
  positions: "whole numbers from 0 with commas between",
  weight: "a number from 0 to 1",
  flag: "1 or 0",
  edits: "edits such as off_L2H8, with commas between",
  choice: "one of the choices",
  name: "the name of a statistic",
  text: "text",
};

/** Always in an address, whatever they are. */
export const ALWAYS = ["layer", "head", "query"] as const;
/** Which head is looked at. */
export const PLACE = ["stack", "layer", "head"] as const;
/** How it is drawn: a server's page keeps these for the next text. */
export const LOOK = [
  "level",
  "theme",
  "average",
  "combine",
  "threshold",
  "quantity",
  "log",
  "words",
  "pooled",
  "special",
  "sort",
  "thumbs",
  "lens",
] as const;
