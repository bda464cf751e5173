// @vitest-environment happy-dom
import { describe, expect, it } from "vitest";
import { pairNames, pairTexts } from "../../src/app/parts/pair-texts";
import type { Metadata } from "../../src/data/metadata";
import { meta, site } from "../made";

function textOf(words: string[], change: Partial<Metadata["model"]> = {}, more = {}): Metadata {
  const made = meta([site()]);
  const table = {
    ...made.tokens[0],
    text: words,
    shown: words,
    words: words.map((_, i) => i),
    special: words.map((word) => word.startsWith("[")),
    segments: words.map(() => 0),
    tight: words.map((word) => word === "."),
    whole: words.map(() => ""),
    ...more,
  };
  return { ...made, model: { ...made.model, ...change }, tokens: [table] };
}

const A = ["[CLS]", "the", "cat", "sat", "."];
const B = ["[CLS]", "the", "old", "dog", "sat", "."];
const PLACES = [{ a: [0, 1, null, 2, 3, 4], b: [0, 1, 2, 3, 4, 5] }];
const read = (element: HTMLElement) =>
  [...element.querySelectorAll<HTMLElement>("[data-pair-text]")].map((row) => ({
    text: row.textContent,
    marked: [...row.querySelectorAll("mark")].map((mark) => mark.textContent),
  }));

describe("what is compared", () => {
  it("shows both texts, and marks what has no equal on the other side", () => {
    expect(read(pairTexts([textOf(A), textOf(B)], PLACES))).toEqual([
      { text: "Athe first text the cat sat.", marked: ["cat"] },
      { text: "Bthe second text the old dog sat.", marked: ["old", "dog"] },
    ]);
  });

  it("names models by what tells them apart, and shows a text that both read once, in the ribbon", () => {
    const same = [{ a: [0, 1, 2, 3, 4], b: [0, 1, 2, 3, 4] }];
    const both = (a: object, b: object): [Metadata, Metadata] => [textOf(A, a), textOf(A, b)];
    expect(pairNames(both({ name: "base" }, { name: "tuned" }))).toEqual(["base", "tuned"]);
    expect(pairNames(both({ name: "m", revision: "1a" }, { name: "m", revision: "2b" }))).toEqual([
      "m, revision 1a",
      "m, revision 2b",
    ]);
    expect(pairNames(both({ name: "m", dtype: "float32" }, { name: "m", dtype: "bfloat16" }))[1]).toBe("m in bfloat16");
    expect(pairNames(both({}, {}))).toEqual(["the first trace", "the second trace"]);
    const rows = read(pairTexts(both({ name: "base" }, { name: "tuned" }), same));
    expect(rows.map(({ text }) => text)).toEqual(["Abase", "Btuned"]);
  });

  it("shows the surroundings of the first difference in a long text", () => {
    const long = Array.from({ length: 300 }, (_, i) => `w${i}`);
    const other = long.map((word, i) => (i === 200 ? "new" : word));
    const at = long.map((_, i) => i);
    const [a, b] = read(pairTexts([textOf(long), textOf(other)], [{ a: at, b: at }]));
    expect([a.marked, b.marked]).toEqual([["w200"], ["new"]]);
    expect(a.text).toMatch(/^Athe first text.*… w188 .* w247 …$/);
  });

  it("writes a word of parts of characters once", () => {
    const parts = {
      shown: ["猫 1/2", "猫 2/2", "ja"],
      words: [0, 0, 1],
      whole: ["猫", "猫", ""],
      tight: [false, true, false],
    };
    const [a] = read(
      pairTexts(
        [textOf(["x", "y", "ja"], {}, parts), textOf(["x", "z", "ja"], {}, parts)],
        [{ a: [0, 1, 2], b: [0, 1, 2] }],
      ),
    );
    expect(a.text).toBe("Athe first text猫 ja");
  });
});
