import { describe, expect, it } from "vitest";
import { absent, fitted } from "../src/app/validate-state";
import { fromHash, INITIAL, parse, type State, toHash } from "../src/base/state";
import { Payload } from "../src/data/payload";
import { Holdings, type Source } from "../src/data/source";
import { meta, payload, site } from "./made";

describe("the address", () => {
  it("holds the state, and gives it back", () => {
    const state: State = {
      ...INITIAL,
      stack: "decoder",
      layer: 2,
      head: 8,
      query: 7,
      key: 9,
      theme: "dark",
      filter: "ab",
    };
    expect(toHash(state)).toBe("#stack=decoder&layer=2&head=8&query=7&key=9&theme=dark&filter=ab");
    expect({ ...INITIAL, ...fromHash(toHash(state)).state }).toEqual(state);
  });

  it("leaves out what is at its default", () => {
    expect(toHash(INITIAL)).toBe("#layer=0&head=0&query=0");
  });

  it("says what it cannot read, and leaves it", () => {
    const { state, problems } = fromHash("#layer=two&head=-1&query=1e9&key=x&theme=pink&filter=ac&level=atoms&other=1");
    expect(state).toEqual({});
    expect(problems).toHaveLength(7);
    expect(problems[0]).toContain("layer=two");
  });

  it.each(["", "#", "#%%%", "#&&==", "#layer", "#layer="])("survives %s", (hash) => {
    expect(fromHash(hash).state).toEqual({});
  });

  it("reads traits: null and empty", () => {
    const { state, problems } = parse([
      ["key", null],
      ["stack", null],
      ["layer", 3],
      ["theme", "system"],
      ["why", ""],
    ]);
    expect(state).toEqual({ key: null, stack: null, layer: 3, theme: "auto", why: null });
    expect(problems).toEqual([]);
  });
});

describe("a state against a trace", () => {
  const sites = [0, 1].map((layer) => site({ index: layer, layer, held: null }));
  const all = meta(sites);
  const placed = (change: Partial<State>, before: State = INITIAL) => {
    const problems: string[] = [];
    return { state: fitted(all, { ...before, ...change }, before, problems), problems };
  };

  it("that exists is taken", () => {
    expect(placed({ layer: 1, head: 1, query: 2, key: 0 })).toEqual({
      state: { ...INITIAL, layer: 1, head: 1, query: 2, key: 0 },
      problems: [],
    });
  });

  it("out of range says the range and stays", () => {
    const before = { ...INITIAL, layer: 1, head: 1, query: 1 };
    const { state, problems } = placed({ layer: 99, head: 12, query: 3, key: 3 }, before);
    expect(state).toEqual(before);
    expect(problems.join(" ")).toMatch(/Layer 99.*0, 1.*Head 12.*0–1.*Query 3.*0–2.*Key 3.*0–2/);
  });

  it("a stack that is not there", () => {
    expect(placed({ stack: "cross" }).state.stack).toBeNull();
    expect(placed({ stack: "cross" }).problems).toHaveLength(1);
  });

  it("queries after a cache begin where the cache ends", () => {
    const cached = meta([site({ queries: 1, query_offset: 2 })]);
    const problems: string[] = [];
    expect(fitted(cached, { ...INITIAL, query: 0 }, INITIAL, problems).query).toBe(2);
    expect(fitted(cached, { ...INITIAL, query: 2 }, INITIAL, problems).query).toBe(2);
  });

  it("a layer that is not held says which are, and how to get it", () => {
    const bytes = payload(site({ index: 1, layer: 1 }), {}, { sites: [sites[0], site({ index: 1, layer: 1 })] });
    const read = new Payload(bytes);
    const holdings = new Holdings(read.meta);
    holdings.add(read);
    const source = {
      meta: read.meta,
      live: false,
      holds: holdings.holds.bind(holdings),
      head: () => holdings.head(1, 0),
    } as unknown as Source;
    expect(absent(source, read.meta.sites[0], 0)).toMatch(
      /Layer 0 is not in this page, which holds layer 1\..*trace\.show\(layer=0\).*max_mb/,
    );
    expect(() => holdings.add(new Payload(payload(site(), {}, { trace: "other" })))).toThrow(/another trace/);
  });
});
