import { describe, expect, it } from "vitest";
import { type Label, labels } from "../src/scene/labels";
import { occurrences } from "../src/scene/occurrences";

const TEXT = ["[CLS]", "The", "caf", "##é", ",", "the", "Café", "a\u00a0b", "東", "京", "[SEP]"];
const table = {
  text: TEXT,
  ids: [],
  special: TEXT.map((text) => text.startsWith("[")),
  words: [null, 0, 1, 1, 2, 3, 4, 5, 6, 7, null],
  word_text: [],
  shown: TEXT.map((text) => text.replace("##", "")),
  whole: TEXT.map((text) => (/caf$|##é/.test(text) ? "café" : "")),
  tight: TEXT.map((text) => text === ","),
  segments: TEXT.map(() => 0),
  offsets: [],
} as unknown as Parameters<typeof labels>[0];
const found = (wanted: string, of: Label[] = labels(table)) =>
  occurrences(of, wanted).map(({ first, last }) => [first, last]);

describe("words in a text", () => {
  it("are found whatever their capitals, accents and pieces", () => {
    expect(found("the")).toEqual([
      [1, 1],
      [5, 5],
    ]);
    expect(found("CAFE")).toEqual([
      [2, 3],
      [6, 6],
    ]);
    expect(found("fé")).toEqual([
      [2, 3],
      [6, 6],
    ]);
  });

  it("are found over several tokens, with the spaces of the text", () => {
    expect(found("the café,")).toEqual([[1, 4]]);
    expect(found("  café,   the ")).toEqual([[2, 5]]);
    expect(found("thecafe")).toEqual([]);
    expect(found("a b")).toEqual([[7, 7]]);
  });

  it("are found as they stand: nothing is a pattern, and nothing is found for nothing", () => {
    expect(found("[CLS]")).toEqual([[0, 0]]);
    expect(found(".*")).toEqual([]);
    expect(found("  ")).toEqual([]);
    expect(found("absent")).toEqual([]);
  });

  it("count once a token that holds them twice", () => {
    const [one] = labels({
      ...table,
      text: ["aaaa"],
      shown: ["aaaa"],
      whole: [""],
      words: [0],
      special: [false],
      segments: [0],
    });
    expect(found("aa", [one])).toEqual([[0, 0]]);
  });
});
