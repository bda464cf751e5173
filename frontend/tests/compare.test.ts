/** B − A along the merged row: against both chains, computed by themselves. */
import { describe, expect, it } from "vitest";
import { change, percent } from "../src/base/format";
import { Ramp } from "../src/base/scale";
import { INITIAL } from "../src/base/state";
import { linksOf } from "../src/chain/chain";
import { type Difference, maskedAt, numberAt, placeOf, positionOn } from "../src/chain/difference";
import { PairSource } from "../src/chain/pair-source";
import type { HeadTensors } from "../src/data/head-tensors";
import { Payload } from "../src/data/payload";
import { Holdings, type Source } from "../src/data/source";
import { Shade } from "../src/levels/matrix/shade";
import { pythonOfPair } from "../src/scene/as-python";
import { f32, meta, payload, safetensors, site } from "./made";

const MASK = { lower: null, upper: 0, keys: null, rows: null, packed: null, empty_rows: "zero" as const };

/** Three tokens in A, of which B has the first and the last, and one of its own between them. */
const PLACES = { a: [0, 1, null, 2], b: [0, null, 1, 2] };

function sourceOf(bytes: Uint8Array): Source {
  const read = new Payload(bytes);
  const holdings = new Holdings(read.meta);
  holdings.add(read);
  return {
    meta: read.meta,
    live: false,
    holds: (index, head) => holdings.holds(index, head),
    head: (index, head) => holdings.head(index, head) as HeadTensors,
  };
}

function pair(mask = site().mask): { source: PairSource; a: HeadTensors; b: HeadTensors } {
  const q = [0.3, 1.1, -0.7, 0.2, 1.9, -1.3, 0.5, 0.7, -0.2, 1.7, 0.4, -2.3];
  const a = sourceOf(payload(site({ mask })));
  const b = sourceOf(payload(site({ mask }), { "s0.q": f32([2, 3, 2], q) }));
  const both = site({ queries: 4, keys: 4, weights_only: true, held: null, kv_heads: 2 });
  const described = { ...meta([both]), pair: { sites: [[0, 0]], places: [PLACES] } };
  const source = new PairSource(new Payload(safetensors({}, { attnscope: JSON.stringify(described) })), a, b);
  return { source, a: a.head(0, 1) as HeadTensors, b: b.head(0, 1) as HeadTensors };
}

describe("the difference of a head", () => {
  it("is weight in B minus weight in A, by what stands for what", () => {
    const { source, a, b } = pair();
    const head = source.head(0, 1) as Difference;
    for (const place of [0, 3]) {
      const [before, after] = [PLACES.a, PLACES.b].map((at, i) => linksOf([a, b][i], at[place] as number).weights);
      const expected = [after[0] - before[0], -before[1], after[1], after[2] - before[2]];
      const found = linksOf(head, place).weights;
      expect(Array.from(found)).toEqual(expected);
      // two rows that each sum to 1
      expect(found.reduce((sum, one) => sum + one, 0)).toBeCloseTo(0, 12);
    }
  });

  it("has no row where only one text has the query", () => {
    const head = pair().source.head(0, 0) as Difference;
    for (const place of [1, 2]) {
      expect(Array.from(linksOf(head, place).weights)).toEqual([0, 0, 0, 0]);
      expect(Array.from(head.allowed(place) as Uint8Array)).toEqual([0, 0, 0, 0]);
    }
    expect(head.at(1).b.chain).toBeNull();
    expect(head.at(1).a.query).toBe(1);
  });

  it("is masked where neither text may look, and open where one of them may", () => {
    const head = pair(MASK).source.head(0, 1) as Difference;
    expect(Array.from(head.allowed(0) as Uint8Array)).toEqual([1, 0, 0, 0]);
    expect(head.allowed(3)).toBeNull();
    const { a } = head.at(0);
    expect(maskedAt(a, 3)).toBe(true);
    expect(maskedAt(a, 2)).toBe(false); // not there at all
    expect(numberAt(a, (chain) => chain.weights, 2)).toBeNull();
  });

  it("is made once, of heads that are here in both", () => {
    const { source } = pair();
    expect(source.head(0, 1)).toBe(source.head(0, 1));
    expect(source.holds(0, 1)).toBe(true);
    expect(source.holds(0, 7)).toBe(false);
  });

  it("waits for heads that are on their way", async () => {
    const { source } = pair();
    const late = {
      ...source.b,
      head: async (index: number, head: number) => (await source.b.head(index, head)) as HeadTensors,
    };
    const slow = new PairSource((source as unknown as { payload: Payload }).payload, source.a, late as Source);
    const found = slow.head(0, 1);
    expect(found).toBeInstanceOf(Promise);
    expect(Array.from((await found).given(3) as Float64Array)).toEqual(
      Array.from((source.head(0, 1) as Difference).given(3)),
    );
  });
});

it("finds a token on every side", () => {
  expect(placeOf(PLACES, "b", 1)).toBe(2);
  expect(positionOn(PLACES, "a", 2)).toBeNull();
  expect(positionOn(PLACES, "a", placeOf(PLACES, "b", 2))).toBe(2);
  expect(positionOn(PLACES, "difference", 3)).toBe(3);
});

it("writes differences with their sign", () => {
  expect([0.0532, -0.217, 0, -0.0001, Number.NaN].map(change)).toEqual(["+5.3 %", "\u221221.7 %", "0 %", "0 %", "NaN"]);
  expect([percent(-0.25), percent(-0.0001)]).toEqual(["\u221225.0 %", "<0.1 %"]);
});

it("colours differences by sign, on one scale to both sides", () => {
  const ramp = new Ramp({
    negative: "#1d5fb4",
    zero: "#ecebe7",
    positive: "#c4500d",
    ink: "#17181a",
    ground: "#fcfcfa",
  });
  const shade = new Shade(ramp, "weights", 0.3, 0.3, false, true);
  expect(shade.pixel(-0.4)).toBe(ramp.pixel(-1, 1));
  expect(shade.pixel(0.4)).toBe(ramp.pixel(1, 1));
  expect(shade.pixel(0)).toBe(ramp.pixel(0, 1));
  expect(shade.said).toBe("\u221230 … +30 %");
});

it("is written as Python, what both traces share once", () => {
  const trace = (text: string) => ({ ...meta([site()]), source: { model: "demo", text } });
  const lines = pythonOfPair([trace("one two"), trace("one three")], {
    ...INITIAL,
    level: "head",
    side: "difference",
    sort: "change",
    query: 2,
  });
  expect(lines.match(/attnscope\.load/g)).toHaveLength(1);
  expect(lines).toContain('trace_b = attnscope.trace(model, tokenizer, "one three")');
  expect(lines).toContain('view = attnscope.compare(trace_a, trace_b).show(level="head")');
  expect(lines).toContain("view = view.at(layer=0, head=0, query=2, key=None)");
});
