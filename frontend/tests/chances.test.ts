/** What the ribbon's bubble says of a token that the model generated. */
import { describe, expect, it } from "vitest";
import { chanceOf } from "../src/app/parts/said";
import type { TokenTable } from "../src/data/metadata";

const table: TokenTable = {
  text: ["Ġis", "ĠParis", "ĠL"],
  shown: ["is", "Paris", "L"],
  ids: [1, 2, 3],
  special: [false, false, false],
  words: [0, 1, 2],
  word_text: ["is", "Paris", "L"],
  segments: [0, 0, 0],
  border: 1,
  probability: [null, 0.951, 0.02],
  rank: [null, 1, 7],
  runner_up: [null, ["Lyon", 0.009], ["a", 0.5]],
};

describe("the probability of a generated token", () => {
  it("stands beside the second", () =>
    expect(chanceOf(table, 1)).toBe(
      "The model gave “Paris” a probability of 95.1 % (rank 1); the second was “Lyon”, with 0.9 %.",
    ));
  it("says so where a sampled token was not the first", () =>
    expect(chanceOf(table, 2)).toContain("2.0 % (rank 7); it gave more to “a”, with 50.0 %"));
  it("has no rank in traces of older versions", () =>
    expect(chanceOf({ ...table, rank: undefined }, 1)).toContain("95.1 %; the second"));
  it("is not there for what was read", () => expect(chanceOf(table, 0)).toBe(""));
  it("is not there on pages of older versions", () =>
    expect(chanceOf({ ...table, probability: undefined }, 1)).toBe(""));
});
