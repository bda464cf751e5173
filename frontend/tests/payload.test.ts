import { deflateSync } from "node:zlib";
import { describe, expect, it, vi } from "vitest";
import { number, type Site, type TokenTable } from "../src/data/metadata";
import { Payload } from "../src/data/payload";
import { fromBfloat, fromHalf, PayloadError } from "../src/data/safetensors";
import { unpack } from "../src/data/unpack";
import { f32, i32, meta, payload, safetensors, site, u8, u16 } from "./made";

describe("numbers", () => {
  it("half precision, subnormal numbers, infinities and NaN included", () => {
    const decoded = fromHalf(
      Uint16Array.from([0x3c00, 0xc000, 0x3555, 0x7bff, 0x0001, 0x0400, 0x8000, 0x7c00, 0xfc00, 0x7e00]),
    );
    expect(decoded[0]).toBe(1);
    expect(decoded[1]).toBe(-2);
    expect(decoded[2]).toBeCloseTo(0.333252, 6);
    expect(decoded[3]).toBe(65504);
    expect(decoded[4]).toBe(2 ** -24);
    expect(decoded[5]).toBe(2 ** -14);
    expect(Object.is(decoded[6], -0)).toBe(true);
    expect(decoded[7]).toBe(Number.POSITIVE_INFINITY);
    expect(decoded[8]).toBe(Number.NEGATIVE_INFINITY);
    expect(decoded[9]).toBeNaN();
  });

  it("bfloat16", () => {
    expect([...fromBfloat(Uint16Array.from([0x3f80, 0xc040, 0x7f80]))]).toEqual([1, -3, Number.POSITIVE_INFINITY]);
  });

  it("JSON writes what is no number as a string", () => {
    expect([number(2), number("inf"), number("-inf")]).toEqual([2, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]);
    expect(number("nan")).toBeNaN();
    expect(number(null)).toBeNaN();
  });
});

describe("a payload", () => {
  it("is read, whole and in parts, wherever its bytes begin", () => {
    const bytes = payload(site(), {
      x: i32([4, 5]),
      y: u8([2], [7, 8]),
      odd: u8([1], [0]),
      h: u16("F16", [2], [0x3c00, 0xbc00]),
    });
    const shifted = new Uint8Array(bytes.length + 3).subarray(3);
    shifted.set(bytes);
    const read = new Payload(shifted);
    expect([...read.floats("s0.q", 1)]).toEqual([2, -1, 0.5, 0, -1, 3]);
    expect([...read.floats("s0.k")]).toEqual([1, 2, -1, 0.5, 3, -2]);
    expect([...read.integers("x")]).toEqual([4, 5]);
    expect([...read.octets("y")]).toEqual([7, 8]);
    expect([...read.floats("h")]).toEqual([1, -1]);
    expect(() => read.floats("s0.q", 2)).toThrow(PayloadError);
    expect(() => read.floats("nothing")).toThrow(/missing/);
    expect(() => read.integers("y")).toThrow(/whole numbers/);
  });

  const damaged: [string, Uint8Array, RegExp][] = [
    ["nothing", new Uint8Array(0), /cut off/],
    ["a part", payload().slice(0, 40), /cut off/],
    ["without its end", payload().slice(0, -4), /cut off/],
    ["text", new TextEncoder().encode("<!doctype html><html></html>"), /cut off|damaged/],
    ["foreign", safetensors({ w: f32([1], [1]) }, {}), /not written by attnscope/],
    ["a later version", payload(site(), {}, { version: 2 }), /version 2/],
    ["no sites", safetensors({}, { attnscope: JSON.stringify(meta([])) }), /no attention/],
    ["too few tokens", payload(site({ keys: 9 })), /more queries or keys/],
    [
      "a wrong shape",
      safetensors({ w: { ...f32([1], [1]), shape: [5] } }, { attnscope: JSON.stringify(meta([site()])) }),
      /does not fit/,
    ],
    [
      "a strange dtype",
      safetensors({ w: { ...f32([1], [1]), dtype: "F8_E4M3" } }, { attnscope: JSON.stringify(meta([site()])) }),
      /F8_E4M3/,
    ],
  ];
  it.each(damaged)("that is damaged (%s) says so", (_, bytes, message) => {
    expect(() => new Payload(bytes)).toThrow(PayloadError);
    expect(() => new Payload(bytes)).toThrow(message);
  });

  const hostile: [string, Partial<Site>, RegExp][] = [
    ["more heads than there are", { heads: 1e9, kv_heads: 1 }, /heads: 1000000000 is not a whole number from 1 to/],
    ["heads of a site that is not held", { heads: 1e9, kv_heads: 1, held: null }, /heads: 1000000000/],
    ["a head more", { heads: 3, held: { dtype: "F32", heads: [0, 1, 2] } }, /tensor s0.q/],
    ["heads that are no number", { heads: "2" as unknown as number }, /heads: 2 is not/],
    ["no part of a head", { heads: 2.5 }, /heads: 2.5 is not/],
    ["groups that do not divide", { heads: 5, kv_heads: 2, held: null }, /no multiple/],
    ["a layer beyond all models", { layer: 1e9 }, /layer: 1000000000/],
    ["a layer below", { layer: -1 }, /layer: -1/],
    ["wider vectors", { head_size: 1e7 }, /tensor s0.q has the shape \[2,3,2\], and should have \[2,3,10000000\]/],
    ["other values", { value_size: 1 }, /tensor s0.v/],
    ["vectors without numbers", { head_size: 0 }, /no numbers/],
    ["fewer queries", { queries: 2 }, /tensor s0.q/],
    ["an offset that is no number", { query_offset: 0.5 }, /query_offset/],
    ["a head twice", { held: { dtype: "F32", heads: [0, 0, 0] } }, /held heads should/],
    ["a head beyond", { held: { dtype: "F32", heads: [0, 7] } }, /held heads: 7/],
    ["a mask that is not there", { mask: { ...site().mask, keys: "m0" } }, /needs a tensor m0/],
    ["a mask of another size", { mask: { ...site().mask, packed: "y" } }, /tensor y has the shape \[2\]/],
    ["a bias of another size", { bias: { form: "full", tensor: "y" } }, /should have \[1 or 2,3,3\]/],
    ["a bias of parts of another size", { bias: { form: "blocks", tensor: "y" } }, /tensor y has the shape \[2\]/],
    ["sinks of another size", { sinks: "x3" }, /tensor x3/],
    ["statistics of other heads", { stats: { entropy: Array(9).fill(0) } }, /entropy: it should be a list of 2/],
    [
      "a picture of other heads",
      {
        thumb: {
          tensor: "y",
          rows: 1e6,
          columns: 1e6,
          method: "max",
          steps: 253,
          masked: 254,
          broken: 255,
          queries_sampled: null,
        },
      },
      /tensor y/,
    ],
    ["tokens of no table", { key_tokens: 4 }, /no such table/],
  ];
  it.each(hostile)("with %s is refused before anything is made of it", (_, change, message) => {
    const more = { y: u8([2], [7, 8]), x3: f32([3], [1, 2, 3]) };
    expect(() => new Payload(payload(site(change), more))).toThrow(PayloadError);
    expect(() => new Payload(payload(site(change), more))).toThrow(message);
  });

  it("with words that are not there, or lists of other lengths, is refused", () => {
    const table = meta([]).tokens[0];
    const read = (change: Partial<TokenTable>) => () =>
      new Payload(payload(site(), {}, { tokens: [{ ...table, ...change }] }));
    expect(read({})).not.toThrow();
    expect(read({ words: [0, 1, 2, 3, 1e9] })).toThrow(/words: 1000000000/);
    expect(read({ ids: [1] })).toThrow(/ids: it should be a list of 5/);
    expect(read({ text: ["a", 1 as unknown as string] })).toThrow(/list of texts/);
    expect(read({ ids: [], segments: [] })).not.toThrow();
  });

  it("with more heads in all than any model is refused", () => {
    const sites = Array.from({ length: 40 }, (_, index) =>
      site({ index, heads: 65_536, kv_heads: 65_536, held: null }),
    );
    expect(() => new Payload(safetensors({}, { attnscope: JSON.stringify(meta(sites)) }))).toThrow(
      /more than 1048576 heads/,
    );
  });

  it("with a header of noise says so", () => {
    const bytes = payload();
    bytes.fill(0xff, 8, 30);
    expect(() => new Payload(bytes)).toThrow(/damaged/);
  });
});

describe("an embedded block", () => {
  /** As render/page/html.py packs it. */
  function pack(bytes: Uint8Array, stride: number): string {
    const start = 8 + new DataView(bytes.buffer).getUint32(0, true);
    const n = Math.ceil((bytes.length - start) / stride);
    const out = new Uint8Array(start + n * stride);
    out.set(bytes.subarray(0, start));
    for (let i = 0; i < bytes.length - start; i++)
      out[start + (i % stride) * n + Math.floor(i / stride)] = bytes[start + i];
    return deflateSync(out).toString("base64");
  }

  it.each([1, 2, 4])("comes back with stride %i, whole and in parts", async (stride) => {
    const bytes = payload(site(), { odd: u8([3], [1, 2, 3]) });
    const plain = new Payload(bytes);
    const back = new Payload(await unpack(pack(bytes, stride)), stride);
    expect([...back.octets("odd")]).toEqual([1, 2, 3]);
    for (const name of ["s0.q", "s0.k", "s0.v"]) {
      expect([...back.floats(name)]).toEqual([...plain.floats(name)]);
      const [parts] = back.shape(name);
      for (let i = 0; i < parts; i++) expect([...back.floats(name, i)]).toEqual([...plain.floats(name, i)]);
    }
  });

  it("that unpacks to more than it declares is refused before it fills the memory", async () => {
    const bytes = payload();
    const bomb = new Uint8Array(bytes.length + 50_000_000); // packs to 50 kB
    bomb.set(bytes);
    const chunks = vi.spyOn(Uint8Array.prototype, "set");
    await expect(unpack(deflateSync(bomb).toString("base64"))).rejects.toThrow(/more than its header|do not fit/);
    const taken = chunks.mock.calls.reduce((sum, [part]) => sum + part.length, 0);
    chunks.mockRestore();
    expect(taken).toBeLessThan(1_000_000);
    const json = JSON.stringify({ huge: { dtype: "U8", shape: [2e9], data_offsets: [0, 2e9] } });
    const header = new Uint8Array(8 + json.length);
    header.set(new TextEncoder().encode(json), 8);
    header[0] = json.length;
    await expect(unpack(deflateSync(header).toString("base64"))).rejects.toThrow(/do not fit/);
    header.fill(0xff, 0, 6);
    await expect(unpack(deflateSync(header).toString("base64"))).rejects.toThrow(/longer than any/);
  });

  it("that is cut or no base64 says so", async () => {
    const text = pack(payload(), 4);
    await expect(unpack(text.slice(0, text.length >> 1))).rejects.toThrow(PayloadError);
    await expect(unpack(`!!${text.slice(2)}`)).rejects.toThrow(/base64/);
    await expect(unpack("")).rejects.toThrow(PayloadError);
    expect(() => new Payload(payload().slice(0, -3), 4)).toThrow(PayloadError);
  });
});
