import { describe, expect, it } from "vitest";
import { inkRamp, luminance, Ramp } from "../src/base/scale";
import { chainOf } from "../src/chain/chain";
import { HeadTensors } from "../src/data/head-tensors";
import { Payload } from "../src/data/payload";
import type { Axes } from "../src/heads/axes";
import { axisOf } from "../src/heads/axis";
import { RowCache } from "../src/heads/row-cache";
import { Field, MASKED, SHOWN } from "../src/levels/matrix/field";
import { axisLabels } from "../src/levels/matrix/labels";
import { paint } from "../src/levels/matrix/paint";
import { roomFor } from "../src/levels/matrix/plot";
import { Shade } from "../src/levels/matrix/shade";
import { clamped, fitted, labelStep, panned, revealed, sight, zoomed } from "../src/levels/matrix/viewbox";
import { labels } from "../src/scene/labels";
import { meta, payload, site } from "./made";

const plot = { width: 700, height: 500 };

describe("the view box", () => {
  it("shows everything at first, over the whole width", () => {
    for (const n of [3, 10, 100, 2000]) expect(fitted(n, n, plot).cellX * n).toBeCloseTo(700, 9);
    expect([10, 100, 2000].map((n) => fitted(n, n, plot).cellY)).toEqual([34, 5, 0.25]);
    expect(fitted(500, 5, plot)).toMatchObject({ cellX: 1.4, cellY: 34 });
  });

  it("zooms about a point that stays", () => {
    const box = { x: 10, y: 20, cellX: 4, cellY: 4 };
    const near = zoomed(box, 2, 100, 60);
    expect(near.x + 100 / near.cellX).toBeCloseTo(10 + 25, 12);
    expect(near.y + 60 / near.cellY).toBeCloseTo(20 + 15, 12);
  });

  it("never leaves the grid, nor is smaller than what fits", () => {
    const box = clamped(panned({ x: 0, y: 0, cellX: 20, cellY: 20 }, -500, 9e9), 100, 100, plot);
    expect(box.x).toBe(0);
    expect(box.y).toBeCloseTo(100 - 500 / 20, 12);
    expect(clamped({ x: 3, y: 3, cellX: 0.01, cellY: 0.01 }, 100, 100, plot)).toEqual(fitted(100, 100, plot));
  });

  it("brings a cell into sight and no further", () => {
    const box = { x: 0, y: 0, cellX: 50, cellY: 50 };
    expect(revealed(box, 20, 0, plot)).toMatchObject({ x: 21 - 14, y: 0 });
    expect(revealed(box, 3, 3, plot)).toMatchObject({ x: 0, y: 0 });
    expect(sight(7, 50, 100, 700)).toEqual([7, 21]);
  });

  it("labels as many cells as have room, and the selected one", () => {
    expect([20, 6, 1.2, 0.25].map((cell) => labelStep(cell, 12))).toEqual([1, 2, 10, 50]);
    const slots = Array.from({ length: 100 }, (_, i) => ({ tokens: [i], text: `w${i}`, special: false, segment: 0 }));
    const shown = axisLabels(slots, 0, 3, 300, 41);
    expect(shown.some(({ slot, chosen }) => slot === 41 && chosen)).toBe(true);
    const places = shown.map(({ at }) => at).sort((a, b) => a - b);
    for (let i = 1; i < places.length; i++) expect(places[i] - places[i - 1]).toBeGreaterThanOrEqual(11.5);
  });
});

function fieldOf(quantity: "weights" | "scores" | "dot", upper: number | null = null, words = false) {
  const mask = { lower: null, upper, keys: null, rows: null, packed: null, empty_rows: "zero" as const };
  const head = new HeadTensors(new Payload(payload(site({ mask }))), 0, 1);
  const all = labels(meta([site()]).tokens[0]);
  const axis = axisOf(all, 0, 3, { words, hideSpecial: false, segment: null });
  const axes: Axes = { queries: axis, keys: axis, name: "", query: 0, key: -1, merged: false };
  return { head, field: new Field(new RowCache([head]), axes, quantity) };
}

const RAMP = new Ramp({ negative: "#1d5fb4", zero: "#ecebe7", positive: "#c4500d", ink: "#17181a", ground: "#fcfcfa" });

describe("the cells", () => {
  it("hold the chain's numbers, with sums along the edges", () => {
    const { head, field } = fieldOf("weights");
    while (field.advance());
    expect(field.complete).toBe(true);
    const rows = [0, 1, 2].map((q) => chainOf(head, q).weights);
    for (let q = 0; q < 3; q++) {
      expect([...(field.row(q)?.values ?? [])]).toEqual([...Float32Array.from(rows[q])]);
      expect(field.rowSums[q]).toBeCloseTo(1, 6);
    }
    expect(field.columnSums[1]).toBeCloseTo(rows[0][1] + rows[1][1] + rows[2][1], 6);
  });

  it.each(["scores", "dot"] as const)("hold %s, masked ones marked", (quantity) => {
    const { head, field } = fieldOf(quantity, 0);
    while (field.advance());
    const { values, kinds } = field.row(1) as { values: Float32Array; kinds: Uint8Array };
    const chain = chainOf(head, 1);
    const wanted = (quantity === "scores" ? chain.biased : chain.dot) as Float64Array;
    expect(values[0]).toBeCloseTo(wanted[0], 5);
    expect([...kinds]).toEqual([SHOWN, SHOWN, MASKED]);
    expect(field.masked).toBe(true);
  });

  it("are painted where they stand: weight as ink, masked hatched, zero a cell of its own", () => {
    const { field } = fieldOf("weights", 0);
    while (field.advance());
    const shade = new Shade(RAMP, "weights", field.end, field.largest, false);
    const marks = { ground: 1, hatch: 2, ink: 3 };
    const pixels = paint(field, { x: 0, y: 0, cellX: 6, cellY: 6 }, shade, marks, 18, 18, 1);
    const at = (x: number, y: number) => pixels[y * 18 + x];
    for (let q = 0; q < 3; q++)
      for (let k = 0; k <= q; k++)
        expect(at(k * 6 + 2, q * 6 + 2)).toBe(shade.pixel((field.row(q) as { values: Float32Array }).values[k]));
    const masked = new Set(Array.from({ length: 36 }, (_, i) => at(12 + (i % 6), Math.floor(i / 6))));
    expect(masked).toEqual(new Set([0, 2]));
  });

  it("show the largest where several share a pixel", () => {
    const { field } = fieldOf("weights");
    while (field.advance());
    const shade = new Shade(RAMP, "weights", 1, 1, false);
    const [one] = paint(
      field,
      { x: 0, y: 0, cellX: 1 / 3, cellY: 1 / 3 },
      shade,
      { ground: 1, hatch: 2, ink: 3 },
      1,
      1,
      1,
    );
    expect(one).toBe(shade.pixel(field.largest));
  });

  it("bar what is not a number, over everything else in its pixel", () => {
    const { field } = fieldOf("weights");
    const broken = field.cache.members[0];
    broken.q[0] = Number.NaN;
    while (field.advance());
    expect(field.broken).toBe(true);
    const shade = new Shade(RAMP, "weights", 1, 1, false);
    const pixels = paint(field, { x: 0, y: 0, cellX: 6, cellY: 6 }, shade, { ground: 1, hatch: 2, ink: 3 }, 18, 18, 1);
    expect(new Set(pixels.slice(0, 4))).toEqual(new Set([3]));
    expect([...pixels].filter((p) => p === 3).length).toBeGreaterThan(18);
  });
});

describe("sums of rows", () => {
  it("stand only where they are not 1, and take no room before", () => {
    const { field } = fieldOf("weights");
    while (field.advance());
    expect(field.anyUneven).toBe(false);
    const plain = roomFor(field, 900, 400);
    expect(plain.rowSums).toBe(false);
    field.rowSums[1] = 0.7; // the rest went to a hidden token
    expect([0, 1, 2].map((row) => field.uneven(row))).toEqual([false, true, false]);
    const room = roomFor(field, 900, 400);
    expect(room.rowSums).toBe(true);
    expect(plain.plot.width - room.plot.width).toBe(room.sum);
  });

  it("are not told of rows that may see no key, nor of scores", () => {
    const { field } = fieldOf("weights");
    while (field.advance());
    field.rowSums[2] = 0;
    field.empty.add(2);
    expect(field.anyUneven).toBe(false);
    const scores = fieldOf("scores").field;
    while (scores.advance());
    scores.rowSums[0] = 0.5;
    expect(roomFor(scores, 900, 400).rowSums).toBe(false);
  });
});

describe("the scale", () => {
  it("of weights is monotone in lightness", () => {
    const ramp = inkRamp(RAMP);
    const light = Array.from({ length: 101 }, (_, i) => luminance(ramp.colours[128 + Math.round(1.28 * i)]));
    for (let i = 1; i < light.length; i++) expect(light[i]).toBeLessThanOrEqual(light[i - 1]);
    expect(light[0]).toBeGreaterThan(light[100] + 0.5);
  });

  it("on request is logarithmic, and says so", () => {
    const shade = new Shade(RAMP, "weights", 1, 1, true);
    expect(shade.part(1)).toBeCloseTo(1, 12);
    expect(shade.part(0.01)).toBeCloseTo(0.5, 12);
    expect(shade.part(0)).toBe(0);
    expect(shade.said).toContain("logarithmic");
  });

  it("of scores is symmetric", () => {
    const shade = new Shade(RAMP, "scores", 3.7, 3.7, false);
    expect(shade.part(-4)).toBe(-shade.part(4));
    expect(shade.said).toBe("−4 … +4");
  });
});
