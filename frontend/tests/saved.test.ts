/** What earlier versions saved is read: tests/payload/saved, which pytest reads too (tests/payload/test_saved.py). */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { fromHash, INITIAL, parse } from "../src/base/state";
import { Payload } from "../src/data/payload";
import { Holdings } from "../src/data/source";

const saved = join(import.meta.dirname, "../../tests/payload/saved");
const folders = readdirSync(saved).map((name) => join(saved, name));
const files = folders.flatMap((folder) => readdirSync(folder).map((name) => join(folder, name)));
const json = (path: string) => JSON.parse(readFileSync(path, "utf-8"));
/** Every field of a state but the words why. */
const fields = ({ why: _, ...state }: Record<string, unknown>) => state;

describe("what earlier versions saved", () => {
  it.each(files.filter((name) => /\.(safetensors|bin)$/.test(name)))("%s: every head that it holds", (name) => {
    const read = new Payload(new Uint8Array(readFileSync(name)));
    const holdings = new Holdings(read.meta);
    holdings.add(read);
    const held = read.meta.sites.filter((site) => site.held);
    expect(held.length).toBeGreaterThan(0);
    for (const site of held)
      for (const head of site.held?.heads ?? []) expect(holdings.head(site.index, head)).toBeTruthy();
  });

  it.each(files.filter((name) => name.endsWith("addresses.json")))("%s", (name) => {
    for (const { address, state } of json(name)) {
      const read = fromHash(address.slice(address.indexOf("#")));
      expect(read.problems).toEqual([]);
      expect(fields({ ...INITIAL, ...read.state })).toEqual({ ...fields({ ...INITIAL }), ...fields(state) }); // fields that are newer are at their defaults
    }
  });

  it.each(files.filter((name) => /widget[^/]*\.json$/.test(name)))("%s: the state of a widget", (name) => {
    const models = Object.values<{ model_name: string; state: Record<string, unknown>; buffers: Buffered[] }>(
      json(name).state,
    );
    const scope = models.find((model) => model.model_name === "AnyModel");
    const names = Object.keys(INITIAL);
    const { problems, state } = parse(Object.entries(scope?.state ?? {}).filter(([field]) => names.includes(field)));
    expect(problems).toEqual([]);
    const newer = ["target", "against", "edits", "lens", "group", "pooled"];
    expect(Object.keys(state)).toEqual(expect.arrayContaining(names.filter((name) => !newer.includes(name))));
    for (const { data } of scope?.buffers ?? [])
      expect(new Payload(new Uint8Array(Buffer.from(data, "base64"))).meta.sites.length).toBe(2);
  });
});

interface Buffered {
  path: (string | number)[];
  data: string;
}
