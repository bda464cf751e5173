// @vitest-environment happy-dom
import { beforeEach, describe, expect, it, vi } from "vitest";
import { isMoving, moveFrom, setBar, stop } from "../../src/base/motion";
import { type Highlight, isNextQuery } from "../../src/levels/head/highlight";

const bar = document.createElement("i");
let less = false;
let progress: number | null = null;
let asked: { frames: Keyframe[]; options: KeyframeAnimationOptions }[] = [];

beforeEach(() => {
  less = false;
  progress = null;
  asked = [];
  vi.stubGlobal("matchMedia", () => ({ matches: less }));
  bar.animate = ((frames: Keyframe[], options: KeyframeAnimationOptions) => {
    asked.push({ frames, options });
    const effect = { getComputedTiming: () => ({ progress }) };
    const motion = { effect, playState: "running", cancel: () => (motion.playState = "idle") };
    return motion;
  }) as never;
});

describe("motion", () => {
  it("stretches a bar from the length that it had, and is short", () => {
    setBar(bar, 0.2, "20%", false);
    expect([asked, bar.style.width]).toEqual([[], "20%"]);
    setBar(bar, 0.5, "50%", true);
    expect(asked).toEqual([{ frames: [{ transform: "scaleX(0.4)", offset: 0 }], options: expect.anything() }]);
    expect(asked[0].options.duration).toBeLessThanOrEqual(250);
    expect([bar.style.width, isMoving(bar)]).toEqual(["50%", true]);
    stop(bar);
    expect(isMoving(bar)).toBe(false);
    setBar(bar, 0.53, "53%", true); // too little to follow
    expect([asked.length, bar.style.width]).toEqual([1, "53%"]);
  });

  it("begins anew from where a bar is on its way", () => {
    setBar(bar, 0.5, "50%", false);
    setBar(bar, 0.25, "25%", true);
    progress = 0.4; // of the way from 0.5 to 0.25
    setBar(bar, 0.8, "80%", true);
    expect(asked[1].frames).toEqual([{ transform: "scaleX(0.5)", offset: 0 }]);
    setBar(bar, 0, "0", true);
    expect(asked[2].frames).toEqual([{ width: expect.stringMatching(/^56.0*\d*%$/), offset: 0 }]);
    progress = null;
    setBar(bar, 0.8, "80%", false);
    setBar(bar, 0.4, "40%", true);
    expect(asked[3].frames).toEqual([{ transform: "scaleX(2)", offset: 0 }]);
  });

  it("is none where the reader wants less of it", () => {
    less = true;
    expect(moveFrom(bar, { width: "7%" })).toBeNull();
    expect(asked).toEqual([]);
  });
});

it("is one query after another, not several, and not the lines of a key", () => {
  const of = (slots: number[], queries = slots) =>
    ({ slots, lines: queries.map((query) => ({ query })) }) as unknown as Highlight;
  expect(isNextQuery(of([3]), of([5]))).toBe(true);
  expect(isNextQuery(of([3]), of([3]))).toBe(false);
  expect(isNextQuery(of([3]), of([5, 3]))).toBe(false);
  expect(isNextQuery(of([]), of([5]))).toBe(false);
  expect(isNextQuery(of([3], [0, 1, 2]), of([5]))).toBe(false);
});
