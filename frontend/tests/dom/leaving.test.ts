// @vitest-environment happy-dom
import { beforeAll, expect, it, vi } from "vitest";
import type { RowCache } from "../../src/heads/row-cache";
import * as rows from "../../src/heads/rows";
import { headLevel } from "../../src/levels/head/level";
import { Lines } from "../../src/levels/head/lines";
import { actions, HEIGHT, sceneAt, source, stage } from "./stage";

// a text so long that its rows are computed in slices, a few each frame
vi.mock(import("../../src/heads/head-sentence"), async (original) => ({
  ...(await original()),
  completed: (cache: RowCache) => cache.complete,
}));

beforeAll(stage);

it("stops computing the lines when the head level is left, and begins anew when it is drawn again", () => {
  const waiting = new Map<number, () => void>();
  let made = 0;
  let clock = 0;
  vi.stubGlobal("requestAnimationFrame", (run: () => void) => waiting.set(++made, run) && made);
  vi.stubGlobal("cancelAnimationFrame", (frame: number) => waiting.delete(frame));
  vi.spyOn(performance, "now").mockImplementation(() => (clock += 20)); // one step a frame
  const turn = (times: number) => {
    for (let i = 0; i < times; i++) {
      const all = [...waiting.values()];
      waiting.clear();
      for (const run of all) run();
    }
  };
  const computed = vi.spyOn(rows, "slotRow");
  const shown = vi.spyOn(Lines.prototype, "setFaint");
  const of = source();
  const level = headLevel.make(actions(), () => ({ top: 0, bottom: HEIGHT }), of);
  document.body.append(level.element);
  const scene = sceneAt(of, { level: "head" });
  level.draw(scene);
  turn(4);
  level.leave?.();
  const before = computed.mock.calls.length;
  turn(30);
  expect(computed.mock.calls.length, "nothing more once it is left").toBe(before);
  const drawn = () => shown.mock.calls.at(-1)?.[0].length ?? 0;
  const some = drawn();
  level.draw({ ...scene });
  turn(30);
  expect(computed.mock.calls.length, "and all of it once it is back").toBeGreaterThan(before + 6);
  expect(drawn()).toBeGreaterThan(some);
  level.destroy();
  vi.restoreAllMocks();
  vi.unstubAllGlobals();
});
