/** The column of one position, from the embedding to the prediction: what each block and each head adds. Numbers only. */

import { number, type StreamBlock, type StreamPart } from "../data/metadata";
import type { StreamTable } from "../data/stream";
import { shown, told } from "./target-names";

/** One row: the embedding, a block, or what is of no block; with the parts that it is the sum of. */
export interface Line {
  id: string;
  kind: StreamPart["kind"] | StreamBlock["kind"] | "fold";
  /** "L3 attention", "L3H5". */
  name: string;
  layer: number | null;
  block: number | null;
  head: number | null;
  /** To logit(target) − logit(against); null where nothing is attributed. */
  value: number | null;
  /** The sum of all rows up to this one; null for a part of a row. */
  running: number | null;
  /** Degrees between x before and after the block, and ‖what it added‖; null for what is no block. */
  turn: number | null;
  write: number | null;
  /** The stage that it ends, if any: 0 is the embedding, l + 1 layer l. */
  stage: number | null;
  /** Several parts, the largest first; none where the row is one part. */
  parts: Line[];
  /** How many blocks stand together in this row; 0: it is one. */
  folded: number;
}

export interface Prediction {
  id: number;
  text: string;
  logit: number;
  probability: number;
}

export interface Column {
  position: number;
  row: number;
  predictions: Prediction[];
  target: Prediction | null;
  /** null where there is nothing to compare with. */
  against: Prediction | null;
  /** logit(target) − logit(against). */
  difference: number;
  lines: Line[];
  /** Whether the rows carry contributions. */
  attributed: boolean;
  /** Of each stage: ‖x‖, the lens's token and its probability. */
  sizes: Float32Array;
  lensText: string[];
  lens: Float32Array;
  receipt: Check;
}

/** Whether these are the model's own numbers, and whether the parts add up, computed again here. */
export interface Check {
  passed: boolean;
  /** |Σ parts − logit|, the largest over the targets; null without contributions. */
  mine: number | null;
  parts: number;
}

export const TURN = 180 / Math.PI;

/** The column of a row of the table. Ids that this position does not offer give way to the most probable. */
export function columnOf(table: StreamTable, row: number, wanted: number | null, other: number | null): Column {
  const { note, columns } = table;
  const [logits, probabilities] = [table.logits(row), table.probabilities(row)];
  const targets = note.targets[row] ?? [];
  const names = told(targets.map(({ text }) => text));
  const predictions = targets.map(({ id }, c) => ({
    id,
    text: names[c],
    logit: logits[c],
    probability: probabilities[c],
  }));
  const at = (id: number | null, not: number) => {
    const found = predictions.findIndex((one) => one.id === id);
    return found >= 0 && found !== not ? found : predictions.findIndex((_, c) => c !== not);
  };
  // an alternative that the reader chose keeps its place, where only it was chosen
  const target = at(wanted, wanted === null ? predictions.findIndex((one) => one.id === other) : -1);
  const against = predictions.length > 1 ? at(other, target) : -1;
  const given = table.contributions(row);
  const receipt = check(table, row, given);
  const attributed = given !== null && target >= 0 && receipt.passed;
  const value = (part: number) =>
    attributed ? given[part * columns + target] - (against < 0 ? 0 : given[part * columns + against]) : null;
  const lines = linesOf(table, row, value);
  return {
    position: note.positions[row],
    row,
    predictions,
    target: predictions[target] ?? null,
    against: predictions[against] ?? null,
    difference: target < 0 ? 0 : logits[target] - (against < 0 ? 0 : logits[against]),
    lines,
    attributed,
    sizes: table.sizes(row),
    lensText: (note.lens_text[row] ?? []).map(shown),
    lens: table.lens(row),
    receipt,
  };
}

/** Every head, MLP, embedding and bias by itself. */
export const partsOf = (lines: Line[]): Line[] => lines.flatMap((line) => (line.parts.length ? line.parts : [line]));

function linesOf(table: StreamTable, row: number, value: (part: number) => number | null): Line[] {
  const { note } = table;
  const [turns, writes] = [table.turns(row), table.writes(row)];
  const leaf = (part: StreamPart, n: number): Line => ({
    ...EMPTY,
    id: `p${n}`,
    kind: part.kind,
    name: part.name,
    layer: part.block === null ? null : note.blocks[part.block].layer,
    block: part.block,
    head: part.head,
    value: value(n),
  });
  const leaves = note.parts.map(leaf);
  const attributed = leaves.length > 0 && leaves[0].value !== null;
  const blocks = note.blocks.map(({ kind, layer }, b): Line => {
    const next = note.blocks[b + 1];
    return {
      ...summed(
        leaves.filter(({ block }) => block === b),
        attributed,
      ),
      id: `b${b}`,
      kind,
      name: blockName({ kind, layer }),
      layer,
      block: b,
      turn: TURN * Math.acos(Math.max(-1, Math.min(1, turns[b]))),
      write: writes[b],
      stage: next?.layer === layer ? null : layer + 1,
    };
  });
  const first = leaves.filter(({ kind, block }) => block === null && kind === "embedding");
  const embedding: Line = {
    ...summed(first, attributed),
    id: "embedding",
    kind: "embedding",
    name: "embedding",
    stage: 0,
  };
  // what is of no block has no turn and no length: nothing but what it adds
  const rest = attributed ? leaves.filter(({ kind, block }) => block === null && kind !== "embedding") : [];
  const biases = rest.filter(({ kind }) => kind === "bias");
  const other: Line = { ...summed(biases, attributed), id: "biases", kind: "bias", name: "other biases" };
  const lines = [
    embedding,
    ...blocks,
    ...(biases.length > 1 ? [other, ...rest.filter(({ kind }) => kind !== "bias")] : rest),
  ];
  let running = 0;
  for (const line of lines) {
    if (line.value === null) continue;
    running += line.value;
    line.running = running;
  }
  return lines;
}

export const EMPTY: Line = {
  id: "",
  kind: "bias",
  name: "",
  layer: null,
  block: null,
  head: null,
  value: null,
  running: null,
  turn: null,
  write: null,
  stage: null,
  parts: [],
  folded: 0,
};

/** A row of these parts; one alone is the row itself. */
function summed(parts: Line[], attributed: boolean): Line {
  const size = ({ value }: Line) => Math.abs(value ?? 0);
  return {
    ...EMPTY,
    value: attributed ? parts.reduce((sum, { value }) => sum + (value ?? 0), 0) : null,
    head: parts.length === 1 ? parts[0].head : null,
    parts: attributed && parts.length > 1 ? [...parts].sort((a, b) => size(b) - size(a)) : [],
  };
}

export const blockName = ({ kind, layer }: StreamBlock) => `L${layer} ${kindName(kind)}`;

export const kindName = (kind: Line["kind"]) =>
  kind === "mlp" ? "MLP" : kind === "cross" ? "cross-attention" : (kind as string);

/** The parts of every target, added up once more, beside its logit. */
function check(table: StreamTable, row: number, given: Float32Array | null): Check {
  const { note, columns } = table;
  const { passed, tolerance } = note.receipt;
  const parts = note.parts.length;
  if (!given || !note.targets[row].length) return { passed, mine: null, parts };
  const logits = table.logits(row);
  let mine = 0;
  let largest = 0;
  for (let c = 0; c < columns; c++) {
    let sum = 0;
    for (let n = 0; n < parts; n++) {
      sum += given[n * columns + c];
      largest = Math.max(largest, Math.abs(given[n * columns + c]));
    }
    largest = Math.max(largest, Math.abs(logits[c]));
    const apart = Math.abs(sum - logits[c]);
    mine = Number.isNaN(apart) ? Number.POSITIVE_INFINITY : Math.max(mine, apart);
  }
  return { passed: passed && mine <= Math.max(number(tolerance), 1e-5) * Math.max(1, largest), mine, parts };
}
