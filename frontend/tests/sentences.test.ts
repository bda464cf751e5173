/** The sentence of a query is Python's in every case: tests/cases/sentences.json, which pytest reads too. */
import { describe, expect, it } from "vitest";
import cases from "../../tests/cases/sentences.json";
import type { PairScene } from "../src/chain/difference";
import { isolated, type Label } from "../src/scene/labels";
import { sentenceOfPair } from "../src/scene/pair-sentence";
import type { Scene } from "../src/scene/scene";
import { sentence } from "../src/scene/sentence";
import { after, type Part } from "../src/scene/text";

/** As plain text has it: tokens in quotation marks. */
const quoted = (parts: Part[]) =>
  parts.map((part) => (typeof part === "string" ? part : `“${isolated(part.token)}”${after(part)}`)).join("");
const number = (value: unknown) => (value === "nan" ? Number.NaN : (value as number));
const label = (given: { text: string; before?: string; after?: string; special?: boolean }, index: number) =>
  ({ before: "", after: "", special: false, index, ...given }) as Label;

describe("a query", () => {
  it.each(cases.queries)("$name", (row) => {
    const keys = row.keys.map(label);
    const query = row.own ?? 0;
    const sinks: number[] = "sink_tokens" in row ? (row.sink_tokens as number[]) : [];
    const queries = keys.map((key, i) => (i === query ? keys[row.who] : key));
    const made = {
      site: { kind: row.own === null ? "cross" : "self", mask: { empty_rows: row.empty ?? "zero" } },
      chain: {
        weights: Float64Array.from(row.weights, number),
        share: Float64Array.from(row.share),
        dot: row.dot && Float64Array.from(row.dot, number),
        sink: row.sink ?? 0,
        hasSink: row.sink !== null,
        empty: row.empty !== null,
      },
      tensors: { v: row.share, norms: Float32Array.from(row.norms) },
      state: { filter: row.outside === null ? "all" : "aa" },
      outside: row.outside ?? 0,
      keyLabels: keys,
      queryLabels: queries,
      query,
      aside: { sinks, keys: Uint8Array.from(keys, ({ special }, j) => Number(special || sinks.includes(j))) },
      without: "without" in row && row.without,
    };
    expect(quoted(sentence(made as unknown as Scene))).toBe(row.said);
  });
});

describe("a query in two traces", () => {
  it.each(cases.pairs)("$name", (row) => {
    const keys = row.keys.map((text, index) => label({ text }, index));
    const side = (given: { weights: unknown[]; masked: boolean[] } | null) => ({
      chain: given && {
        weights: Float64Array.from(given.weights, (one) => (one === null ? 0 : number(one))),
        allowed: Uint8Array.from(given.masked, (masked) => Number(!masked)),
      },
      keys: keys.map((_, j) => (given && given.weights[j] === null ? null : j)),
    });
    const pair = { a: side(row.a), b: side(row.b) } as unknown as PairScene;
    const [before, later] = [pair.a.chain?.weights, pair.b.chain?.weights];
    const weights = Float64Array.from(keys, (_, j) => (later?.[j] ?? 0) - (before?.[j] ?? 0));
    const made = {
      site: { kind: row.own === null ? "cross" : "self" },
      chain: { weights },
      keyLabels: keys,
      queryLabels: keys,
      query: row.who,
      pinned: row.pinned !== null,
      key: row.pinned,
    };
    expect(quoted(sentenceOfPair(made as unknown as Scene, pair))).toBe(row.said);
  });
});
