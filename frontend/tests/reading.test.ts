import { describe, expect, it } from "vitest";
import {
  count,
  decimals,
  domainEnd,
  fixed,
  list,
  percent,
  percentInWords,
  ranges,
  scientific,
} from "../src/base/format";
import { contrast, largestIn, nice, niceChange, nicePart, Ramp, robustDomain, stripFor } from "../src/base/scale";
import type { Chain } from "../src/chain/chain";
import { Shade } from "../src/levels/matrix/shade";
import { lookOf, partOf } from "../src/levels/model/paint";
import { lines } from "../src/levels/neuron/folding";
import { around, labels, named } from "../src/scene/labels";
import { meta, site } from "./made";

describe("numbers in words", () => {
  it("minus is U+2212, and there is no minus zero", () => {
    expect(fixed(-16.684, 2)).toBe("−16.68");
    expect(fixed(-0.001, 2)).toBe("0.00");
    expect([fixed(Number.NaN, 2), fixed(Number.POSITIVE_INFINITY, 2), fixed(Number.NEGATIVE_INFINITY, 2)]).toEqual([
      "NaN",
      "+∞",
      "−∞",
    ]);
  });

  it("a trace of weight is not nothing", () => {
    expect(percent(0)).toBe("0 %");
    expect(percent(1e-30)).toBe("<0.1 %");
    expect(percent(0.00049)).toBe("<0.1 %");
    expect(percent(0.0005)).toBe("0.1 %");
    expect(percent(0.527)).toBe("52.7 %");
    expect(percent(Number.NaN)).toBe("NaN");
  });

  it("whole percent in a sentence", () => {
    expect([0.527, 0.0149, 0.0083, 0.0001, 0].map(percentInWords)).toEqual([
      "53 %",
      "1 %",
      "0.8 %",
      "less than 0.1 %",
      "0 %",
    ]);
  });

  it("the rest", () => {
    expect([2.44e-7, 0, 0.83].map(scientific)).toEqual(["2.4e-7", "0", "0.83"]);
    expect([1200, 30, 3, 0.3, 0.02].map(decimals)).toEqual([0, 2, 2, 3, 4]);
    expect([count(1, "key"), count(41, "key"), count(12345, "key")]).toEqual(["1 key", "41 keys", "12,345 keys"]);
    expect([list(["a"]), list(["a", "b", "c"])]).toEqual(["a", "a, b and c"]);
    expect(ranges([4, 0, 1, 2, 7, 8])).toBe("0–2, 4, 7, 8");
    expect(domainEnd(0.30000000000000004)).toBe("0.3");
  });
});

describe("tokens", () => {
  const table = (shown: string[], words: (number | null)[], whole: string[], more = {}) => ({
    ...meta([site()]).tokens[0],
    text: shown,
    shown,
    words,
    whole,
    special: shown.map((t) => /^\[.*\]$/.test(t)),
    segments: shown.map(() => 0),
    ...more,
  });

  it("a piece knows the rest of its word", () => {
    const [cls, airs, peed, dot] = labels(
      table(["[CLS]", "Airs", "peed", "."], [null, 0, 0, 1], ["", "Airspeed", "Airspeed", ""], {
        tight: [false, false, true, true],
      }),
    );
    expect([cls.text, airs.text, airs.after, peed.before, peed.text]).toEqual([
      "[CLS]",
      "Airs",
      "peed",
      "Airs",
      "peed",
    ]);
    expect([cls.special, dot.tight, airs.tight, dot.whole]).toEqual([true, true, false, ""]);
  });

  it("parts of a character have no rest, but a word", () => {
    const made = labels(table(["猫 1/2", "猫 2/2", "咪"], [0, 0, 0], ["猫咪", "猫咪", "猫咪"]));
    expect(made.map(({ before, after }) => before + after)).toEqual(["", "", ""]);
    expect(named(made[1])).toBe("猫 2/2 (in 猫咪)");
  });
});

describe("folding", () => {
  const chain = (weights: number[], more = {}) =>
    ({ weights: Float64Array.from(weights), allowed: null, hasSink: false, ...more }) as unknown as Chain;
  const weak = (n: number) => Array.from({ length: n }, () => 0.001);
  const options = { keep: new Set<number>(), opened: new Set<number>(), expanded: false, byWeight: false };
  const keysOf = (n: number) => Array.from({ length: n }, (_, i) => i);

  it("does nothing up to 40 keys", () => {
    expect(lines(chain(weak(40)), { ...options, keys: keysOf(40) })).toHaveLength(40);
  });

  it("folds runs in text order, never the query or the pinned key", () => {
    const weights = weak(50);
    weights[10] = 0.5;
    const made = lines(chain(weights), { ...options, keys: keysOf(50), keep: new Set([20]) });
    expect(made.map((line) => (line.kind === "fold" ? line.keys.length : (line as { key: number }).key))).toEqual([
      10, 10, 9, 20, 29,
    ]);
    expect((made[0] as { weight: number }).weight).toBeCloseTo(0.01, 10);
  });

  it("opens a run, all runs, and leaves a run of one alone", () => {
    const weights = weak(50);
    weights[0] = weights[2] = 0.4;
    const made = lines(chain(weights), { ...options, keys: keysOf(50) });
    expect(made.slice(0, 3).map((line) => line.kind)).toEqual(["key", "key", "key"]);
    expect(lines(chain(weights), { ...options, keys: keysOf(50), opened: new Set([3]) })).toHaveLength(4 + 47);
    expect(lines(chain(weights), { ...options, keys: keysOf(50), expanded: true })).toHaveLength(50);
  });

  it("counts masked keys, puts the sink last, sorts by weight on request", () => {
    const weights = weak(50);
    weights[30] = 0.6;
    const made = lines(
      chain(weights, { allowed: Uint8Array.from(weights, (_, i) => (i < 40 ? 1 : 0)), hasSink: true }),
      { ...options, keys: keysOf(50), byWeight: true },
    );
    expect(made.map((line) => line.kind)).toEqual(["key", "fold", "sink"]);
    expect((made[1] as { masked: number }).masked).toBe(10);
  });
});

describe("scales", () => {
  it("round ends", () => {
    expect([0.031, 1, 3.2, 4.01, 97, 0].map(nice)).toEqual([0.035, 1, 3.5, 4.5, 100, 1]);
    expect([0.003, 0.1, 0.2, 0.3, 0.527, 0.95].map(nicePart)).toEqual([0.01, 0.1, 0.2, 1, 1, 1]);
    expect([0.03, 0.31, 1.7].map(niceChange)).toEqual([0.03, 0.35, 1]);
  });

  it("of weights are one at every level, and say where they are not", () => {
    const ramp = new Ramp({
      negative: "#0000ff",
      zero: "#eeeeee",
      positive: "#ff0000",
      ink: "#111111",
      ground: "#ffffff",
    });
    const look = lookOf(ramp, nicePart(0.31), "#123456", "#999999");
    for (const [largest, said] of [
      [0.31, "0 … 100 %"],
      [0.97, "0 … 100 %"],
      [0.07, "0 … 10 %, a scale of its own"],
    ] as const) {
      const shade = new Shade(ramp, "weights", largest, largest, false);
      expect(shade.said).toBe(said);
      const alike = shade.pixel(0.05) === look.ink.pixel(partOf(0.05, look), 1);
      expect(alike).toBe(!said.includes("own"));
    }
  });

  it("one outlier does not flatten the domain; NaN does not break it", () => {
    const values = Array.from({ length: 1000 }, (_, i) => (i % 7) - 3);
    values[5] = 1e6;
    values[6] = Number.NaN;
    expect(robustDomain(values)).toBe(3);
    expect(robustDomain([0, 0, 0])).toBe(1);
    expect(robustDomain([])).toBe(1);
  });

  it("a cell shows the largest magnitude among its neighbours", () => {
    const values = [1, -5, 2, 0, 0.5, 0.4, -7];
    expect([0, 3, 6].map((start) => largestIn(values, start, 3))).toEqual([1, 4, 6]);
    expect(largestIn([1, Number.NaN, 99], 0, 3)).toBe(1);
    expect(largestIn([3, 2], 0, 1)).toBe(0);
  });

  it.each([32, 64, 128, 256, 768])("strips of %i dimensions are whole device pixels within 224", (size) => {
    for (const ratio of [1, 1.25, 1.5, 2, 3]) {
      for (const width of [60, 96, 192, 224, 500]) {
        const strip = stripFor(size, width, ratio);
        expect(Number.isInteger(strip.cell)).toBe(true);
        expect(strip.cell).toBeGreaterThanOrEqual(2);
        expect(strip.width).toBeLessThanOrEqual(Math.min(width, 224));
        expect(strip.cells * strip.perCell).toBeGreaterThanOrEqual(size);
        expect((strip.cells - 1) * strip.perCell).toBeLessThan(size);
      }
    }
  });

  const light = { negative: "#1d5fb4", zero: "#ecebe7", positive: "#c4500d", ink: "#17181a", ground: "#fcfcfa" };
  const dark = { negative: "#6cb4ff", zero: "#2a2d32", positive: "#ff9d4d", ink: "#ecebe8", ground: "#131417" };

  it.each([light, dark])("numbers on cells can be read, and sign shows", (palette) => {
    const ramp = new Ramp(palette);
    for (let value = -1; value <= 1; value += 1 / 64) {
      const [r, g, b] = (ramp.css(value, 1).match(/\d+/g) as string[]).map(Number);
      const text = (ramp.on(value, 1).match(/\d+/g) as string[]).map(Number) as [number, number, number];
      expect(contrast([r, g, b], text)).toBeGreaterThanOrEqual(4.5);
      if (value > 0.1) expect(r).toBeGreaterThan(b);
      if (value < -0.1) expect(b).toBeGreaterThan(r);
    }
    expect(ramp.css(0, 1)).not.toBe(ramp.css(0.05, 1));
    expect(ramp.css(9, 1)).toBe(ramp.css(1, 1));
  });
});

describe("a token with its surroundings", () => {
  const texts = ["the", "code", "of", "the", "vault", "is", "74", "12", ".", "A", "train", "leaves", "soon"];
  const tight = texts.map((_, i) => i === 7 || i === 8);
  const table = meta([]).tokens[0];
  const few = labels({
    ...table,
    text: texts,
    shown: texts,
    tight,
    ids: texts.map((_, i) => i),
    special: texts.map(() => false),
    words: texts.map((_, i) => i),
    segments: texts.map(() => 0),
    whole: undefined,
  });

  it("has four tokens on each side, spaced as in the text", () => {
    expect(around(few, 6, 6)).toEqual(["…of the vault is ", "12. A train…"]);
    expect(around(few, 7, 7)).toEqual(["…the vault is 74", ". A train leaves…"]);
  });

  it("ends where the text does, and takes runs of tokens", () => {
    expect(around(few, 1, 2)).toEqual(["the ", " the vault is 74…"]);
    expect(around(few, 12, 12)).toEqual(["…. A train leaves ", ""]);
    expect(around(few, 0, 0)[0]).toBe("");
  });
});
