/** "Copy as Python" writes what Python writes, in every case: tests/cases/as_python.json, which pytest reads too. */
import { describe, expect, it } from "vitest";
import cases from "../../tests/cases/as_python.json";
import { INITIAL, type State } from "../src/base/state";
import type { Metadata } from "../src/data/metadata";
import { python, pythonOfPair } from "../src/scene/as-python";
import { editLines } from "../src/scene/edits-as-python";

const meta = (given: { source: unknown; model: unknown; sites?: unknown; look?: unknown }) =>
  given as unknown as Metadata;
const state = (given: object) => ({ ...INITIAL, ...given }) as State;

describe("a view", () => {
  it.each(cases.views)("$name", (row) => {
    expect(python(meta(row), state(row.state), editLines)).toBe(row.said);
  });
});

describe("a comparison", () => {
  it.each(cases.pairs)("$name", (row) => {
    const [a, b] = row.sides.map((side) =>
      meta({ ...side, ...("tokens" in side && { tokens: [{ text: Array(side.tokens) }] }) }),
    );
    expect(pythonOfPair([a, b], state(row.state), editLines)).toBe(row.said);
  });
});
