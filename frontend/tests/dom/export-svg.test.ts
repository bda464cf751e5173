// @vitest-environment happy-dom
/** What each level writes as an SVG, as text: `npx vitest run -u` renews the pictures, and the diff shows what changed. */

import { beforeAll, describe, expect, it } from "vitest";
import { REGISTRY } from "../../src/app/level-registry";
import { streamed } from "../stream-fixture";
import { actions, HEIGHT, sceneAt, source, stage } from "./stage";

beforeAll(stage);

describe("the picture of each level", () => {
  for (const entry of REGISTRY)
    it(entry.name, async () => {
      const of = source(entry.name === "stream" ? streamed() : null);
      const level = entry.make(actions(), () => ({ top: 0, bottom: HEIGHT }), of);
      document.body.append(level.element);
      level.draw(sceneAt(of, { level: entry.name, ...(entry.name === "stream" && { query: 3 }) }));
      level.look();
      const picture = await level.picture?.();
      level.destroy();
      expect(picture).not.toBeNull();
      const svg = picture?.svg ?? "";
      expect(new DOMParser().parseFromString(svg, "image/svg+xml").querySelector("parsererror")).toBeNull();
      await expect(svg.replaceAll("><", ">\n<")).toMatchFileSnapshot(`pictures/${entry.name}.svg`);
    });
});
