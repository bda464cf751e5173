import { inflateSync } from "node:zlib";
import { describe, expect, it } from "vitest";
import { crc32, withText } from "../src/app/export/png";
import { annotated, fileName } from "../src/app/export/save";
import { levelsInOrder, nextLevel } from "../src/app/level-order";
import { isWhole } from "../src/app/url/address";
import { fromHash, INITIAL, LEVELS } from "../src/base/state";
import { escaped, tag, wrapped } from "../src/base/svg";
import { literal, opening, placeArguments, python } from "../src/scene/as-python";

const all = () => true;
const meta = (source: unknown, name = "some/model") =>
  ({ model: { name, class: "SomeModel" }, source }) as unknown as Parameters<typeof python>[0];

describe("the ladder of levels", () => {
  it("goes in and out, a head being drawn as it was last", () => {
    expect(levelsInOrder(all, "head")).toEqual(["stream", "model", "head", "neuron", "steps"]);
    expect(levelsInOrder(all, "matrix")).toEqual(["stream", "model", "matrix", "neuron", "steps"]);
    expect(LEVELS.map((name) => nextLevel(name, 1, all, "matrix"))).toEqual([
      "model",
      "matrix",
      "neuron",
      "neuron",
      "steps",
      null,
    ]);
    expect(LEVELS.map((name) => nextLevel(name, -1, all, "matrix"))).toEqual([
      null,
      "stream",
      "model",
      "model",
      "matrix",
      "neuron",
    ]);
  });

  it("leaves out what is not there", () => {
    expect(nextLevel("neuron", -1, (name) => name !== "head", "head")).toBe("matrix");
    expect(nextLevel("neuron", -1, (name) => name === "neuron", "head")).toBeNull();
    expect(nextLevel("model", 1, (name) => name === "model" || name === "steps", "head")).toBe("steps");
  });
});

describe("an address", () => {
  it("is whole where it says layer, head and query", () => {
    expect(isWhole(fromHash("#layer=2&head=8&query=7").state)).toBe(true);
    expect(isWhole(fromHash("#layer=2&theme=dark").state)).toBe(false);
  });
});

describe("copy as Python", () => {
  it("writes values as Python does", () => {
    expect(literal([1, 'a"b\n', true, null, { x: false }])).toBe('[1, "a\\"b\\n", True, None, {"x": False}]');
  });

  it("rebuilds load, trace and show", () => {
    const source = { model: "demo", dtype: "float16", text: "It's “it”.", text_pair: "b", layers: [0, 2] };
    const state = {
      ...INITIAL,
      layer: 2,
      head: 8,
      query: 7,
      key: 3,
      level: "matrix" as const,
      heads: [1, 4],
      log: true,
    };
    expect(python(meta(source), state)).toBe(
      [
        "import attnscope",
        "",
        'model, tokenizer = attnscope.load("demo", dtype="float16")',
        "view = attnscope.show(",
        "    model,",
        "    tokenizer,",
        '    "It\'s “it”.",',
        '    text_pair="b",',
        "    layers=[0, 2],",
        '    level="matrix",',
        "    layer=2,",
        "    head=8,",
        "    query=7,",
        "    key=3,",
        "    heads=[1, 4],",
        "    log=True,",
        ")",
        "view",
        "",
      ].join("\n"),
    );
  });

  it("names what it does not know, and unpins where nothing is pinned", () => {
    const code = python(meta(null, "a\nmodel"), INITIAL);
    expect(code).toContain("# model, tokenizer: a model, as you loaded them\n# text: ");
    expect(code).toContain("attnscope.show(model, tokenizer, text, layer=0, head=0, query=0)\n");
    expect(code).toContain("view = view.at(key=None)\n");
    expect(python(meta({ inputs: true }), INITIAL)).toContain("inputs=inputs");
    expect(python(meta({ messages: [{ role: "user", content: "hi" }] }), INITIAL)).toContain(
      'messages=[{"role": "user", "content": "hi"}]',
    );
    expect(python(meta(null, "from_qkv"), { ...INITIAL, key: 1 })).toContain("view = trace.show(layer=0, ");
  });
});

describe("the lines that get x", () => {
  it("name the stack, and what the trace was made from", () => {
    expect(placeArguments({ layer: 2, head: 1 }, "cross")).toEqual(["layer=2", "head=1", 'stack="cross"']);
    expect(placeArguments({ layer: 2, head: 1 }, null)).toEqual(["layer=2", "head=1"]);
    expect(opening(meta({ inputs: true }))).toMatchObject({ given: ["model", "tokenizer", "inputs=inputs"] });
  });
});

describe("files", () => {
  // 1 × 1, written by hand: signature, IHDR, IDAT, IEND
  const png = Uint8Array.from(
    Buffer.from(
      "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg==",
      "base64",
    ),
  );

  it("puts text into a PNG whose chunks stay whole", () => {
    const text = JSON.stringify({ text: "naïve — ↑ 東京", n: 1 });
    const out = withText(png, "attnscope", text);
    const view = new DataView(out.buffer);
    const chunks: Record<string, Uint8Array> = {};
    for (let at = 8; at < out.length; ) {
      const length = view.getUint32(at);
      const body = out.subarray(at + 4, at + 8 + length);
      expect(view.getUint32(at + 8 + length)).toBe(crc32(body));
      chunks[new TextDecoder().decode(body.subarray(0, 4))] = body.subarray(4);
      at += 12 + length;
    }
    expect(Object.keys(chunks)).toEqual(["IHDR", "iTXt", "IDAT", "IEND"]);
    expect(new TextDecoder().decode(chunks.iTXt)).toBe(`attnscope\0\0\0\0\0${text}`);
    expect(inflateSync(chunks.IDAT).length).toBe(2);
    expect(crc32(new TextEncoder().encode("123456789"))).toBe(0xcbf43926);
  });

  it("puts a description into an SVG, as text", () => {
    const about = { text: "</metadata><script>&\ufffe\u0001" };
    const svg = annotated('<svg xmlns="http://www.w3.org/2000/svg" width="1"><g/></svg>', about);
    expect(svg.startsWith('<svg xmlns="http://www.w3.org/2000/svg" width="1"><metadata id="attnscope">')).toBe(true);
    const inside = /<metadata id="attnscope">(.*?)<\/metadata>/.exec(svg)?.[1] ?? "";
    const read = inside.replace(/&#(\d+);/g, (_, code) => String.fromCharCode(Number(code)));
    expect(JSON.parse(read)).toEqual(about);
    expect(inside).not.toMatch(/[<\ufffe]/);
  });

  it("names a file by its place", () => {
    const scene = { meta: meta(null, "org/a model"), site: { stack: "decoder", layer: 3 }, state: INITIAL } as never;
    expect(fileName(scene, "png")).toBe("attnscope-a-model-decoder-layer3-head0-head.png");
  });

  it("writes SVG that no token can break", () => {
    expect(tag("text", { x: 1 / 3, "data-token": '"<&>' }, escaped("<b>\u0000\ud800&"))).toBe(
      '<text x="0.33" data-token="&quot;&lt;&amp;&gt;">&lt;b&gt;\ufffd\ufffd&amp;</text>',
    );
    expect(wrapped("one two three", 8)).toEqual(["one two", "three"]);
    expect(wrapped("averyveryverylongword x", 5)).toEqual(["averyveryverylongword", "x"]);
  });
});
