// @vitest-environment happy-dom
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { Ramp } from "../../src/base/scale";
import { linksOf } from "../../src/chain/chain";
import { HeadTensors } from "../../src/data/head-tensors";
import { Payload } from "../../src/data/payload";
import type { Source, TileData, TilesAsked } from "../../src/data/source";
import { RowCache } from "../../src/heads/row-cache";
import { coarsest } from "../../src/levels/matrix/computed-tiles";
import { CursorView } from "../../src/levels/matrix/cursor";
import { gestures } from "../../src/levels/matrix/gestures";
import { Shade } from "../../src/levels/matrix/shade";
import { Tiles } from "../../src/levels/matrix/tiles";
import type { ViewBox } from "../../src/levels/matrix/viewbox";
import { f32, meta, safetensors, site } from "../made";

const N = 700; // three tiles of single weights along each side; one cell of the whole is a block of 4 × 4
const RAMP = new Ramp({ negative: "#1d5fb4", zero: "#ecebe7", positive: "#c4500d", ink: "#17181a", ground: "#fcfcfa" });
const SHADE = new Shade(RAMP, "weights", 1, 1, false);
const MARKS = { ground: 1, hatch: 2, ink: 3 };
const FRAME = { left: 0, top: 0, width: 175, height: 175 };
const WHOLE = { x: 0, y: 0, cellX: 0.25, cellY: 0.25 };
const NEAR = { x: 520, y: 530, cellX: 1, cellY: 1 };

/** `turn`: another head. */
function head(turn = 0): HeadTensors {
  const mask = { lower: null, upper: 0, keys: null, rows: null, packed: null, empty_rows: "zero" as const };
  const one = site({ queries: N, keys: N, heads: 1, held: { dtype: "F32", heads: [0] }, mask });
  const [{ text, ids, special, words, segments, ...rest }] = meta([]).tokens;
  const long = <T>(list: T[] | null) => Array.from({ length: N }, (_, i) => (list as T[])[i % 5]);
  const tokens = {
    ...rest,
    text: long(text),
    ids: long(ids),
    special: long(special),
    words: long(words),
    segments: long(segments),
  };
  const wave = (shift: number) => Array.from({ length: 2 * N }, (_, i) => 3 * Math.sin(0.37 * i + shift));
  const tensors = {
    "s0.q": f32([1, N, 2], wave(turn)),
    "s0.k": f32([1, N, 2], wave(1)),
    "s0.v": f32([1, N, 2], wave(2)),
  };
  return new HeadTensors(
    new Payload(safetensors(tensors, { attnscope: JSON.stringify(meta([one], { tokens: [tokens] })) })),
    0,
    0,
  );
}

/** A context of which only `drawImage` and the alpha are looked at. */
function canvas() {
  const drawn: { width: number; alpha: number }[] = [];
  const context = new Proxy({ drawn } as Record<string, unknown>, {
    get: (own, name) => {
      if (name === "drawImage")
        return (image: HTMLCanvasElement) => drawn.push({ width: image.width, alpha: own.globalAlpha as number });
      return name in own ? own[name as string] : () => null;
    },
    set: (own, name, value) => {
      own[name as string] = value;
      return true;
    },
  });
  return context as unknown as CanvasRenderingContext2D & { drawn: typeof drawn };
}

interface Asked extends TilesAsked {
  signal: AbortSignal;
  answer: (exact: boolean, value?: number) => void;
  fail: () => void;
}

function setup(live = true, heads = [head()]) {
  const asked: Asked[] = [];
  const notices: string[] = [];
  const wholes: TileData[] = [];
  const tiles = live
    ? (ask: TilesAsked, signal: AbortSignal) =>
        new Promise<TileData[]>((resolve, reject) => {
          const answer = (exact: boolean, value = 0.5) =>
            resolve(ask.tiles.map(() => ({ values: new Float32Array(175 * 175).fill(value), columns: 175, exact })));
          asked.push({ ...ask, signal, answer, fail: () => reject(new Error("The server is gone.")) });
          signal.addEventListener("abort", () => reject(signal.reason));
        })
    : undefined;
  const cache = new RowCache(heads);
  const came = vi.fn();
  const made = new Tiles(
    { tiles } as unknown as Source,
    cache,
    came,
    (data) => wholes.push(data),
    (text) => notices.push(text),
  );
  const draw = (box = WHOLE) => {
    const context = canvas();
    made.draw(context, box, FRAME, SHADE, MARKS, 1);
    return context.drawn;
  };
  return { made, asked, notices, wholes, came, draw, cache };
}

const settle = () => vi.advanceTimersByTimeAsync(100);

beforeEach(() => {
  vi.useFakeTimers();
  const pixels = { putImageData: () => {}, fillRect: () => {} };
  vi.spyOn(HTMLCanvasElement.prototype, "getContext").mockReturnValue(pixels as never);
  vi.stubGlobal("ImageData", class {});
});
afterEach(() => {
  vi.useRealTimers();
  vi.restoreAllMocks();
  vi.unstubAllGlobals();
});

describe("the picture of a long head", () => {
  it("has one tile at first, coarse, then exact, and says which", async () => {
    expect(coarsest(N, N)).toBe(4);
    const { made, asked, wholes, came, draw } = setup();
    expect(draw()).toEqual([]);
    await settle();
    expect(asked).toMatchObject([{ site: 0, head: 0, coarse: true, tiles: [[0, 0, 0]] }]);
    asked[0].answer(false);
    await settle();
    expect(came).toHaveBeenCalledOnce();
    expect(draw().map(({ width }) => width)).toEqual([175]);
    expect(made.coarse).toBe(true);
    await settle();
    expect(asked[1]).toMatchObject({ coarse: false, tiles: [[0, 0, 0]] });
    asked[1].answer(true);
    await settle();
    draw();
    expect(made.coarse).toBe(false);
    expect(wholes.map(({ exact }) => exact)).toEqual([false, true]);
    await settle();
    expect(asked).toHaveLength(2);
  });

  it("shows the coarser tile until the finer one has faded in; masked tiles are not asked for", async () => {
    const { made, asked, draw } = setup();
    draw();
    await settle();
    asked[0].answer(true);
    await settle();
    expect(draw(NEAR)).toHaveLength(2); // the whole as a ground, and as a map in the corner
    expect(made.block).toBe(1);
    await settle();
    expect(asked[1].tiles).toEqual([[2, 2, 2]]); // of what is in sight, all else is known
    asked[1].answer(true);
    await settle();
    expect(draw(NEAR).map(({ alpha }) => alpha < 1)).toEqual([false, true, false]);
    expect(made.moving).toBe(true);
    await vi.advanceTimersByTimeAsync(200);
    expect(draw(NEAR).map(({ alpha }) => alpha)).toEqual([1, 1]);
    expect(made.moving).toBe(false);
    expect(draw({ ...NEAR, y: 0, x: 525 })).toHaveLength(1); // the map; above the diagonal there is nothing to ask for
    await settle();
    expect(asked).toHaveLength(2);
  });

  it("withdraws what the view has left behind", async () => {
    const { made, asked, draw } = setup();
    draw();
    await settle();
    asked[0].answer(true);
    await settle();
    draw(NEAR);
    await settle();
    draw({ ...NEAR, x: 0, y: 0 });
    expect(asked[1].signal.aborted).toBe(true);
    await settle();
    expect(asked[2].tiles).toEqual([[2, 0, 0]]);
    made.cancel();
    expect(asked[2].signal.aborted).toBe(true);
  });

  it("says once that nobody answers, asks again, and goes on", async () => {
    const { asked, notices, draw } = setup();
    draw();
    await settle();
    asked[0].fail();
    await settle();
    draw();
    await vi.advanceTimersByTimeAsync(4000);
    asked[1].fail();
    await settle();
    expect(notices).toEqual(["The server is gone."]);
    draw();
    await vi.advanceTimersByTimeAsync(7000);
    asked[2].answer(true);
    await settle();
    expect(draw()).toHaveLength(1);
  });

  it("is computed in a page on its own: single weights exactly, blocks from the query in their middle", async () => {
    const { made, wholes, draw, cache } = setup(false);
    draw();
    await vi.advanceTimersByTimeAsync(5000);
    const [{ values, columns, exact }] = wholes;
    expect([values.length / columns, columns, exact]).toEqual([175, 175, false]);
    for (const [r, c] of [
      [0, 0],
      [100, 7],
      [174, 174],
    ]) {
      const { weights } = linksOf(cache.members[0], 4 * r + 2);
      const block = Array.from(weights.slice(4 * c, 4 * c + 4));
      expect(values[r * columns + c]).toBeCloseTo(Math.max(...block), 6);
    }
    expect(values[100 * columns + 101]).toBe(-1);
    draw(NEAR);
    await vi.advanceTimersByTimeAsync(5000);
    draw(NEAR);
    expect(made.block).toBe(1);
    expect(made.live).toBe(false);
    made.cancel();
  });

  it("is computed of a mean over heads too, which nobody is asked for", async () => {
    const heads = [head(), head(2)];
    const { made, asked, wholes, draw } = setup(true, heads);
    draw();
    await vi.advanceTimersByTimeAsync(9000);
    expect([asked.length, made.live]).toEqual([0, false]);
    const [{ values, columns }] = wholes;
    const rows = heads.map((one) => linksOf(one, 4 * 100 + 2).weights);
    const mean = rows[0].map((weight, j) => (weight + rows[1][j]) / 2).slice(28, 32);
    expect(values[100 * columns + 7]).toBeCloseTo(Math.max(...mean), 6);
    expect(rows[0][28]).not.toBeCloseTo(rows[1][28], 4);
    made.cancel();
  });
});

describe("the small map", () => {
  it("is where one clicks or drags to move, and takes no click elsewhere", async () => {
    const { made, asked, draw } = setup();
    draw();
    await settle();
    asked[0].answer(true);
    await settle();
    draw();
    expect(made.small).toBeNull(); // all is in sight
    draw(NEAR);
    const small = made.small as NonNullable<typeof made.small>;
    expect(small.size).toBeCloseTo(84 / N);
    expect([small.left, small.top]).toEqual([175 - 84 - 8, 8]);
    const shown: ViewBox[] = [];
    const clicks = vi.fn();
    const laid = { box: NEAR, room: { plot: { width: 175, height: 175 }, left: 0, top: 0 } };
    const field = { columns: N, rows: N };
    const covered = { width: 175, height: 175 };
    const cursor = new CursorView({ set: clicks } as never, {
      laid: () => ({ ...laid, field, covered, axes: null }) as never,
      mark: () => "",
      show: (box) => shown.push(box),
      small: () => made.small,
    });
    const grid = document.createElement("div");
    grid.setPointerCapture = () => {};
    gestures(grid, cursor);
    const move = (kind: string, x: number, y: number) =>
      grid.dispatchEvent(new PointerEvent(kind, { pointerId: 1, button: 0, clientX: x, clientY: y }));
    move("pointerdown", small.left + 42, small.top + 21);
    move("pointermove", small.left + 63, small.top + 190); // beyond its edge: it is held
    move("pointerup", small.left + 63, small.top + 190);
    const centre = ({ x, y }: ViewBox) => [x + 87.5, y + 87.5];
    expect(centre(shown[0]).map(Math.round)).toEqual([N / 2, N / 4]);
    expect(Math.round(centre(shown[1])[0])).toBe((3 * N) / 4);
    expect(shown[1].y).toBeGreaterThan(N);
    expect(shown).toHaveLength(2);
    expect(clicks).not.toHaveBeenCalled();
    move("pointerdown", 20, 120);
    move("pointermove", 30, 120);
    expect(shown[2]).toMatchObject({ x: NEAR.x - 10, y: N - 175 }); // elsewhere it pans, up to the edge
  });
});
