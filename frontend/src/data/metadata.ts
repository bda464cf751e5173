/** What a payload says of the trace: the JSON string beside its tensors. docs/payload.md is the contract. */

export interface TokenTable {
  text: string[];
  ids: number[];
  special: boolean[];
  words: (number | null)[];
  word_text: string[];
  segments: number[];
  border: number | null;
  /** What is shown for each token; its word, empty where the token is all of it; whether no space stands before it. */
  shown?: string[];
  whole?: string[];
  tight?: boolean[];
  /** Of a chat: the turn of each token, null before the first, and who speaks in each turn. */
  turns?: (number | null)[];
  roles?: string[];
  /** What the model gave each token that it generated, its rank from 1, and the most probable other one; null for what it read. */
  probability?: (number | null)[];
  rank?: (number | null)[];
  runner_up?: ([string, number] | null)[];
  /** Of images: which tokens are patches, and what the model saw. */
  grids?: PatchGrid[];
  /** Of what was heard: its positions, and a small picture. */
  sound?: Sound;
  /** Name, kind, first token, the token behind the last, and the number of the group that it lies in. */
  groups?: [name: string, kind: string, start: number, stop: number, parent: number | null][];
  /** Where each token stands in the text: [start, end). May be missing or empty. */
  offsets?: [number, number][];
}

/** An image cut into patches: the token of each, row by row, -1 where none of them is it; the picture as base64 of a PNG, "" where it is not known. */
export interface PatchGrid {
  rows: number;
  columns: number;
  tokens: number[];
  png?: string;
}

/** A sound along the first positions: `each` seconds apart. Its picture is base64 of rows × columns bytes: a spectrogram, the
 * highest frequency first; or a waveform, the largest and the smallest sample of each column, where 128 is 0. */
export interface Sound {
  positions: number;
  each: number;
  kind: "spectrogram" | "waveform";
  rows: number;
  columns: number;
  pixels: string;
}

export interface MaskRule {
  lower: number | null;
  upper: number | null;
  keys: string | null;
  rows: string | null;
  packed: string | null;
  empty_rows: "zero" | "uniform";
  /** The rule for people: "causal, window of 4 tokens". */
  words?: string;
}

export interface SiteReceipt {
  status: "exact" | "weights_only" | "unverified" | "failed";
  max_error: JsonNumber | null;
  tolerance: JsonNumber | null;
  rows: number;
  of: number;
  no_key_rows: number;
  note: string;
  /** Of what the heads write, added up, against what the output projection returned; null where that is not known. */
  write_error?: JsonNumber | null;
  write_tolerance?: JsonNumber | null;
}

/** NaN and infinities are strings in JSON. */
export type JsonNumber = number | "nan" | "inf" | "-inf";

export interface Site {
  index: number;
  path: string;
  call: number;
  kind: "self" | "cross";
  stack: string | null;
  layer: number;
  heads: number;
  kv_heads: number;
  queries: number;
  keys: number;
  /** The position of query 0 among the tokens: above 0 in a cached step, where earlier tokens are keys only. */
  query_offset?: number;
  head_size: number;
  value_size: number;
  scaling: number;
  scaled_by_model: boolean;
  softcap: number | null;
  query_tokens: number;
  key_tokens: number;
  mask: MaskRule;
  bias: { form: "diagonals" | "full" | "blocks"; tensor: string } | null;
  sinks: string | null;
  norms: "output" | "value";
  weights_only: boolean;
  /** Why a layer that takes the heads' output gives no W_O. */
  no_projection?: string;
  held: { dtype: string; heads: number[] } | null;
  receipt: SiteReceipt;
  /** What the trace keeps beyond q, k and v, and the heads for which it is in these bytes. */
  steps?: SiteSteps;
  /** Of every site, held or not, in the first block of a view. */
  thumb?: Thumb;
  /** Of heads that a page does not hold. */
  picture?: Thumb & { heads: number[] };
  /** A number per head; null where no query allows one. */
  stats?: Record<string, (number | null)[]>;
  /** Query, key and weight of each head's strongest link between two tokens that are not special. */
  links?: ([number, number, number] | null)[];
  /** What each head was found to do in other texts, the best first; only where roles were given. */
  roles?: Role[][];
  /** Keys that most heads give much weight to, as positions. */
  sink_tokens?: number[];
  /** What the query that the view opens on does in every head: names of tensors. */
  row?: QueryRowNote;
}

/** A role that the evidence carries: a name for a thumbnail, the claim in a sentence, how often from 0 to 1. `rests`: a sink. */
export interface Role {
  name: string;
  sentence: string;
  value: number;
  rests: boolean;
  /** Of an effect, `value` is clean − edited, and it rests within its band; left out of a role. */
  kind?: "effect";
}

/** weights and shares [H, K], writes [H]: ‖write‖; null where it is not known. */
export interface QueryRowNote {
  query: number;
  weights: string;
  shares: string | null;
  writes: string | null;
}

/** Where the pooled weights of a site's heads are, U8 [heads, rows, columns], and what its bytes mean. */
export interface Thumb {
  tensor: string;
  rows: number;
  columns: number;
  method: string;
  /** A byte up to here is a weight times it. */
  steps: number;
  /** The byte of no difference, where bytes on either side of it are differences: (byte - zero) / steps. */
  zero?: number;
  masked: number;
  broken: number;
  queries_sampled: number | null;
  /** How many queries and keys it is of, where the silence behind a sound is cut off. */
  queries?: number;
  keys?: number;
}

export interface SiteSteps {
  heads: number[];
  kept: string[];
  /** Bytes of one head, and of all. */
  bytes: number;
  all_bytes: number;
  projections: Partial<Record<"q" | "k" | "v", ProjectionNote>>;
}

/** Where W_q, W_k or W_v stands in the model, and what the model does with what it makes. */
export interface ProjectionNote {
  path: string;
  norm: string;
  factor: number;
  flipped: boolean;
  first: number;
  head_step: number;
  size_step: number;
}

/** Where the tokens of both texts, merged into one row, stand in each; null: not there. */
export interface Places {
  a: (number | null)[];
  b: (number | null)[];
}

/** One block that writes into the residual stream; "cross": attention to another text. */
export interface StreamBlock {
  kind: "attention" | "cross" | "mlp";
  layer: number;
}

/** One term of the sum that is a logit; `block`: which block wrote it, null where none did. "attention": of a block whose heads cannot be told apart. */
export interface StreamPart {
  kind: "embedding" | "head" | "attention" | "mlp" | "bias" | "softcap";
  name: string;
  block: number | null;
  head: number | null;
}

/** What may be predicted: a token, or a label. */
export interface StreamTarget {
  id: number;
  text: string;
}

/** Whether the parts are the model's own numbers: largest differences, of the largest number and (sum_error) in logits. */
export interface StreamReceipt {
  passed: boolean;
  stream_error: JsonNumber;
  logit_error: JsonNumber | null;
  sum_error: JsonNumber | null;
  tolerance: JsonNumber;
}

/** How the residual stream became a prediction, at chosen positions; its numbers are tensors named "stream.…". */
export interface StreamNote {
  stack: string | null;
  positions: number[];
  task: "next" | "fill" | "label" | "";
  layers: number;
  blocks: StreamBlock[];
  parts: StreamPart[];
  targets: StreamTarget[][];
  lens_text: string[][];
  receipt: StreamReceipt;
  /** Why there are no contributions. */
  refused: string;
}

/** What was traced, as arguments of `attnscope.load` ("model" is the name) and `attnscope.trace`. */
export type TraceSource = Record<string, unknown>;

export interface Metadata {
  format: string;
  version: number;
  trace: string;
  model: { name: string; class: string; type: string; dtype: string; implementation: string; revision: string | null };
  versions: Record<string, string>;
  tokens: TokenTable[];
  sites: Site[];
  receipt: {
    passed: boolean;
    max_error: JsonNumber | null;
    tolerance: JsonNumber | null;
    rows: number;
    of: number;
  } | null;
  notes: string[];
  source?: TraceSource | null;
  /** What `show` sets by itself for this trace, where nobody says another value. */
  look?: { special?: "show" | "hide" };
  /** What the numbers in `stats` are: a sentence, a title, a unit. */
  stat_words?: Record<string, string>;
  stat_titles?: Record<string, string>;
  stat_units?: Record<string, string>;
  /** Of each step of the chain: its number, its symbol in a formula, its title. */
  step_names?: Record<string, [number: string, symbol: string, title: string]>;
  /** The residual stream, where the trace keeps it. */
  stream?: StreamNote;
  /** Of a comparison: which sites of A and B each site stands for, and where each token of a table stands in them. */
  pair?: { sites: [number, number][]; places: Places[] };
}

export function number(value: JsonNumber | null | undefined): number {
  if (value === "inf") return Number.POSITIVE_INFINITY;
  if (value === "-inf") return Number.NEGATIVE_INFINITY;
  return typeof value === "number" ? value : Number.NaN;
}
