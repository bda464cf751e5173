import { deflateSync } from "node:zlib";
import { describe, expect, it } from "vitest";
import type { Site } from "../src/data/metadata";
import { type Block, EmbeddedSource, parts } from "../src/data/sources/embedded";
import { f32, payload, site } from "./made";

const [QUERIES, KEYS, SIZE] = [3, 5, 2];
const shape = { heads: 4, kv_heads: 2, queries: QUERIES, keys: KEYS, head_size: SIZE, value_size: SIZE };
const described = (index: number, heads: number[] | null) =>
  site({ ...shape, index, layer: index, held: heads && { dtype: "F32", heads } } as Partial<Site>);

/** A block with these heads of one site; q of head h is full of h. */
function block(index: number, heads: number[], says: string): Block {
  const groups = [...new Set(heads.map((head) => Math.floor(head / 2)))];
  const filled = (n: number, each: number) =>
    f32(
      [n, each, SIZE],
      Array.from({ length: n * each * SIZE }, (_, i) => i),
    );
  const q = f32(
    [heads.length, QUERIES, SIZE],
    heads.flatMap((head) => Array(QUERIES * SIZE).fill(head)),
  );
  const tensors = {
    [`s${index}.q`]: q,
    [`s${index}.k`]: filled(groups.length, KEYS),
    [`s${index}.v`]: filled(groups.length, KEYS),
  };
  const sites = [0, 1].map((one) => described(one, one === index ? heads : null));
  const bytes = payload(described(index, heads), tensors, { sites });
  return { text: () => deflateSync(bytes).toString("base64"), stride: 1, sites: parts(says) };
}

describe("a page's blocks", () => {
  it("say which sites they hold, and of some which heads", () => {
    expect(parts("2 3:0,4,7")).toEqual([
      { site: 2, heads: null },
      { site: 3, heads: [0, 4, 7] },
    ]);
    expect(parts("")).toEqual([]);
  });

  it("of which one holds some heads of a layer", async () => {
    const source = await EmbeddedSource.open([block(0, [0, 1, 2, 3], "0"), block(1, [0, 3], "1:0,3")]);
    const held = () => [0, 1].map((index) => [0, 1, 2, 3].filter((head) => source.holds(index, head)));
    expect(held()).toEqual([
      [0, 1, 2, 3],
      [0, 3],
    ]);
    expect((await source.head(1, 3)).q[0]).toBe(3);
    expect(held()[1]).toEqual([0, 3]);
    await expect(source.head(1, 2)).rejects.toThrow("Head 2 of site 1 is not in this page.");
  });

  it("promise while the page is read no more than what will come", async () => {
    let come: (blocks: Block[]) => void = () => {};
    const blocks = new Promise<Block[]>((resolve) => {
      come = resolve;
    });
    const source = await EmbeddedSource.open([block(0, [0, 1, 2, 3], "0")], {
      sites: parts("0 1:2,3"),
      blocks,
    });
    expect([0, 1, 2, 3].filter((head) => source.holds(1, head))).toEqual([2, 3]);
    const head = source.head(1, 2);
    come([block(1, [2, 3], "1:2,3")]);
    expect((await head).q[0]).toBe(2);
  });

  it("that were cut off are named", async () => {
    const source = await EmbeddedSource.open([block(0, [0, 1, 2, 3], "0")], {
      sites: parts("0 1:2,3"),
      blocks: Promise.resolve([]),
    });
    await expect(source.head(1, 2)).rejects.toThrow("cut short");
    expect(source.holds(1, 2)).toBe(false);
  });
});
