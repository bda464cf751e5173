import { describe, expect, it } from "vitest";
import { chainOf, recheck } from "../src/chain/chain";
import { HeadTensors } from "../src/data/head-tensors";
import type { Site } from "../src/data/metadata";
import { Payload } from "../src/data/payload";
import { f32, i32, payload, QKV, site, u8 } from "./made";

const head = (one: Site, more = {}, index = 1) => new HeadTensors(new Payload(payload(one, more)), 0, index);

/** The chain again, written as plainly as can be. */
function bruteForce(
  one: Site,
  h: number,
  query: number,
  allowed: (key: number) => boolean,
  bias: (key: number) => number,
  sink?: number,
) {
  const scores = [0, 1, 2].map((key) => {
    let sum = 0;
    for (let d = 0; d < 2; d++) sum += QKV.q[h * 6 + query * 2 + d] * QKV.k[key * 2 + d];
    sum *= one.scaling;
    if (one.softcap) sum = one.softcap * Math.tanh(sum / one.softcap);
    return sum + bias(key);
  });
  const exp = scores.map((score, key) => (allowed(key) ? Math.exp(score) : 0));
  const total = exp.reduce((a, b) => a + b, 0) + (sink === undefined ? 0 : Math.exp(sink));
  const weights = exp.map((e) => e / total);
  const z = [0, 1].map((d) => weights.reduce((sum, weight, key) => sum + weight * QKV.v[key * 2 + d], 0));
  return { weights, z };
}

function agrees(mine: ReturnType<typeof chainOf>, theirs: ReturnType<typeof bruteForce>) {
  theirs.weights.forEach((weight, key) => {
    expect(mine.weights[key]).toBeCloseTo(weight, 10);
  });
  theirs.z.forEach((value, d) => {
    expect(mine.z[d]).toBeCloseTo(value, 10);
  });
}

const everything = () => true;
const nothing = () => 0;

describe("one head", () => {
  it("shares keys and values with its group", () => {
    expect([...head(site(), {}, 1).query(2)]).toEqual([-1, 3]);
    expect([...head(site(), {}, 1).key(2)]).toEqual([3, -2]);
    expect(head(site()).norms[2]).toBeCloseTo(Math.hypot(2, 2), 6);
  });

  it("plain", () => {
    for (const h of [0, 1])
      for (const q of [0, 1, 2]) agrees(chainOf(head(site(), {}, h), q), bruteForce(site(), h, q, everything, nothing));
  });

  it("softcap", () => {
    const one = site({ softcap: 0.7 });
    agrees(chainOf(head(one), 2), bruteForce(one, 1, 2, everything, nothing));
  });

  it("causal, and a window", () => {
    const mask = { ...site().mask, lower: -1, upper: 0 };
    const one = site({ mask });
    for (const q of [0, 1, 2])
      agrees(
        chainOf(head(one), q),
        bruteForce(one, 1, q, (key) => key <= q && key >= q - 1, nothing),
      );
  });

  it("padding", () => {
    const one = site({ mask: { ...site().mask, keys: "m0" } });
    agrees(
      chainOf(head(one, { m0: u8([3], [0, 1, 1]) }), 0),
      bruteForce(one, 1, 0, (key) => key > 0, nothing),
    );
  });

  it("rows that may see nothing", () => {
    const mask = { ...site().mask, rows: "m1" };
    const rows = { m1: u8([3], [1, 0, 1]) };
    const zero = chainOf(head(site({ mask }), rows), 1);
    expect([...zero.weights, ...zero.z]).toEqual([0, 0, 0, 0, 0]);
    expect(zero.empty).toBe(true);
    const uniform = chainOf(head(site({ mask: { ...mask, empty_rows: "uniform" } }), rows), 1);
    expect(uniform.weights[0]).toBeCloseTo(1 / 3, 12);
    expect(uniform.z[0]).toBeCloseTo(1, 6);
  });

  it("packed bits, first key in the highest, one table for all heads or one each", () => {
    const one = site({ mask: { ...site().mask, packed: "m2" } });
    const shared = { m2: u8([1, 3, 1], [0b10100000, 0b01000000, 0b11100000]) };
    agrees(
      chainOf(head(one, shared), 0),
      bruteForce(one, 1, 0, (key) => key !== 1, nothing),
    );
    const own = { m2: u8([2, 3, 1], [0, 0, 0, 0b01100000, 0b10000000, 0b11100000]) };
    agrees(
      chainOf(head(one, own), 0),
      bruteForce(one, 1, 0, (key) => key > 0, nothing),
    );
  });

  it("a position bias by diagonals, and in full", () => {
    const diagonals = [1, 2, 3, 4, 5];
    const one = site({ bias: { form: "diagonals", tensor: "b0" } });
    for (const q of [0, 1, 2])
      agrees(
        chainOf(head(one, { b0: f32([1, 5], diagonals) }), q),
        bruteForce(one, 1, q, everything, (key) => diagonals[key - q + 2]),
      );
    const cells = [0, 0, 0, 0, 0, 0, 0, 0, 0, 1, -1, 2, 0, 0, 0, 3, 3, -3];
    const full = site({ bias: { form: "full", tensor: "b1" } });
    for (const q of [0, 2])
      agrees(
        chainOf(head(full, { b1: f32([2, 3, 3], cells) }), q),
        bruteForce(full, 1, q, everything, (key) => cells[9 + q * 3 + key]),
      );
    const parts = site({ bias: { form: "blocks", tensor: "b2" } });
    for (const q of [0, 1, 2]) {
      agrees(
        chainOf(head(parts, { b2: f32([2, 3, 1, 1], [0, 0, 0, 5, -4, 3]) }), q),
        bruteForce(parts, 1, q, everything, (key) => (key === q ? [5, -4, 3][q] : 0)),
      );
      agrees(
        chainOf(head(parts, { b2: f32([1, 1, 3, 3], cells.slice(9)) }), q),
        bruteForce(parts, 1, q, everything, (key) => cells[9 + q * 3 + key]),
      );
    }
  });

  it("sinks", () => {
    const one = site({ sinks: "s0.sinks" });
    const chain = chainOf(head(one, { "s0.sinks": f32([2], [9, 0.5]) }), 1);
    agrees(chain, bruteForce(one, 1, 1, everything, nothing, 0.5));
    expect(chain.sink + chain.weights.reduce((a, b) => a + b, 0)).toBeCloseTo(1, 12);
  });

  it("weights only", () => {
    const one = site({ weights_only: true });
    const given = Array.from({ length: 18 }, (_, i) => i / 100);
    const chain = chainOf(head(one, { "s0.weights": f32([2, 3, 3], given) }), 2);
    expect(chain.dot).toBeNull();
    expect([...chain.weights].map((w) => Math.round(w * 100))).toEqual([15, 16, 17]);
  });

  it("knows numbers that are none", () => {
    expect(head(site(), { "s0.v": f32([1, 3, 2], [1, Number.NaN, 0, Number.POSITIVE_INFINITY, 0, 0]) }).broken).toBe(2);
  });
});

describe("the receipt of this browser", () => {
  const z = [0, 1, 2].flatMap((q) => bruteForce(site(), 1, q, everything, nothing).z);
  const both = [...z, ...z];

  it("agrees with what was returned", () => {
    const check = recheck(head(site(), { "s0.z": f32([2, 3, 2], both), "s0.z_rows": i32([0, 1, 2]) }));
    expect(check?.rows).toBe(3);
    expect(check?.difference).toBeLessThan(1e-6);
  });

  it("notices one changed number", () => {
    const wrong = both.map((value, i) => (i === 9 ? value + 0.1 : value));
    expect(
      recheck(head(site(), { "s0.z": f32([2, 3, 2], wrong), "s0.z_rows": i32([0, 1, 2]) }))?.difference,
    ).toBeGreaterThan(0.01);
  });

  it("compares where both are finite, and wants NaN in the same places", () => {
    const v = f32([1, 3, 2], [1, Number.NaN, 0, 1, 2, 2]);
    const zRows = i32([0, 1, 2]);
    const own = [0, 1, 2].flatMap((q) => Array.from(chainOf(head(site(), { "s0.v": v }), q).z));
    expect(own.some(Number.isNaN)).toBe(true);
    const same = recheck(head(site(), { "s0.v": v, "s0.z": f32([2, 3, 2], [...own, ...own]), "s0.z_rows": zRows }));
    expect(same).toMatchObject({ rows: 3, broken: 3, parted: 0 });
    expect(same?.difference).toBeLessThan(1e-6);
    const none = recheck(head(site(), { "s0.z": f32([2, 3, 2], [...own, ...own]), "s0.z_rows": zRows }));
    expect(none?.parted).toBe(3);
  });

  it("has nothing to say without z", () => {
    expect(recheck(head(site()))).toBeNull();
  });
});
