/** A table of the stream, made by hand: two layers of two heads, at two of the seven positions, three targets each. */

import type { StreamNote } from "../src/data/metadata";
import type { Streamed } from "./fixture";
import { f32, i32 } from "./made";

const LAYERS = 2;
const TARGETS = 3;
const POSITIONS = [3, 6];

const blocks: StreamNote["blocks"] = [0, 1].flatMap((layer) => [
  { kind: "attention" as const, layer },
  { kind: "mlp" as const, layer },
]);
const parts: StreamNote["parts"] = [
  { kind: "embedding", name: "embedding", block: null, head: null },
  ...blocks.flatMap(({ kind, layer }, block): StreamNote["parts"] =>
    kind === "mlp"
      ? [{ kind: "mlp", name: `L${layer} MLP`, block, head: null }]
      : [0, 1].map((head) => ({ kind: "head", name: `L${layer}H${head}`, block, head })),
  ),
  { kind: "bias", name: "final norm bias", block: null, head: null },
];
/** Of each part, a number for each target: at position 3, and twice that, turned round, at position 6. */
export const GIVEN = [
  [0.5, 0.25, 0],
  [1, -0.5, 0.25],
  [-0.25, 0.5, 0],
  [0.75, 0.25, 0.5],
  [3, 0.5, 0.25],
  [-1, 0.25, 0.75],
  [0.5, 0.75, -0.5],
  [0.125, 0.125, 0.125],
];
const contributions = [GIVEN, GIVEN.map(([a, b, c]) => [2 * c, 2 * b, 2 * a])];
export const LOGITS = contributions.map((rows) => [0, 1, 2].map((c) => rows.reduce((sum, row) => sum + row[c], 0)));

/** `change` of the words; `without` contributions, or without a prediction at all. */
export function streamed(
  change: Partial<StreamNote> = {},
  without: "contributions" | "prediction" | "" = "",
): Streamed {
  const predicts = without !== "prediction";
  const note: StreamNote = {
    stack: null,
    positions: POSITIONS,
    task: predicts ? "next" : "",
    layers: LAYERS,
    blocks,
    parts: without ? [] : parts,
    targets: predicts
      ? POSITIONS.map((p) => [" Mary", " John", " the"].map((text, c) => ({ id: 10 * c + p, text })))
      : [],
    lens_text: predicts ? POSITIONS.map(() => [" on", " the", " Mary"]) : [],
    receipt: { passed: true, stream_error: 2e-7, logit_error: 3e-7, sum_error: 0, tolerance: 1e-4 },
    refused: without ? "there is no head to predict with" : "",
    ...change,
  };
  const tensors = {
    "stream.sizes": f32([2, 3], [1, 2, 4, 1, 3, 9]),
    "stream.writes": f32([2, 4], [1, 0.5, 2, 1, 1, 0.5, 2, 1]),
    "stream.turns": f32([2, 4], [0.5, 1, 0.8, 0, 1, 0.9, 0.8, -0.5]),
  };
  if (predicts)
    Object.assign(tensors, {
      "stream.logits": f32([2, TARGETS], LOGITS.flat()),
      "stream.probabilities": f32([2, TARGETS], [0.62, 0.2, 0.05, 0.5, 0.25, 0.125]),
      "stream.lens_ids": { ...i32([1, 2, 3, 1, 2, 3]), shape: [2, 3] },
      "stream.lens_probabilities": f32([2, 3], [1, 0.4, 0.62, 1, 0.25, 0.5]),
    });
  if (!without)
    Object.assign(tensors, { "stream.contributions": f32([2, parts.length, TARGETS], contributions.flat(2)) });
  return { note, tensors };
}
