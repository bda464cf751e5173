import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterEach, describe, expect, it } from "vitest";

const SCRIPT = join(import.meta.dirname, "..", "check-arrows.mjs");
const made: string[] = [];

/** Runs the check over a made tree: file -> its text. */
function check(tree: Record<string, string>): { status: number | null; said: string } {
  const root = mkdtempSync(join(tmpdir(), "arrows-"));
  made.push(root);
  for (const [file, text] of Object.entries(tree)) {
    mkdirSync(join(root, dirname(file)), { recursive: true });
    writeFileSync(join(root, file), text);
  }
  const { status, stderr } = spawnSync(process.execPath, [SCRIPT, root], { encoding: "utf8" });
  return { status, said: stderr };
}

afterEach(() => {
  for (const root of made.splice(0)) rmSync(root, { recursive: true });
});

describe("the check of the arrows", () => {
  it("passes imports that point downwards, or to the same room", () => {
    const { status, said } = check({
      "app/mount.ts": 'import { dom } from "../base/dom";\nimport "./level-registry";',
      "app/level-registry.ts": 'import { level } from "../levels/head/level";\nexport const levels = [level];',
      "levels/head/level.ts": 'import css from "./style.css";\nexport const level = css;',
      "base/dom.ts": "export const dom = 1;",
    });
    expect(said).toBe("");
    expect(status).toBe(0);
  });

  it("fails on an arrow upwards, of a type too", () => {
    const { status, said } = check({
      "base/dom.ts": 'import type { Scene } from "../scene/scene";\nexport type Dom = Scene;',
      "scene/scene.ts": "export type Scene = 1;",
    });
    expect(said).toContain("base/dom.ts imports scene/scene.ts: base lies below scene");
    expect(status).toBe(1);
  });

  it("fails on a circle, within one room, and names it", () => {
    const { status, said } = check({
      "data/a.ts": 'export { b } from "./b";',
      "data/b.ts": 'import { c } from "./c";\nexport const b = c;',
      "data/c.ts": 'export const c = async () => import("./a");',
    });
    expect(said).toContain("a circle: data/a.ts → data/b.ts → data/c.ts → data/a.ts");
    expect(status).toBe(1);
  });

  it("fails where a level knows another, or the frame knows one by name", () => {
    const { status, said } = check({
      "levels/steps/level.ts": 'import { lens } from "../neuron/lens";\nexport const steps = lens;',
      "levels/neuron/lens.ts": "export const lens = 1;",
      "app/parts/foot.ts": 'import { lens } from "../../levels/neuron/lens";\nexport const foot = lens;',
    });
    expect(said).toContain("a level does not know another");
    expect(said).toContain("app knows the levels through app/level-registry.ts alone");
    expect(status).toBe(1);
  });

  it("fails on a folder that is no room", () => {
    const { status, said } = check({ "helpers/a.ts": 'import "../base/b";', "base/b.ts": "" });
    expect(said).toContain('"helpers" is not a room');
    expect(status).toBe(1);
  });
});
