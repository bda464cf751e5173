/** Edits as data, the same as in Python: tests/cases/head_edits.json, which pytest reads too. */
import { describe, expect, it } from "vitest";
import cases from "../../tests/cases/head_edits.json";
import { carried, editCode, editSaid, editText, type HeadEdit, isOf, parseEdit } from "../src/base/head-edit";
import { fromHash, INITIAL, toHash } from "../src/base/state";

const none = { query: null, key: null, number: null, stack: null };

describe("an edit", () => {
  it.each(cases.edits)("$text", ({ text, edit, code, words }) => {
    const known = { ...none, ...edit } as HeadEdit;
    expect(parseEdit(text)).toEqual(known);
    expect(editText(known)).toBe(text);
    expect(editCode(known)).toBe(code);
    expect(editSaid(known)).toBe(words);
  });

  it.each(cases.refused)("refuses %j", (text) => expect(parseEdit(text)).toBeNull());

  it("is of a head, or of all heads of a layer", () => {
    const edit = (text: string) => parseEdit(text) as HeadEdit;
    expect(isOf(edit("off_L2H8"), null, 2, 8)).toBe(true);
    expect(isOf(edit("off_L2H8"), null, 2, 7)).toBe(false);
    expect(isOf(edit("off_L2"), "decoder", 2, 7)).toBe(true);
    expect(isOf(edit("off_L2_in_decoder"), "cross", 2, 7)).toBe(false);
  });
});

describe("on the way to another text", () => {
  it("edits of heads go along, and those of a pair are found again", () => {
    const [off, cut, other] = ["off_L2H8", "cut_L1H0_q5_k3", "cut_L1H0_q2_k1"];
    expect(carried([off, cut], [])).toEqual([off]);
    expect(carried([off], [cut, off])).toEqual([cut, off]);
    expect(carried(["off_L0H1", other], [cut, off])).toEqual(["off_L0H1", cut]);
    expect(carried([], [off])).toEqual([]);
  });
});

describe("in an address", () => {
  it("goes there and back", () => {
    const edits = ["off_L2H8", "cut_L1H0_q5_k3"];
    const hash = toHash({ ...INITIAL, edits });
    expect(hash).toContain("edits=off_L2H8%2Ccut_L1H0_q5_k3");
    expect(fromHash(hash)).toEqual({ state: expect.objectContaining({ edits }), problems: [] });
  });

  it("says what it cannot read", () => {
    const { state, problems } = fromHash("#edits=off_L2H8,off_7");
    expect(state.edits).toBeUndefined();
    expect(problems[0]).toContain("edits such as off_L2H8");
  });
});
