/** What is set aside, and what that changes: the key that is followed, the axes, the thickness of lines, ‖write‖. */
import { describe, expect, it } from "vitest";
import { written } from "../src/chain/attention";
import { axisOf, mergedRow } from "../src/heads/axis";
import { choose, curve, heightAt, magnified } from "../src/levels/head/geometry";
import { asideOf, leading } from "../src/scene/aside";
import { labels } from "../src/scene/labels";
import { meta, site } from "./made";

const made = meta([site({ index: 0, sink_tokens: [0] })]);
const names = labels(made.tokens[0]);

describe("what is set aside", () => {
  it("are special and sink tokens, by what the first data says of the site", () => {
    const tokens = names.map((label, j) => ({ ...label, special: j === 2 }));
    const bare = { ...made.sites[0], sink_tokens: undefined }; // another block does not say it again
    const aside = asideOf(made, bare, tokens);
    expect(Array.from(aside.keys, Boolean)).toEqual(tokens.slice(0, bare.keys).map((_, j) => j === 0 || j === 2));
    expect(aside.sinks).toEqual([0]);
    const wrong = meta([site({ index: 0, sink_tokens: [-1, 1.5, 10_000] })]);
    expect(asideOf(wrong, wrong.sites[0], labels(wrong.tokens[0])).any).toBe(false);
  });

  it("is not the strongest key, unless nothing else has weight", () => {
    const aside = Uint8Array.from([1, 0, 0, 1]);
    expect(leading([0.6, 0.1, 0.2, 0.1], aside)).toBe(2);
    expect(leading([0.6, 0, 0, 0.4], aside)).toBe(0);
    expect(leading([0.6, 0.1, 0.2, 0.1], aside, [0, 1])).toBe(1);
  });

  it("leaves the axis with the special tokens, and its weight is known", () => {
    const hidden = axisOf(names, 0, names.length, { words: false, hideSpecial: true, sinks: [0], segment: null });
    expect(hidden.hidden).toEqual([0]);
    expect(hidden.slots[0].tokens).toEqual([1]);
    const shown = axisOf(names, 0, names.length, { words: false, hideSpecial: false, sinks: [0], segment: null });
    expect(shown.hidden).toEqual([]);
    const weights = names.map((_, j) => (j === 0 ? 0.9 : 0.1 / (names.length - 1)));
    const row = mergedRow([{ weights, scores: null, dot: null, allowed: null, sink: 0, empty: false }], hidden);
    expect(row.hidden).toBeCloseTo(0.9, 12);
    expect(magnified(row.hidden)).toBeCloseTo(10, 9);
    expect(magnified(0)).toBe(1);
    expect(magnified(1)).toBe(1000); // no picture of what hardly is
  });
});

describe("lines", () => {
  it("are chosen by their size, and the mass is that of their weights", () => {
    const line = (key: number, weight: number) => ({ query: 0, key, weight, size: 10 * weight, head: 0 });
    const picked = choose([line(1, 0.05), line(2, 0.004), line(3, 0.002)], 0.03, 9);
    expect(picked.lines.map(({ key }) => key)).toEqual([1, 2]);
    expect(picked.offered - picked.drawn).toBeCloseTo(0.002, 12);
  });

  it("have a height at every x, that of the curve that is drawn", () => {
    expect(heightAt(0, 200, 12, 60)).toBeCloseTo(12, 3);
    expect(heightAt(200, 200, 12, 60)).toBeCloseTo(60, 3);
    expect(heightAt(100, 200, 12, 60)).toBeCloseTo(36, 3);
    expect(heightAt(-1, 200, 12, 60)).toBeNull();
    const [, ax, ay, bx, by] = (curve(200, 12, 60).match(/[\d.]+/g) as string[]).map(Number).slice(1);
    const t = 0.3;
    const x = 3 * (1 - t) ** 2 * t * ax + 3 * (1 - t) * t ** 2 * bx + t ** 3 * 200;
    const y = (1 - t) ** 3 * 12 + 3 * (1 - t) ** 2 * t * ay + 3 * (1 - t) * t ** 2 * by + t ** 3 * 60;
    expect(heightAt(x, 200, 12, 60)).toBeCloseTo(y, 2);
  });
});

it("the length of what a head writes follows from W_O · W_Oᵀ", () => {
  const wo = [
    [1, -2, 0.5, 3],
    [0, 1, 1, -1],
    [2, 0.25, -1, 0],
  ];
  const z = [0.3, -1.5, 2];
  const products = wo.flatMap((a, i) => wo.slice(i).map((b) => a.reduce((sum, value, m) => sum + value * b[m], 0)));
  const write = [0, 1, 2, 3].map((m) => z.reduce((sum, value, d) => sum + value * wo[d][m], 0));
  expect(written(Float64Array.from(z), Float32Array.from(products))).toBeCloseTo(Math.hypot(...write), 5);
});
