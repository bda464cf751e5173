import { describe, expect, it } from "vitest";
import { Payload } from "../src/data/payload";
import { Holdings } from "../src/data/source";
import { CommSource, type Reply } from "../src/data/sources/comm";
import { largestFirst, products, total, turned, turns, withoutMask } from "../src/levels/steps/sums";
import { f32, meta, payload, QKV, safetensors, site } from "./made";

const STEPS = { heads: [1], kept: ["x", "w_q"], bytes: 10, all_bytes: 20, projections: {} };

describe("sums", () => {
  it("multiplies term by term and adds up", () => {
    const terms = products(
      [2, -3, 5],
      (i) => [7, 11, -1][i],
      (i) => `m = ${i}`,
    );
    expect(terms.map(({ value }) => value)).toEqual([14, -33, -5]);
    expect(total(terms)).toBe(-24);
    expect(
      total(terms, [
        { name: "bias", sign: "+", value: 4 },
        { name: "factor", sign: "×", value: 0.5 },
      ]),
    ).toBe(-10);
    expect(total(terms, [{ name: "all", sign: "÷", value: -8 }])).toBe(3);
  });

  it("puts the largest first, and what is not a number before all", () => {
    const terms = products(
      [1, Number.NaN, -3, 2],
      () => 1,
      (i) => `${i}`,
    );
    expect(largestFirst(terms).map(({ at }) => at)).toEqual([1, 2, 3, 0]);
  });
});

/** Rotary embedding, written a second time: pairs of the first R numbers, in halves or neighbours. */
function rotate(vector: number[], R: number, neighbours: boolean, position: number): number[] {
  const out = [...vector];
  for (let i = 0; i < R / 2; i++) {
    const [a, b] = neighbours ? [2 * i, 2 * i + 1] : [i, i + R / 2];
    const angle = position * 10 ** (-i / 2);
    out[a] = vector[a] * Math.cos(angle) - vector[b] * Math.sin(angle);
    out[b] = vector[b] * Math.cos(angle) + vector[a] * Math.sin(angle);
  }
  return out;
}

describe("rotary embedding", () => {
  const before = [0.3, -1.2, 2.1, 0.7, -0.4, 1.6, 0.9, -2.2, 0.5, 1.1, -0.6, 0.8];
  it.each([
    [12, false],
    [12, true],
    [6, false],
    [6, true],
  ])("is read from the numbers: %i dimensions, neighbours %s", (R, neighbours) => {
    const after = rotate(before, R, neighbours, 5);
    const found = turns(before, after);
    expect(found).not.toBeNull();
    for (let d = 0; d < before.length; d++) {
      const turn = found?.[d] ?? null;
      if (d >= R) expect(turn).toBeNull();
      else if (turn) expect(turned(before, d, turn, "q").total).toBeCloseTo(after[d], 9);
    }
    expect(found?.[0]?.other).toBe(neighbours ? 1 : R / 2);
  });

  it("position 0 turns nothing, and what is no rotation is not explained", () => {
    expect(turns(before, before)?.every((turn) => turn === null)).toBe(true);
    expect(
      turns(
        before,
        before.map((value, d) => value + d),
      ),
    ).toBeNull();
  });
});

it("weights without the mask take part in full, the sink too", () => {
  const weights = withoutMask([1, 2, 3], null);
  expect(weights.reduce((sum, one) => sum + one)).toBeCloseTo(1, 12);
  expect(weights[2]).toBeCloseTo(Math.exp(3) / (Math.exp(1) + Math.exp(2) + Math.exp(3)), 12);
  expect(withoutMask([1, 2, 3], 3).reduce((sum, one) => sum + one)).toBeCloseTo(1 - weights[2] / (1 + weights[2]), 12);
});

describe("what was given", () => {
  const tensors = {
    "s0.x": f32([3, 4], [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]),
    "s0.w_q": f32([1, 2, 4], [1, 0, 0, 0, 0, 1, 0, 0]),
    "s0.b_q": f32([1, 2], [0.5, -0.5]),
    "s0.w_k": f32([1, 2, 4], [0, 0, 1, 0, 0, 0, 0, 1]),
    "s0.pre_rotary_q": f32([1, 3, 2], [1, 2, 3, 4, 5, 6]),
  };

  it("is read for the head that it is held for, and for no other", () => {
    const data = new Payload(payload(site({ steps: STEPS }), tensors));
    const holdings = new Holdings(data.meta);
    holdings.add(data);
    expect(holdings.stepTensors(0, 0)).toBeNull();
    const given = holdings.stepTensors(0, 1);
    expect(given?.width).toBe(4);
    expect(Array.from(given?.ofQuery(1) ?? [])).toEqual([5, 6, 7, 8]);
    expect(Array.from(given?.ofKey(2) ?? [])).toEqual([9, 10, 11, 12]);
    expect(Array.from(given?.w.q ?? [])).toEqual([1, 0, 0, 0, 0, 1, 0, 0]);
    expect(Array.from(given?.rotated("q", 2) ?? [])).toEqual([5, 6]);
    expect(given?.w.v).toBeNull();
    expect(given?.wo).toBeNull();
  });

  it("comes by itself, beside q, k and v that are here already", () => {
    const holdings = new Holdings(new Payload(payload()).meta);
    holdings.add(new Payload(payload()));
    expect(holdings.stepTensors(0, 1)).toBeNull();
    const only = meta([site({ held: null, steps: STEPS })]);
    holdings.add(new Payload(safetensors(tensors, { attnscope: JSON.stringify(only) })));
    expect(holdings.stepTensors(0, 1)?.width).toBe(4);
    expect(Array.from(holdings.head(0, 1)?.q.subarray(0, 2) ?? [])).toEqual(QKV.q.slice(6, 8));
  });

  it("is asked for, and an answer without it is said", async () => {
    const only = meta([site({ held: null, steps: STEPS })]);
    const answers = [
      safetensors(tensors, { attnscope: JSON.stringify(only) }),
      safetensors({}, { attnscope: JSON.stringify(meta([site({ held: null })])) }),
    ];
    let listener: (reply: Reply, buffers: ArrayBufferView[]) => void = () => {};
    const sent: object[] = [];
    const source = new CommSource([payload()], {
      send: (message) => {
        sent.push(message);
        const { id } = message as { id: number };
        listener({ id, kind: "reply" }, [answers.shift() as Uint8Array]);
      },
      listen: (given) => {
        listener = given;
        return () => {};
      },
    });
    expect(source.stepTensors(0, 1)).toBeNull();
    expect((await source.fetchStepTensors(0, 1)).width).toBe(4);
    expect(sent).toEqual([{ id: 1, kind: "steps", site: 0, head: 1 }]);
    expect(source.stepTensors(0, 1)?.width).toBe(4);
    await expect(source.fetchStepTensors(0, 0)).rejects.toThrow("keeps neither x nor the projections");
  });

  it("keys of another text have an x of their own", () => {
    const cross = site({ kind: "cross", steps: STEPS });
    const without = new Payload(payload(cross, tensors));
    const holdings = new Holdings(without.meta);
    holdings.add(without);
    expect(holdings.stepTensors(0, 1)?.ofKey(0)).toBeNull();
    const keyed = new Payload(payload(cross, { ...tensors, "s0.x_keys": f32([3, 4], Array(12).fill(3)) }));
    const other = new Holdings(keyed.meta);
    other.add(keyed);
    expect(Array.from(other.stepTensors(0, 1)?.ofKey(0) ?? [])).toEqual([3, 3, 3, 3]);
  });
});
