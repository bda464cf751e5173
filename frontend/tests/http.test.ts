import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { type HttpSource, type Question, Refused, read } from "../src/data/sources/http";
import { addressOf, questionIn } from "../src/entries/serve/url-query";
import { f32, payload, safetensors, site } from "./made";

const QUESTION: Question = { model: "demo", text: "a b", pair: "", truncate: false };
const held = site({ index: 0, layer: 0 });
const other = site({ index: 1, layer: 1, held: null });
const first = () => payload(held, {}, { sites: [held, other] });
const second = () =>
  payload(site({ index: 1, layer: 1 }), {}, { sites: [{ ...held, held: null }, site({ index: 1, layer: 1 })] });

const bytes = (view: Uint8Array, headers: Record<string, string> = {}) =>
  new Response(new Uint8Array(view), { headers });
const opening = () =>
  bytes(first(), { "attnscope-id": "t1", "attnscope-state": JSON.stringify({ layer: 0, head: 1, why: "Because." }) });
const refusal = (status: number, kind: string, after?: string) =>
  new Response(JSON.stringify({ kind, message: `It is ${kind}.` }), {
    status,
    headers: after ? { "retry-after": after } : {},
  });

let asked: { address: string; body: unknown }[] = [];
let answers: (() => Response | Promise<Response>)[] = [];

beforeEach(() => {
  asked = [];
  answers = [];
  vi.stubGlobal("fetch", async (address: string, init: RequestInit) => {
    asked.push({ address, body: init.body ? JSON.parse(String(init.body)) : null });
    init.signal?.throwIfAborted();
    const next = answers.shift();
    if (!next) throw new TypeError("Failed to fetch");
    return next();
  });
});

afterEach(() => {
  vi.unstubAllGlobals();
  vi.useRealTimers();
});

async function opened(): Promise<HttpSource> {
  answers.push(opening);
  return (await read(QUESTION, { layer: 0 })).source;
}

describe("a server", () => {
  it("reads a text, and says where the view opens", async () => {
    answers.push(opening);
    const { source, state } = await read(QUESTION, { layer: 1, head: 2 });
    expect(asked).toEqual([{ address: "api/trace", body: { ...QUESTION, layer: 1, head: 2 } }]);
    expect(state).toEqual({ layer: 0, head: 1, why: "Because." });
    expect(source.holds(0, 1)).toBe(true);
    expect(source.holds(1, 1)).toBe(false);
  });

  it("gives tiles of a head", async () => {
    const source = await opened();
    answers.push(() => bytes(safetensors({ 0: f32([1, 2], [0.5, -1]) }, { exact: "0" })));
    const tiles = await source.tiles(
      { site: 0, head: 1, coarse: true, tiles: [[2, 0, 3]] },
      new AbortController().signal,
    );
    expect(tiles).toEqual([{ values: Float32Array.of(0.5, -1), columns: 2, exact: false }]);
    expect(asked.at(-1)?.address).toBe("api/tiles?id=t1&site=0&head=1&tiles=2.0.3&coarse=1");
  });

  it("asks once for what it does not hold, and keeps the answer", async () => {
    const source = await opened();
    answers.push(() => bytes(second()));
    const both = [source.head(1, 0), source.head(1, 0)];
    expect((await both[0]).site.index).toBe(1);
    expect(await both[1]).toBe(await both[0]);
    expect(asked.slice(1).map(({ address }) => address)).toEqual(["api/site?id=t1&kind=site&site=1&head=0"]);
    expect(source.head(1, 0)).not.toBeInstanceOf(Promise);
  });

  it("has a text that is no longer kept read again", async () => {
    const source = await opened();
    answers.push(
      () => refusal(410, "gone"),
      opening,
      () => bytes(second()),
    );
    expect((await source.head(1, 0)).site.index).toBe(1);
    expect(asked.map(({ address }) => address.split("?")[0])).toEqual([
      "api/trace",
      "api/site",
      "api/trace",
      "api/site",
    ]);
    answers.push(
      () => refusal(410, "gone"),
      opening,
      () => refusal(410, "gone"),
    );
    await expect(source.fetchStepTensors(1, 0)).rejects.toThrow("It is gone."); // not for ever
  });

  it("comes again when the server says so, and not otherwise", async () => {
    vi.useFakeTimers();
    answers.push(
      () => refusal(503, "busy", "2"),
      () => refusal(429, "too_many", "1"),
      opening,
    );
    const reading = read(QUESTION, {});
    await vi.advanceTimersByTimeAsync(900);
    expect(asked).toHaveLength(1);
    await vi.advanceTimersByTimeAsync(5000);
    await reading;
    expect(asked).toHaveLength(3);
    answers.push(() => refusal(507, "memory"));
    await expect(read(QUESTION, {})).rejects.toMatchObject({ kind: "memory", message: "It is memory." });
    expect(asked).toHaveLength(4);
  });

  it("gives up on a server that stays busy", async () => {
    vi.useFakeTimers();
    for (let i = 0; i < 9; i++) answers.push(() => refusal(503, "busy", "1"));
    const reading = expect(read(QUESTION, {})).rejects.toBeInstanceOf(Refused);
    await vi.advanceTimersByTimeAsync(60_000);
    await reading;
    expect(asked).toHaveLength(6);
  });

  it("says that nobody answers, and what is not JSON", async () => {
    await expect(read(QUESTION, {})).rejects.toThrow("The server does not answer");
    answers.push(() => new Response("<h1>Bad gateway</h1>", { status: 502 }));
    await expect(read(QUESTION, {})).rejects.toThrow("The server answered 502.");
  });

  it("asks for nothing more once it is closed", async () => {
    const source = await opened();
    source.destroy();
    answers.push(() => bytes(second()));
    await expect(source.head(1, 0)).rejects.toThrow("The view was closed.");
  });
});

describe("the address of a question", () => {
  const settings = { models: ["demo", "other"], example: "An example." };

  it("comes back as it was", () => {
    for (const question of [QUESTION, { model: "other", text: "a & b#c ü 字 +", pair: "d?", truncate: true }]) {
      const { search, whole } = addressOf(question);
      expect(whole).toBe(true);
      expect(questionIn(search, settings)).toEqual({ ...question, problems: [] });
    }
  });

  it("leaves out a text that is too long for it", () => {
    expect(addressOf({ ...QUESTION, text: "word ".repeat(2000) })).toEqual({ search: "?model=demo", whole: false });
  });

  it("opens with the example, and says which model there is not", () => {
    expect(questionIn("", settings)).toMatchObject({ model: "demo", text: "An example.", problems: [] });
    const { model, problems } = questionIn("?model=gpt2&text=a", settings);
    expect(model).toBe("demo");
    expect(problems).toEqual(["gpt2 is not served here; this is demo."]);
  });
});
