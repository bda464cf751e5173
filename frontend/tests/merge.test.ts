import { describe, expect, it } from "vitest";
import { axisOf, combined, hiddenMasses, mergedRow, type Row } from "../src/heads/axis";
import type { Label } from "../src/scene/labels";

const label = (index: number, change: Partial<Label> = {}): Label => ({
  index,
  text: `t${index}`,
  before: "",
  after: "",
  whole: "",
  id: index,
  special: false,
  word: index,
  segment: 0,
  tight: false,
  ...change,
});

/** [CLS] un believ able [SEP] b1 b1' [SEP] */
const LABELS = [
  label(0, { special: true, word: null, text: "[CLS]" }),
  label(1, { word: 0, text: "un" }),
  label(2, { word: 0, text: "believ" }),
  label(3, { word: 0, text: "able" }),
  label(4, { special: true, word: null, text: "[SEP]" }),
  label(5, { word: 0, segment: 1, text: "b" }),
  label(6, { word: 0, segment: 1, text: "c" }),
  label(7, { special: true, word: null, segment: 1 }),
];
const ALL = { words: false, hideSpecial: false, segment: null };

const row = (weights: number[], change: Partial<Row> = {}): Row => ({
  weights,
  scores: weights.map((w) => 10 * w),
  dot: weights.map((w) => 100 * w),
  allowed: null,
  sink: 0,
  empty: false,
  ...change,
});

describe("axes", () => {
  it("draws every token as it is", () => {
    const axis = axisOf(LABELS, 0, 8, ALL);
    expect(axis.slots.map(({ tokens }) => tokens)).toEqual([[0], [1], [2], [3], [4], [5], [6], [7]]);
    expect([...axis.of]).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
    expect(axis.merged).toBe(false);
  });

  it("joins the pieces of a word, and not of the same word number in the other sentence", () => {
    const axis = axisOf(LABELS, 0, 8, { ...ALL, words: true, hideSpecial: true });
    expect(axis.slots.map(({ text }) => text)).toEqual(["unbelievable", "bc"]);
    expect(axis.hidden).toEqual([0, 4, 7]);
    expect([...axis.of]).toEqual([-1, 0, 0, 0, -1, 1, 1, -1]);
    expect(axis.merged).toBe(true);
  });

  it("keeps to one sentence, to a range, and keeps one token whatever it is", () => {
    const axis = axisOf(LABELS, 2, 8, { words: true, hideSpecial: true, segment: 1, keep: 4 });
    expect(axis.slots.map(({ tokens }) => tokens)).toEqual([[4], [5, 6]]);
    expect(axis.outside).toEqual([2, 3]);
    expect(axis.of[0]).toBe(-1);
  });
});

describe("rows", () => {
  const weights = [0.3, 0.1, 0.05, 0.05, 0.2, 0.1, 0.15, 0.05];
  const other = [0.1, 0.2, 0.1, 0.1, 0.1, 0.2, 0.1, 0.1];
  const axis = axisOf(LABELS, 0, 8, { ...ALL, words: true, hideSpecial: true });

  it("sums weights into a word as a key and averages them out of it as a query", () => {
    const merged = mergedRow([row(weights), row(other)], axis);
    expect(merged.weights[0]).toBeCloseTo((0.2 + 0.4) / 2, 12);
    expect(merged.weights[1]).toBeCloseTo((0.25 + 0.3) / 2, 12);
    expect(merged.hidden).toBeCloseTo((0.55 + 0.3) / 2, 12);
    const drawn = merged.weights.reduce((a, b) => a + b);
    expect(drawn + merged.hidden).toBeCloseTo(1, 12);
  });

  it("takes scores as the mean over the pairs that may be seen, q · k over all", () => {
    const allowed = Uint8Array.from([1, 1, 0, 0, 1, 0, 0, 1]);
    const merged = mergedRow([row(weights, { allowed })], axis);
    expect(merged.scores?.[0]).toBeCloseTo(1, 12);
    expect(merged.dot?.[0]).toBeCloseTo((10 + 5 + 5) / 3, 12);
    expect([...merged.masked]).toEqual([0, 1]);
    expect(merged.scores?.[1]).toBe(Number.NEGATIVE_INFINITY);
  });

  it("leaves a row as it is where nothing is merged or hidden", () => {
    const plain = axisOf(LABELS, 0, 8, ALL);
    const allowed = Uint8Array.from([1, 1, 1, 1, 1, 1, 1, 0]);
    const same = mergedRow([row(weights, { allowed, sink: 0.25 })], plain);
    expect([...same.weights]).toEqual(weights);
    expect(same.scores?.[7]).toBe(Number.NEGATIVE_INFINITY);
    expect(same.masked[7]).toBe(1);
    expect(same.sink).toBe(0.25);
  });

  it("says what hidden tokens take, the heaviest first", () => {
    const masses = hiddenMasses([row(weights), row(other)], axis);
    expect(masses.map(([token]) => token)).toEqual([0, 4, 7]);
    expect(masses[0][1]).toBeCloseTo(0.2, 12);
  });

  it("adds or averages several rows", () => {
    const rows = [mergedRow([row(weights)], axis), mergedRow([row(other)], axis)];
    expect(combined(rows, "sum").weights[0]).toBeCloseTo(0.6, 12);
    expect(combined(rows, "mean").weights[0]).toBeCloseTo(0.3, 12);
    expect(combined(rows, "mean").hidden).toBeCloseTo(0.425, 12);
    expect(combined(rows.slice(0, 1), "sum")).toBe(rows[0]);
  });

  it("lets NaN through", () => {
    const merged = mergedRow([row([Number.NaN, ...weights.slice(1)])], axis);
    expect(merged.weights[0]).toBeCloseTo(0.2, 12);
    expect(merged.hidden).toBeNaN();
  });
});
