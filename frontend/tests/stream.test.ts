/** The column of the stream is Python's in every case: tests/cases/stream.json, which pytest reads too. */

import { describe, expect, it } from "vitest";
import cases from "../../tests/cases/stream.json";
import type { StreamNote } from "../src/data/metadata";
import { Payload } from "../src/data/payload";
import { StreamTable, streamOf } from "../src/data/stream";
import { columnOf } from "../src/heads/stream-column";
import { folded, unfolded } from "../src/levels/stream/folding";
import { sentenceOf, sentenceOfLens } from "../src/levels/stream/sentence";
import type { Part } from "../src/scene/text";
import { bytes } from "./fixture";
import { streamed } from "./stream-fixture";

const quoted = (parts: Part[]) => parts.map((part) => (typeof part === "string" ? part : `“${part.token}”`)).join("");

describe("a column", () => {
  it.each(cases)("$name", ({ table, target, against, ...expected }) => {
    const numbers = table.numbers as unknown as Record<string, number[][][]>;
    const floats = (name: string) => (numbers[name] ? Float32Array.from(numbers[name].flat(2)) : null);
    const column = columnOf(new StreamTable(table.note as StreamNote, floats), 0, target, against);
    expect(quoted(sentenceOf(column))).toBe(expected.said);
    if (expected.lens) expect(quoted(sentenceOfLens(column))).toBe(expected.lens);
    expect(column.receipt.passed).toBe(expected.passed);
    expect(column.lines.map(({ name }) => name)).toEqual(expected.rows.map(([name]) => name));
    column.lines.forEach(({ value, running }, i) => {
      for (const [mine, theirs] of [
        [value, expected.rows[i][1]],
        [running, expected.rows[i][2]],
      ] as [number | null, number | null][])
        if (theirs === null) expect(mine).toBeNull();
        else expect(mine).toBeCloseTo(theirs, 5);
    });
    expect(folded(column, false).map(({ name }) => name)).toEqual(expected.folded);
    expect(folded(column, true)).toBe(column.lines);
    const every = new Set(folded(column, false).map(({ id }) => id));
    const opened = unfolded(folded(column, false), every);
    const own = opened.filter(({ line }) => column.lines.includes(line) || line.folded);
    expect(own.flatMap(({ line }) => (line.folded ? [] : [line]))).toEqual(column.lines);
    // what a run of layers adds stands once: in its row, or in those of its layers
    for (const { line } of own)
      if (line.folded) expect([line.value, line.running, line.stage]).toEqual([null, null, null]);
  });
});

describe("a label of the whole text", () => {
  it("is predicted at the position from which it is read, and at no other", () => {
    const { targets } = streamed().note;
    const change = { task: "label" as const, targets: [[], targets[1]], lens_text: [] };
    const payload = new Payload(bytes(streamed(change)));
    const table = streamOf({ meta: payload.meta, floats: (name) => payload.floats(name) }) as StreamTable;
    const [other, own] = [0, 1].map((row) => columnOf(table, row, null, null));
    expect([other.attributed, other.predictions, other.receipt.mine, other.receipt.passed]).toEqual([
      false,
      [],
      null,
      true,
    ]);
    expect(own.attributed).toBe(true);
    expect(own.predictions.map(({ text }) => text)).toEqual(["Mary", "John", "the"]);
  });
});

describe("a table that is damaged", () => {
  const read = (change: Partial<StreamNote>) => () => new Payload(bytes(streamed(change)));
  const { note } = streamed();

  it("is refused, and what is wrong is named", () => {
    expect(read({})).not.toThrow();
    expect(read({ positions: [6, 3] })).toThrow("stream, positions");
    expect(read({ positions: [3, 7] })).toThrow("stream, positions");
    expect(read({ layers: 3, lens_text: [] })).toThrow("stream.sizes has the shape");
    expect(read({ blocks: note.blocks.slice(1) })).toThrow("stream, block of a part");
    expect(read({ parts: note.parts.slice(1) })).toThrow("stream.contributions has the shape");
    expect(read({ targets: note.targets.slice(1) })).toThrow("stream, targets");
    expect(read({ lens_text: [[" a"], [" b"]] })).toThrow("stream, lens_text");
    expect(read({ receipt: undefined as never })).toThrow("it has no receipt");
    expect(read({ blocks: [{ kind: "mlp", layer: 9 }] })).toThrow("stream, layer of a block");
  });
});
