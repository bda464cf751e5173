/** The model level's pure parts: which head stands where, in what order, and what is said of them. */

import { describe, expect, it } from "vitest";
import { contrast, Ramp } from "../src/base/scale";
import type { Metadata, Site, Thumb } from "../src/data/metadata";
import { patchOf, patchRange } from "../src/data/pictured";
import { linkSaid } from "../src/heads/link-sentence";
import { finding } from "../src/levels/model/finding";
import { type Head, headsOf, nameOf, pixelRangeOf } from "../src/levels/model/heads";
import { at, byLayer, find, inOrder, step } from "../src/levels/model/layout";
import { paintMatrix, partOf, strongestCells } from "../src/levels/model/paint";
import { PairNumbers } from "../src/levels/model/pair-numbers";
import { Statistics } from "../src/levels/model/statistics";
import { labels } from "../src/scene/labels";
import type { Scene } from "../src/scene/scene";
import { asText } from "../src/scene/text";
import { meta as metaOf, site } from "./made";

const thumb = (change: Partial<Thumb> = {}): Thumb => ({
  tensor: "t0",
  rows: 3,
  columns: 3,
  method: "max",
  steps: 253,
  masked: 254,
  broken: 255,
  queries_sampled: null,
  ...change,
});

/** Layers with these numbers of heads, and statistics from `value`. */
function made(counts: number[], change: (index: number) => Partial<Site> = () => ({})): Metadata {
  const sites = counts.map((heads, index) =>
    site({ index, layer: index, heads, kv_heads: heads, thumb: thumb({ tensor: `t${index}` }), ...change(index) }),
  );
  return {
    ...metaOf([]),
    sites,
    stat_words: { special: "Of special tokens.", distance: "How far." },
    stat_titles: { special: "on special tokens", distance: "mean distance" },
    stat_units: { special: "part", distance: "tokens" },
  };
}

const bare = (meta: Metadata): Head[] => headsOf({ meta });

describe("the pair that is shown", () => {
  const rows = { weights: "r.weights", shares: "r.shares", writes: "r.writes", query: 2 };
  const meta = made([2, 1], (index) => ({
    queries: 3,
    keys: 3,
    row: { ...rows, weights: `r${index}.weights`, shares: index ? null : "r0.shares" },
  }));
  const numbers: Record<string, number[]> = {
    "r0.weights": [0.1, 0.2, 0.7, 0.5, 0.4, 0.1],
    "r1.weights": [0.25, 0.5, 0.25],
    "r0.shares": [0.3, 0.3, 0.4, 0.2, 0.6, 0.2],
    "r.writes": [2, 5],
  };
  const source = {
    meta,
    live: false,
    holds: () => false,
    head: () => {
      throw new Error("not here");
    },
    floats: (name: string) => (numbers[name] ? Float32Array.from(numbers[name]) : null),
  };
  const scene = (query: number, key: number) =>
    ({ site: meta.sites[0], query, key, pair: null, state: { group: null } }) as unknown as Scene;

  it("has the numbers that the page brought along, of the query that it opened on", () => {
    const heads = bare(meta);
    const pair = new PairNumbers(source, scene(2, 1), heads);
    expect(heads.map((head) => pair.value(head, "pair"))).toEqual([0.2, 0.4, 0.5].map((x) => Math.fround(x)));
    const wrote = heads.map((head) => pair.value(head, "pair_write"));
    expect(wrote[0]).toBeCloseTo(0.3 * 2, 6);
    expect(wrote[1]).toBeCloseTo(0.6 * 5, 6);
    expect(wrote[2]).toBeNull();
    expect(new PairNumbers(source, scene(1, 1), heads).count("pair")).toBe(0);
  });

  it("sorts the heads, and names itself", () => {
    const heads = bare(meta);
    const statistics = new Statistics(meta, heads);
    expect(statistics.names).not.toContain("pair");
    statistics.setPair(new PairNumbers(source, scene(2, 1), heads), "it → flies");
    expect(statistics.names).toContain("pair_write");
    expect(statistics.ordered("pair").map(nameOf)).toEqual(["L1H0", "L0H1", "L0H0"]);
    expect(statistics.ordered("pair_write").map(nameOf)).toEqual(["L0H1", "L0H0", "L1H0"]);
    expect(statistics.full("pair")).toBe("weight of it → flies");
    expect(statistics.said(heads[1], "pair_write")).toBe("3.00");
    statistics.setPair(new PairNumbers(source, scene(2, 0), heads), "it → as");
    expect(statistics.ordered("pair").map(nameOf)).toEqual(["L0H1", "L1H0", "L0H0"]);
  });

  it("gives a head a plain name where its number is clear", () => {
    const stats = { previous: [0.5, 0.49, 0.6], first: [0.1, 0.9, 0.6] };
    const heads = bare(made([3], () => ({ stats })));
    const { plainName } = Statistics.prototype;
    const statistics = new Statistics(
      made([3], () => ({ stats })),
      heads,
    );
    expect(heads.map((head) => plainName.call(statistics, head))).toEqual([
      "previous token",
      "first-token sink",
      "previous token",
    ]);
  });
});

describe("heads", () => {
  it("cuts the bytes of a site into its heads", () => {
    const meta = made([2, 1]);
    const bytes: Record<string, Uint8Array> = {
      t0: Uint8Array.from({ length: 18 }, (_, i) => i),
      t1: Uint8Array.from({ length: 9 }, (_, i) => 100 + i),
    };
    const heads = headsOf({ meta, octets: (name) => bytes[name] ?? null });
    expect(heads.map(nameOf)).toEqual(["L0H0", "L0H1", "L1H0"]);
    expect(Array.from(heads[1].octets ?? [])).toEqual([9, 10, 11, 12, 13, 14, 15, 16, 17]);
    expect(heads[2].octets?.[0]).toBe(100);
  });

  it("keeps heads whose bytes are missing, damaged or of another size", () => {
    const octets = (name: string) => {
      if (name === "t0") return new Uint8Array(5);
      throw new Error("damaged");
    };
    expect(headsOf({ meta: made([1, 1]), octets }).map(({ octets }) => octets)).toEqual([null, null]);
  });

  it("sorts by a statistic, largest first, ties in place, heads without a number last", () => {
    const values = [
      [0.5, null, 0.2],
      [0.9, 0.5],
    ];
    const meta = made([3, 2], (index) => ({ stats: { special: values[index] } }));
    const statistics = new Statistics(meta, bare(meta));
    expect(statistics.ordered("special").map(nameOf)).toEqual(["L1H0", "L0H0", "L1H1", "L0H2", "L0H1"]);
    expect(statistics.ordered("nothing").map(nameOf)).toEqual(["L0H0", "L0H1", "L0H2", "L1H0", "L1H1"]);
    const [first, without, third] = statistics.heads;
    expect(statistics.rank(first, "special")).toEqual({ rank: 2, of: 4 });
    expect(statistics.rank(third, "special")).toEqual({ rank: 4, of: 4 });
    expect(statistics.rank(without, "special")).toBeNull();
    expect(statistics.said(without, "special")).toBe("–");
    expect(statistics.said(first, "special")).toBe("50.0 %");
    expect(statistics.written(6.0832, "distance")).toBe("6.1 tokens");
    expect(statistics.full("special")).toBe("weight on special tokens");
  });

  it("finds the patch of every index, and the indices of every patch", () => {
    for (const [size, patches] of [
      [101, 48],
      [48, 48],
      [7, 7],
      [512, 32],
      [49, 48],
    ])
      for (let patch = 0, next = 0; patch < patches; patch++) {
        const [first, last] = patchRange(patch, size, patches);
        expect(first).toBe(next);
        next = last + 1;
        for (let i = first; i <= last; i++) expect(patchOf(i, size, patches)).toBe(patch);
        if (patch === patches - 1) expect(last).toBe(size - 1);
      }
  });

  it("says what the thumbnails hold", () => {
    const meta = made([1], () => ({ queries: 3, keys: 6, thumb: thumb({ queries_sampled: 2 }) }));
    const octets = () => Uint8Array.from([253, 254, 254, 100, 0, 254, 255, 3, 4]);
    const stock = pixelRangeOf(headsOf({ meta, octets }));
    expect(stock).toMatchObject({ masked: true, broken: true, pooled: true });
    expect(stock.sampled?.index).toBe(0);
    expect(stock.high).toBeCloseTo(100 / 253);
  });
});

describe("the scale of differences", () => {
  it("leaves out the heads that did not change", () => {
    const meta = made([10], () => ({ thumb: thumb({ steps: 126, zero: 127, masked: 254 }) }));
    const change = [33, 9].map((percent) => 127 + Math.round(1.26 * percent));
    // two heads of ten changed
    const all = new Uint8Array(90).fill(127);
    all[4] = change[0];
    all[13] = change[1];
    const { high, signed } = pixelRangeOf(headsOf({ meta, octets: () => all }));
    expect(signed).toBe(true);
    expect(high).toBeCloseTo(0.33, 1);
  });
});

describe("layout", () => {
  it("puts layers in rows and heads in columns, stacks one after another", () => {
    const stacks = ["encoder", "encoder", "cross"];
    const meta = made([4, 2, 3], (index) => ({ stack: stacks[index], layer: index % 2 }));
    const plan = byLayer(bare(meta), 900, 1);
    expect(plan.titles.map(({ text }) => text)).toEqual(["encoder", "cross"]);
    expect(plan.lines.map(({ label, boxes }) => [label, boxes.length])).toEqual([
      ["layer 0", 4],
      ["layer 1", 2],
      ["layer 0", 3],
    ]);
    expect(plan.columns).toHaveLength(7);
    const x = plan.lines.map(({ boxes }) => boxes[1].x);
    expect(new Set(x).size).toBe(1);
    expect(plan.width).toBeLessThanOrEqual(900);
  });

  it.each([
    [32, 900],
    [12, 1000],
    [12, 368],
    [1, 300],
    [7, 640],
  ])("fits %i heads into %i pixels without overlap", (count, width) => {
    for (const plan of [byLayer(bare(made([count, count])), width, 2), inOrder(bare(made([count, count])), width, 1)]) {
      expect(plan.width).toBeLessThanOrEqual(width);
      expect(plan.size).toBeGreaterThanOrEqual(24);
      for (const { boxes } of plan.lines)
        for (let i = 1; i < boxes.length; i++) expect(boxes[i].x - boxes[i - 1].x).toBeGreaterThan(plan.size);
    }
  });

  it("stays readable and scrolls where the heads do not fit", () => {
    const plan = byLayer(bare(made([64])), 368, 1);
    expect(plan.size).toBe(24);
    expect(plan.width).toBeGreaterThan(368);
  });

  it("finds the head at a point, and none between two", () => {
    const heads = bare(made([3, 3]));
    const plan = byLayer(heads, 700, 1);
    for (const head of heads) {
      const place = find(plan, head);
      expect(place).not.toBeNull();
      const { line, column } = place as NonNullable<typeof place>;
      const { y, boxes } = plan.lines[line];
      expect(at(plan, boxes[column].x + 1, y + plan.size - 1)).toEqual(place);
      expect(at(plan, boxes[column].x - 2, y + 5)).toBeNull();
    }
    expect(at(plan, plan.lines[0].boxes[0].x + 3, 2)).toBeNull();
  });

  it("walks with the arrow keys and stops at the ends", () => {
    const plan = byLayer(bare(made([3, 1, 2])), 700, 1);
    const go = (line: number, column: number, key: string, ctrlKey = false) =>
      step(plan, { line, column }, { key, ctrlKey });
    expect(go(0, 0, "ArrowLeft")).toEqual({ line: 0, column: 0 });
    expect(go(0, 1, "ArrowRight")).toEqual({ line: 0, column: 2 });
    expect(go(0, 2, "ArrowRight")).toEqual({ line: 0, column: 2 });
    expect(go(0, 2, "ArrowDown")).toEqual({ line: 1, column: 0 });
    expect(go(2, 1, "ArrowDown")).toEqual({ line: 2, column: 1 });
    expect(go(0, 0, "End", true)).toEqual({ line: 2, column: 1 });
    expect(go(2, 1, "Home")).toEqual({ line: 2, column: 0 });
    expect(go(0, 0, "a")).toBeNull();
  });

  it("walks on from line to line where heads are sorted", () => {
    const plan = inOrder(bare(made([12, 12])), 300, 1);
    const last = plan.lines[0].boxes.length - 1;
    expect(step(plan, { line: 0, column: last }, { key: "ArrowRight", ctrlKey: false })).toEqual({
      line: 1,
      column: 0,
    });
    expect(step(plan, { line: 1, column: 0 }, { key: "ArrowLeft", ctrlKey: false })).toEqual({ line: 0, column: last });
  });
});

const rgb = (css: string) => css.match(/\d+/g)?.map(Number) as [number, number, number];

describe("paint", () => {
  const palette = { negative: "#0000ff", zero: "#eeeeee", positive: "#ff0000", ink: "#111111", ground: "#ffffff" };
  const ink = new Ramp({ ...palette, negative: palette.zero, positive: palette.ink });
  const look = {
    ink,
    end: 1,
    signed: false,
    hatch: 0xff123456,
    ground: 0xffffffff,
    text: 0xff111111,
    palette,
    frame: "#999999",
  };
  const head = (bytes: number[], change: Partial<Thumb> = {}): Head => ({
    site: site({ thumb: thumb(change) }),
    head: 0,
    octets: Uint8Array.from(bytes),
  });

  it("gives every patch its own pixels, darker for more weight", () => {
    const pixels = new Uint32Array(81);
    paintMatrix(pixels, 9, 0, 0, 9, head([0, 50, 100, 150, 200, 253, 254, 254, 255]), look, 1);
    const red = (x: number, y: number) => pixels[y * 9 + x] & 255;
    const centres = [0, 1, 2, 3, 4, 5].map((i) => red((i % 3) * 3 + 1, Math.floor(i / 3) * 3 + 1));
    expect(centres).toEqual([...centres].sort((a, b) => b - a));
    expect(new Set(centres).size).toBe(6);
    const masked = [6, 7, 8].flatMap((y) => [0, 1, 2, 3, 4, 5].map((x) => pixels[y * 9 + x]));
    expect(new Set(masked)).toEqual(new Set([look.hatch, look.ground]));
    const broken = [6, 7, 8].flatMap((y) => [6, 7, 8].map((x) => pixels[y * 9 + x]));
    expect(new Set(broken)).toEqual(new Set([look.text, look.ground]));
  });

  it("shows small changes beside a head that changed wholly, and tells larger ones from them", () => {
    const changes = { ...look, ink: new Ramp(palette), signed: true };
    const colour = (weight: number) => changes.ink.css(partOf(weight, changes), 1);
    const seen = [0, 0.02, 0.09, 0.33, 1].map(colour);
    for (const [i, one] of seen.entries())
      for (const other of seen.slice(i + 1)) expect(contrast(rgb(one), rgb(other))).toBeGreaterThan(1.15);
    expect(partOf(-0.09, changes)).toBe(-partOf(0.09, changes));
    expect(partOf(0.25, look)).toBe(0.25); // weights grow evenly
  });

  it("loses no strong patch where there are fewer pixels than patches", () => {
    const rows = 48;
    const bytes = Array.from({ length: rows * rows }, (_, i) => (i === 13 * rows + 29 ? 253 : 0));
    const pixels = new Uint32Array(25 * 25);
    paintMatrix(pixels, 25, 0, 0, 25, head(bytes, { rows, columns: rows }), look, 1);
    expect(Array.from(pixels)).toContain(ink.pixel(1, 1));
    expect(Array.from(pixels).filter((p) => p !== ink.pixel(0, 1)).length).toBeLessThanOrEqual(4);
  });

  it("draws the strongest cells as lines, the strongest last", () => {
    const cells = strongestCells(head([0, 5, 100, 254, 253, 255, 20, 0, 9]));
    expect(cells.map(({ row, column }) => [row, column])).toEqual([
      [2, 0],
      [0, 2],
      [1, 1],
    ]);
    expect(cells[2].weight).toBe(1);
  });
});

describe("the sentence", () => {
  const table = metaOf([]).tokens[0];

  const said = (meta: Metadata, sort = "layer") =>
    asText(finding(new Statistics(meta, bare(meta)), sort, [labels(table)]));

  it("counts the heads that look at special tokens, and names the most positional", () => {
    const meta = made([2, 2], (index) => ({
      stats: { special: index ? [0.7, 0.51] : [0.5, 0.1], previous: index ? [0.1, 0.2] : [0.97, null] },
    }));
    expect(said(meta)).toBe(
      "Of 4 heads, 2 put more than half of their weight on special tokens; on average L0H0 looks at the previous token with 97 % of its weight.",
    );
  });

  it("names the strongest link where no head is positional", () => {
    const meta = made([2], () => ({
      stats: { special: [0.2, 0.6], link: [0.3, 0.8] },
      links: [
        [0, 1, 0.3],
        [1, 2, 0.8],
      ],
    }));
    const [a, b] = labels(table).slice(1, 3);
    expect(said(meta)).toBe(
      `Of 2 heads, one puts more than half of its weight on special tokens; the strongest link is ${a.text} → ${b.text} with 80 %, in L0H1.`,
    );
    expect(asText(linkSaid(bare(meta)[0], [1, 2, 0.8], [labels(table)]))).toBe(`${a.text} → ${b.text} with 80 %`);
  });

  it("says which of two equal words it means", () => {
    const meta = made([1]);
    const [, one] = labels(table);
    const twice = labels({ ...table, text: table.text.map(() => one.text), word_text: table.text.map(() => one.text) });
    expect(asText(linkSaid(bare(meta)[0], [1, 2, 0.8], [twice]))).toBe(`${one.text} at 1 → ${one.text} at 2 with 80 %`);
  });

  it("tells the range of the statistic that orders the heads", () => {
    const meta = made([3], () => ({ stats: { distance: [2, null, 5.25] } }));
    expect(said(meta, "distance")).toBe(
      "By mean distance, 2 heads of 3 go from L0H2 (5.3 tokens) down to L0H0 (2.0 tokens); half of them are at or above 5.3 tokens.",
    );
  });

  it("holds for a single head and for data without statistics", () => {
    expect(said(made([1], () => ({ stats: { special: [0.25] } })))).toBe(
      "The one head puts 25 % of its weight on special tokens.",
    );
    expect(said({ ...made([2]), stat_words: undefined })).toBe("2 heads, of which this data holds no statistics.");
  });
});
