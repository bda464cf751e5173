import { afterEach, describe, expect, it, vi } from "vitest";
import { type Channel, CommSource, GONE, type Reply, SILENT } from "../src/data/sources/comm";
import { f32, payload, safetensors, site } from "./made";

const held = site({ index: 0, layer: 0 });
const other = site({ index: 1, layer: 1, held: null });
const first = () => payload(held, {}, { sites: [held, other] });
const second = () =>
  payload(site({ index: 1, layer: 1 }), {}, { sites: [{ ...held, held: null }, site({ index: 1, layer: 1 })] });

function kernel() {
  const sent: { id: number; kind: string; site?: number; head?: number }[] = [];
  let answer: (reply: Reply, buffers: ArrayBufferView[]) => void = () => {};
  const channel: Channel = {
    send: (message) => void sent.push(message as (typeof sent)[0]),
    listen: (listener) => {
      answer = listener;
      return () => {
        answer = () => {};
      };
    },
  };
  return { sent, channel, answer: (reply: Reply, buffers: ArrayBufferView[] = []) => answer(reply, buffers) };
}

afterEach(() => vi.useRealTimers());

describe("a live notebook", () => {
  it("asks once for what it does not hold, and keeps the answer", async () => {
    const { sent, channel, answer } = kernel();
    const source = new CommSource([first()], channel);
    expect(source.holds(0, 1)).toBe(true);
    expect(source.head(0, 1)).not.toBeInstanceOf(Promise);
    const asked = [source.head(1, 0), source.head(1, 0)];
    expect(sent).toEqual([{ id: 1, kind: "site", site: 1, head: 0 }]);
    answer({ id: 1, kind: "reply" }, [second()]);
    expect((await asked[0]).site.index).toBe(1);
    expect(await asked[1]).toBe(await asked[0]);
    expect(source.holds(1, 1)).toBe(true);
  });

  it("says what the kernel says, and what it got is wrong", async () => {
    const { channel, answer } = kernel();
    const source = new CommSource([first()], channel);
    const refused = source.head(1, 0);
    answer({ id: 1, kind: "error", message: "Layer 1 is gone." });
    await expect(refused).rejects.toThrow("Layer 1 is gone.");
    const damaged = source.head(1, 0);
    answer({ id: 2, kind: "reply" }, [second().subarray(0, 50)]);
    await expect(damaged).rejects.toThrow(/cut off/);
    const empty = source.head(1, 0);
    answer({ id: 3, kind: "reply" });
    await expect(empty).rejects.toThrow(/without data/);
  });

  it("says when nobody answers, and can ask again", async () => {
    vi.useFakeTimers();
    const { sent, channel } = kernel();
    const source = new CommSource([first()], channel, 1000);
    const asked = Promise.resolve(source.head(1, 0));
    const caught = expect(asked).rejects.toThrow(SILENT);
    await vi.advanceTimersByTimeAsync(1001);
    await caught;
    void Promise.resolve(source.head(1, 0)).catch(() => {});
    expect(sent).toHaveLength(2);
  });

  it("gets tiles of a head; progress keeps it waiting, and what nobody needs is withdrawn", async () => {
    vi.useFakeTimers();
    const { sent, channel, answer } = kernel();
    const source = new CommSource([first()], channel, 1000);
    const asked = {
      site: 0,
      head: 1,
      coarse: false,
      tiles: [
        [1, 0, 0],
        [1, 0, 1],
      ] as [number, number, number][],
    };
    const tiles = source.tiles(asked, new AbortController().signal);
    expect(sent).toEqual([{ id: 1, kind: "tiles", ...asked }]);
    await vi.advanceTimersByTimeAsync(900);
    answer({ id: 1, kind: "progress" });
    await vi.advanceTimersByTimeAsync(900);
    const data = safetensors({ 0: f32([1, 2], [0.5, -1]), 1: f32([2, 1], [0.25, 1]) }, { exact: "10" });
    answer({ id: 1, kind: "reply" }, [data]);
    expect(await tiles).toEqual([
      { values: Float32Array.of(0.5, -1), columns: 2, exact: true },
      { values: Float32Array.of(0.25, 1), columns: 1, exact: false },
    ]);
    const leaving = new AbortController();
    const left = expect(source.tiles(asked, leaving.signal)).rejects.toBe("elsewhere");
    leaving.abort("elsewhere");
    await left;
    expect(sent.at(-1)).toEqual({ id: 2, kind: "cancel" });
    answer({ id: 2, kind: "reply" }, [data]); // too late, and no matter
  });

  it("says when the kernel is gone", async () => {
    const { channel } = kernel();
    channel.send = () => {
      throw new Error("comm closed");
    };
    await expect(new CommSource([first()], channel).head(1, 0)).rejects.toThrow(SILENT);
  });

  it("says at once that the kernel is gone where the host knows it, and keeps what it has", async () => {
    const { sent, channel } = kernel();
    let alive = true;
    const source = new CommSource([first()], { ...channel, alive: () => alive });
    const waiting = expect(source.head(1, 0)).rejects.toThrow(GONE);
    alive = false;
    source.lose();
    await waiting;
    await expect(source.head(1, 0)).rejects.toThrow(GONE);
    expect(sent).toHaveLength(1);
    expect(source.head(0, 1)).not.toBeInstanceOf(Promise);
  });

  it("withdraws what is open when it is closed", async () => {
    const { sent, channel } = kernel();
    const source = new CommSource([first()], channel);
    const asked = expect(source.head(1, 0)).rejects.toThrow(/closed/);
    source.destroy();
    await asked;
    expect(sent.at(-1)).toEqual({ id: 1, kind: "cancel" });
  });

  it("without data says so", () => {
    expect(() => new CommSource([], kernel().channel)).toThrow(/no data/);
  });
});
