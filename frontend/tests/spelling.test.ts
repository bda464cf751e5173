/** Numbers are written as in Python, tokens as Python spelled them: the cases of tests/cases/spelling.json, which pytest reads too. */
import { describe, expect, it } from "vitest";
import cases from "../../tests/cases/spelling.json";
import { count, fixed, list, percent, percentInWords } from "../src/base/format";
import { isolated, labels, named } from "../src/scene/labels";

describe("tokens", () => {
  it.each(cases.tables)("$name", ({ table, shown, whole, tight, named: names }) => {
    const made = labels({ ids: [], border: null, ...table, shown, whole, tight });
    expect(made.map((label) => label.text)).toEqual(shown);
    expect(made.map((label) => label.tight)).toEqual(tight);
    for (const { text, whole: word, before, after } of made)
      if (before || after) expect(before + text + after).toBe(word);
    for (const [index, name] of Object.entries(names)) expect(named(made[Number(index)])).toBe(name);
  });

  it("a page without them shows what the vocabulary has", () => {
    const [{ table }] = cases.tables;
    expect(labels({ ids: [], border: null, ...table }).map(({ text }) => text)).toEqual(table.text);
  });

  it.each(cases.isolated)("%s in a line of text", (text, shown) => expect(isolated(text)).toBe(shown));
});

describe("numbers", () => {
  const number = (value: unknown) =>
    ({ nan: Number.NaN, inf: Number.POSITIVE_INFINITY, "-inf": Number.NEGATIVE_INFINITY })[String(value)] ??
    (value as number);

  it("are written alike", () => {
    const { numbers } = cases;
    for (const [value, digits, said] of numbers.fixed) expect(fixed(number(value), Number(digits))).toBe(said);
    for (const [value, said] of numbers.percent) expect(percent(number(value))).toBe(said);
    for (const [value, said] of numbers.percent_in_words) expect(percentInWords(number(value))).toBe(said);
    for (const [n, one, said] of numbers.count) expect(count(Number(n), String(one))).toBe(said);
    for (const [parts, said] of numbers.listed) expect(list(parts as string[])).toBe(said);
  });
});
