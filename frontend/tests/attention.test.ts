import { describe, expect, it } from "vitest";
import { biased, capped, dot, masked, output, scaled, share, softmax } from "../src/chain/attention";

const f64 = (...values: number[]) => Float64Array.from(values);
const f32 = (...values: number[]) => Float32Array.from(values);

describe("each link of the chain, by hand", () => {
  it("dot", () => {
    expect([...dot(f32(1, 2, -1), f32(3, 0, 1, 0.5, -1, 2))]).toEqual([2, -3.5]);
  });

  it("scaled, capped, biased", () => {
    expect([...scaled(f64(8, -2), 0.5)]).toEqual([4, -1]);
    expect(capped(f64(3), 2)[0]).toBeCloseTo(2 * Math.tanh(1.5), 12);
    expect([...capped(f64(3), null)]).toEqual([3]);
    expect([...biased(f64(1, 2), f32(0.5, -4))]).toEqual([1.5, -2]);
    expect([...biased(f64(1, 2), null)]).toEqual([1, 2]);
  });

  it("masked", () => {
    expect([...masked(f64(1, 2, 3), [1, 0, 1])]).toEqual([1, Number.NEGATIVE_INFINITY, 3]);
  });

  it("softmax over keys", () => {
    const { weights, sink, empty } = softmax(f64(Math.log(1), Math.log(3)));
    expect(weights[0]).toBeCloseTo(0.25, 12);
    expect(weights[1]).toBeCloseTo(0.75, 12);
    expect(sink).toBe(0);
    expect(empty).toBe(false);
  });

  it("softmax does not overflow", () => {
    const { weights } = softmax(f64(1000, 1000, -1e9));
    expect([...weights]).toEqual([0.5, 0.5, 0]);
  });

  it("a sink is one more logit whose column is dropped", () => {
    const { weights, sink } = softmax(f64(Math.log(2), Math.log(3)), Math.log(5));
    expect(weights[0]).toBeCloseTo(0.2, 12);
    expect(weights[1]).toBeCloseTo(0.3, 12);
    expect(sink).toBeCloseTo(0.5, 12);
  });

  it("a row with no key allowed is what the implementation made of it", () => {
    const none = f64(Number.NEGATIVE_INFINITY, Number.NEGATIVE_INFINITY);
    expect([...softmax(none).weights]).toEqual([0, 0]);
    expect([...softmax(none, null, "uniform").weights]).toEqual([0.5, 0.5]);
    expect(softmax(none).empty).toBe(true);
  });

  it("NaN is shown, not repaired", () => {
    expect([...softmax(f64(1, Number.NaN)).weights].every(Number.isNaN)).toBe(true);
  });

  it("output and share", () => {
    expect([...output(f64(0.25, 0.75), f32(4, 0, 0, 8))]).toEqual([1, 6]);
    const parts = share(f64(0.5, 0.5), f32(3, 1));
    expect([...parts]).toEqual([0.75, 0.25]);
    expect([...share(f64(0, 0), f32(3, 1))]).toEqual([0, 0]);
  });
});
