import { deflateSync } from "node:zlib";
import { describe, expect, it } from "vitest";
import type { Site } from "../src/data/metadata";
import { Pictured } from "../src/data/pictured";
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

/** A block with a picture of 2 × 2 cells of each of these heads of site 1, and none of its numbers. */
function pictures(heads: number[]): Block {
  const thumb = {
    tensor: "p1",
    rows: 2,
    columns: 2,
    method: "max",
    range: [0, 1],
    steps: 250,
    masked: 254,
    broken: 255,
  };
  const picture = { ...thumb, queries_sampled: null, heads };
  const octets = Uint8Array.from(heads.flatMap((head) => [head, 254, 125, 255]));
  const sites = [described(0, null), { ...described(1, null), picture }];
  const bytes = payload(
    described(0, null),
    { p1: { dtype: "U8", shape: [heads.length, 2, 2], bytes: octets } },
    { sites },
  );
  const text = () => deflateSync(bytes).toString("base64");
  return { text, stride: 1, sites: [], pictures: parts(`1:${heads}`) };
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

  it("have pictures of heads that the page does not hold", async () => {
    const source = await EmbeddedSource.open([block(0, [0, 1, 2, 3], "0"), pictures([1, 3])]);
    const pictured = (site: number) => [0, 1, 2, 3].filter((head) => source.pictured(site, head));
    expect([pictured(0), pictured(1)]).toEqual([[], [1, 3]]);
    expect(source.holds(1, 3)).toBe(false);
    const head = await source.head(1, 3);
    expect(head).toBeInstanceOf(Pictured);
    const { picture } = head as Pictured;
    expect([...picture.values]).toEqual([Math.fround(3 / 250), -1, 0.5, Number.NaN]);
    // patch 1 of 2 over 3 queries and 5 keys
    expect(picture.at(1, 4)).toEqual({ value: Number.NaN, queries: [1, 2], keys: [2, 4] });
    expect(picture.at(0, 1)).toEqual({ value: Math.fround(3 / 250), queries: [0, 0], keys: [0, 1] });
    expect(picture.block).toEqual([2, 3]);
  });

  it("promise pictures that are cut off, and then have none", async () => {
    const source = await EmbeddedSource.open([block(0, [0, 1, 2, 3], "0")], {
      sites: parts("0"),
      pictures: parts("1:2"),
      blocks: new Promise((resolve) => setTimeout(() => resolve([]), 20)),
    });
    expect(source.pictured(1, 2)).toBe(true);
    await expect(source.head(1, 2)).rejects.toThrow("cut short");
    expect(source.pictured(1, 2)).toBe(false);
  });
});
