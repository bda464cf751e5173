import { describe, expect, it } from "vitest";
import { contrast } from "../src/base/scale";
import { escaped, estimated, fitting } from "../src/base/svg";
import { chainOf } from "../src/chain/chain";
import { HeadTensors } from "../src/data/head-tensors";
import { Payload } from "../src/data/payload";
import { membersOf, placeName } from "../src/heads/members";
import { MOST, pens } from "../src/heads/palette";
import { RowCache } from "../src/heads/row-cache";
import { exportSide, writtenOf } from "../src/levels/head/column";
import { exportSvg } from "../src/levels/head/export-svg";
import { choose, curve, type Line, opacity, positionOf, thickness, thresholdAt } from "../src/levels/head/geometry";
import { compact } from "../src/scene/labels";
import { meta, payload, site } from "./made";

const head = (h: number, change = {}) => new HeadTensors(new Payload(payload(site(change))), 0, h);

describe("names in a list", () => {
  it("keep a patch's place where there is no room for all", () => {
    expect(compact("frame 12 patch 8,2")).toBe("frame 12 · 8,2");
    expect(compact("video 1 frame 0 patch 10,11")).toBe("video 1 frame 0 · 10,11");
    expect(compact("image 3 patch 0,1")).toBe("image 3 · 0,1");
    for (const same of ["patch 2,2", "frame", "frame 3 [CLS]", "a patch 2,2"]) expect(compact(same)).toBe(same);
  });
});

describe("lines", () => {
  const lines: Line[] = [0.5, 0.2, 0.1, 0.1, 0.06, 0.04, 0].map((weight, key) => ({
    query: 0,
    key,
    weight,
    size: weight,
    head: 0,
  }));

  it("are chosen from the threshold on, the strongest first, and the mass adds up", () => {
    const all = choose(lines, 0, 100);
    expect(all.lines.length).toBe(6);
    expect(all.drawn).toBeCloseTo(all.offered, 12);
    const some = choose(lines, 0.1, 100);
    expect(some.lines.map(({ key }) => key)).toEqual([0, 1, 2, 3]);
    expect(some.offered - some.drawn).toBeCloseTo(0.1, 12);
    const few = choose(lines, 0, 2);
    expect(few.lines.map(({ key }) => key)).toEqual([0, 1]);
    expect(few.drawn).toBeCloseTo(0.7, 12);
  });

  it("do not draw what is no number", () => {
    const broken = choose([{ query: 0, key: 0, weight: Number.NaN, size: Number.NaN, head: 0 }, ...lines], 0, 100);
    expect(broken.lines.length).toBe(6);
    expect(broken.offered).toBeCloseTo(1, 12);
  });

  it("begin and end at their tokens", () => {
    expect(curve(200, 12, 60)).toBe("M0 12C84 12 116 60 200 60");
  });

  it("grow with the weight, and never shrink", () => {
    expect(thickness(0.5, 8) - thickness(0.25, 8)).toBeCloseTo(thickness(0.25, 8) - thickness(0, 8), 12);
    const steps = Array.from({ length: 101 }, (_, i) => opacity(i / 100));
    expect(steps.every((value, i) => i === 0 || value >= steps[i - 1])).toBe(true);
  });

  it("have a threshold slider that comes back to where it was", () => {
    for (let position = 0; position <= 100; position++) expect(positionOf(thresholdAt(position))).toBe(position);
    expect(thresholdAt(100)).toBe(1);
  });
});

describe("colours of heads", () => {
  const GROUNDS = { light: "#fcfcfa", dark: "#131417" };

  it.each([false, true])("never repeat and can be seen on their ground (dark: %s)", (dark) => {
    const all = pens(dark);
    expect(all.length).toBe(MOST);
    expect(new Set(all.map(({ colour }) => colour)).size).toBe(MOST);
    for (const { colour } of all)
      expect(contrast(colour, dark ? GROUNDS.dark : GROUNDS.light), colour).toBeGreaterThanOrEqual(3);
  });

  it("differ from their neighbours by dash as well", () => {
    const all = pens(false);
    for (let i = 1; i < all.length; i++) expect(`${all[i].dash}`).not.toBe(`${all[i - 1].dash}`);
  });
});

describe("a cache", () => {
  it("has the rows of the chain", () => {
    const one = head(1);
    const cache = new RowCache([one]);
    for (let q = 0; q < 3; q++) {
      expect(Array.from(cache.exact(q).weights)).toEqual([...chainOf(one, q).weights]);
      expect(Array.from(cache.row(q).weights)).toEqual([...Float32Array.from(chainOf(one, q).weights)]);
    }
    expect(cache.complete).toBe(true);
    expect(cache.hasScores).toBe(true);
  });

  it("averages weights over its members, and masks what all of them mask", () => {
    const mask = { lower: null, upper: 0, keys: null, rows: null, packed: null, empty_rows: "zero" as const };
    const members = [head(0, { mask }), head(1, { mask })];
    const cache = new RowCache(members);
    const { weights, allowed, scores } = cache.exact(1);
    for (let j = 0; j < 3; j++)
      expect(weights[j]).toBeCloseTo((chainOf(members[0], 1).weights[j] + chainOf(members[1], 1).weights[j]) / 2, 12);
    expect([...(allowed as Uint8Array)]).toEqual([1, 1, 0]);
    expect(scores).toBeNull();
    expect(cache.hasScores).toBe(false);
  });

  it("counts what the head does over the whole text", () => {
    const one = head(0);
    const cache = new RowCache([one]);
    while (cache.advance());
    const { tally } = cache;
    const rows = [0, 1, 2].map((q) => chainOf(one, q).weights);
    const sum = (of: (q: number, j: number) => number) =>
      rows.reduce((total, row, q) => total + row.reduce((s, w, j) => s + w * of(q, j), 0), 0);
    expect(tally.back).toBeCloseTo(
      sum((q, j) => (j < q ? 1 : 0)),
      12,
    );
    expect(tally.ahead).toBeCloseTo(
      sum((q, j) => (j > q ? 1 : 0)),
      12,
    );
    expect(tally.received[2]).toBeCloseTo(rows[0][2] + rows[1][2] + rows[2][2], 12);
    expect(tally.back + tally.itself + tally.ahead).toBeCloseTo(3, 12);
  });
});

describe("means", () => {
  const sites = [
    site(),
    site({ index: 1, layer: 1 }),
    site({ index: 2, layer: 2, keys: 2 }),
    site({ index: 3, stack: "cross" }),
  ];
  const data = meta(sites);
  const names = (average: "none" | "heads" | "layers" | "all") =>
    membersOf(data, sites[1], 1, average).map(({ site, head }) => `${site.layer}.${head}`);

  it("are over heads, over layers with the same tokens, or over both", () => {
    expect(names("none")).toEqual(["1.1"]);
    expect(names("heads")).toEqual(["1.0", "1.1"]);
    expect(names("layers")).toEqual(["0.1", "1.1"]);
    expect(names("all")).toEqual(["0.0", "0.1", "1.0", "1.1"]);
  });

  it("are named", () => {
    expect(placeName({ site: sites[1], head: 1 }, "none")).toBe("layer 1, head 1");
    expect(placeName({ site: sites[1], head: 1 }, "layers")).toBe("the mean over head 1 of all layers");
  });
});

describe("numbers beside a token", () => {
  const beside = (values: (number | null)[][], signed = false, masked: number[] | null = null) => ({
    values,
    colours: [],
    end: 1,
    masked: masked && Uint8Array.from(masked),
    signed,
  });

  it("tell masked from zero, and zero from a trace", () => {
    const of = beside([[0, 0, 0.0001, null]], false, [1, 0, 0, 0]);
    expect([0, 1, 2, 3].map((slot) => writtenOf(of, slot))).toEqual([["masked"], ["0 %"], ["<0.1 %"], [""]]);
  });

  it("of a difference only what grew or what shrank", () => {
    const of = beside(
      [
        [0.2, 0, 0, 0],
        [0, 0.3, 0, 0],
      ],
      true,
      [0, 0, 0, 1],
    );
    expect([0, 1, 2, 3].map((slot) => writtenOf(of, slot))).toEqual([
      ["20.0 %", ""],
      ["", "30.0 %"],
      ["0 %", ""],
      ["masked", ""],
    ]);
    expect([0, 1, 2, 3].map((slot) => exportSide(of, slot)[0])).toEqual(["+20.0 %", "\u221230.0 %", "0 %", "masked"]);
  });
});

describe("lines on paper", () => {
  it("are no wider than their room, and lose nothing", () => {
    const text = `How well WWWWWWWW 東京都に住む人々は each ${"x".repeat(60)} matches.`;
    const lines = fitting(text, 120, 13);
    expect(Math.max(...lines.map((line) => estimated(line, 13)))).toBeLessThanOrEqual(120);
    expect(lines.join("").replace(/\s/g, "")).toBe(text.replace(/\s/g, ""));
    expect(lines[0]).toBe("How well");
  });
});

describe("on paper", () => {
  it("tokens are text, never markup", () => {
    expect(escaped(`</text><script>"&`)).not.toMatch(/[<>"]/);
    const side = [{ text: "<b>&", y: 12, chosen: true, special: false, numbers: ["50.0 %", ""] }];
    const { svg } = exportSvg({
      title: "a < b",
      width: 100,
      height: 24,
      queries: side,
      keys: side,
      columns: { query: "given to <c>", key: "weight of d, head 1" },
      faint: [],
      strong: [{ query: 0, key: 0, weight: 0.5, size: 0.5, head: 0 }],
      y: { query: () => 12, key: () => 12 },
      beside: () => 0,
      pens: pens(false),
      undrawn: "not drawn: <3 %",
      heads: ["head 1"],
      colours: { ground: "#fff", text: "#000", muted: "#555" },
    });
    expect(svg).toContain("&lt;b&gt;&amp;");
    expect(svg).not.toContain("<b>");
    expect(svg).toContain("given to &lt;c&gt;");
    expect(svg).toContain("weight of d, head 1");
    expect(svg.match(/<path /g)?.length).toBe(1);
    expect(svg).toContain("50.0 %");
  });
});
