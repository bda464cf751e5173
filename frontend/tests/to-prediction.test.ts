/** The steps behind the write: their sums against the table of the stream, read by hand. */

import { describe, expect, it } from "vitest";
import type { StreamNote } from "../src/data/metadata";
import { Payload } from "../src/data/payload";
import { StreamTable, streamOf } from "../src/data/stream";
import type { Step } from "../src/levels/steps/step";
import { toPrediction } from "../src/levels/steps/to-prediction";
import type { Scene } from "../src/scene/scene";
import { bytes } from "./fixture";
import { GIVEN, LOGITS, streamed } from "./stream-fixture";

const payload = new Payload(bytes(streamed()));
const tableOf = (of: Payload) => streamOf({ meta: of.meta, floats: (name) => (of.has(name) ? of.floats(name) : null) });
const sceneAt = (layer: number, query: number, head = 1): Scene =>
  ({
    meta: payload.meta,
    site: payload.meta.sites[layer],
    state: { head, target: null, against: null },
    query,
  }) as unknown as Scene;
const stepsAt = (layer: number, query: number, head?: number) =>
  new Map(toPrediction(sceneAt(layer, query, head), tableOf(payload)).map((step) => [step.id, step as Step]));
const numberOf = (step: Step | undefined, id: string) => step?.scalars?.find((one) => one.id === id)?.value;

describe("from the write to the prediction", () => {
  // At position 3 the most probable is target 0, then 2 or 1: their logits say which.
  const [first, second] = [0, 1, 2].sort((a, b) => LOGITS[0][b] - LOGITS[0][a]);
  const parts = GIVEN.map((row) => row[0] - row[1]);
  const sum = (from: number, to: number) => parts.slice(from, to).reduce((a, b) => a + b, 0);

  it("adds up heads, residual, MLP and what follows to the logits", () => {
    expect([first, second].sort()).toEqual([0, 1]);
    const steps = stepsAt(0, 3);
    expect([...steps.keys()]).toEqual(["heads", "residual", "mlp", "later", "norm", "logits"]);
    expect(numberOf(steps.get("heads"), "head-adds")).toBeCloseTo(parts[2]);
    expect(numberOf(steps.get("heads"), "heads-add")).toBeCloseTo(sum(1, 3));
    expect(numberOf(steps.get("residual"), "so-far-1")).toBeCloseTo(sum(0, 3));
    expect(numberOf(steps.get("mlp"), "mlp-adds")).toBeCloseTo(parts[3]);
    expect(numberOf(steps.get("later"), "later-add")).toBeCloseTo(sum(4, 8));
    expect(numberOf(steps.get("logits"), "difference")).toBeCloseTo(LOGITS[0][0] - LOGITS[0][1]);
    for (const step of steps.values())
      for (const { value, expand } of step.scalars ?? []) if (expand) expect(expand().total).toBeCloseTo(value, 5);
  });

  it("names b_O where the layer has one", () => {
    const { parts, ...note } = streamed().note;
    const bias = { kind: "bias" as const, name: "L0 attention bias", block: 0, head: null };
    const scene = sceneAt(0, 3);
    const heads = (parts: StreamNote["parts"]) => {
      const table = new StreamTable({ ...note, parts }, (name) => payload.floats(`stream.${name}`));
      return toPrediction(scene, table)[0];
    };
    expect(heads(parts).why).toMatch(/ write\.$/);
    expect(heads(parts).formula).toHaveLength(2);
    const without = parts.slice(0, -1);
    expect(heads([...without, bias]).why).toMatch(/ write, and b_O\.$/);
    expect(heads([...without, bias]).formula).toHaveLength(4);
  });

  it("the last layer is followed by biases alone", () => {
    const later = stepsAt(1, 3).get("later");
    expect(later?.why).toContain("No block follows");
    expect(numberOf(later, "later-add")).toBeCloseTo(parts[7]);
  });

  it("says where the stream is held, and is empty without one", () => {
    const steps = stepsAt(0, 4);
    expect([...steps.keys()]).toEqual(["heads"]);
    expect(steps.get("heads")?.why).toContain("3, 6");
    expect(toPrediction(sceneAt(0, 3), null)).toEqual([]);
  });

  it("without logits it ends at the last state", () => {
    const bare = new Payload(bytes(streamed({}, "prediction")));
    const steps = toPrediction({ ...sceneAt(0, 3), meta: bare.meta }, tableOf(bare));
    expect(steps.map(({ id }) => id)).toEqual(["heads", "residual", "mlp", "later", "norm"]);
    expect(steps[0].scalars?.map(({ id }) => id)).toEqual(["heads-length"]);
  });
});
