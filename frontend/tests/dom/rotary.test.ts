// @vitest-environment happy-dom
import { beforeAll, expect, it } from "vitest";
import type { StepTensors } from "../../src/data/step-tensors";
import { toQuery } from "../../src/levels/steps/projections";
import { sceneAt, source, stage, WORDS } from "./stage";

beforeAll(stage);

/** Pairs (0, 2) and (1, 3) of five dimensions are turned, the last one never is; angles in float32, as models have them. */
const ANGLES = [0.7, 1e-8];

function turned(before: Float32Array, position: number): Float32Array {
  const after = Float32Array.from(before);
  ANGLES.forEach((angle, a) => {
    const [cos, sin] = [Math.cos(position * angle), Math.sin(position * angle)];
    after[a] = before[a] * cos - before[a + 2] * sin;
    after[a + 2] = before[a + 2] * cos + before[a] * sin;
  });
  return after;
}

it("does not call slow rotary pairs untouched", () => {
  const scene = sceneAt(source());
  const base = Float32Array.from([0.3, 0.7, 2.1, 0.9, -0.4]);
  const [early, last] = [turned(base, 1), turned(base, WORDS.length - 1)];
  const moved = (after: Float32Array) => Array.from(after, (value, d) => value !== base[d]);
  expect(moved(early), "the slow pair moves by less than float32 can hold").toEqual([true, false, true, false, false]);
  expect(moved(last), "and by more, farther on").toEqual([true, true, true, true, false]);
  Object.assign(scene, { q: early, row: 1, query: 1 });
  scene.tensors.query = (row) => (row === WORDS.length - 1 ? last : early);
  const given = { rotated: () => base, normed: () => null, ofQuery: () => null, w: {} } as unknown as StepTensors;
  const step = toQuery(scene, given).find(({ id }) => id === "query_rotary");
  expect(step?.why).toContain("2 dimensions turn too slowly to show at this position");
  expect(step?.why).toContain("1 dimension stays as it is at every position of this text");
  const [vector] = step?.vectors ?? [];
  expect([1, 4].map((d) => vector.expand?.(d).formula)).toEqual([
    "q[1] turns too slowly to show here",
    "q[4] is not turned",
  ]);
});
