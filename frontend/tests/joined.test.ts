import { expect, it } from "vitest";
import { joined } from "../src/scene/labels";

it("joins the pieces of an Arabic word where the letters join", () => {
  // lam and ain; reh joins nothing after it; hamza joins nothing; a vowel mark stands on its letter; Hebrew does not join
  for (const [before, after, expected] of [
    ["بال", "عالم", true],
    ["مر", "حبا", false],
    ["شي", "ء", false],
    ["بَ", "يت", true],
    ["ب", "َيت", true],
    ["ک", "تاب", true],
    ["ڑ", "ک", false],
    ["שלו", "ם", false],
    ["ab", "عا", false],
    ["", "عا", false],
  ] as const)
    expect(joined(before, after), `${before}|${after}`).toBe(expected);
});
