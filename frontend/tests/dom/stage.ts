/** What DOM tests stand on: sizes and a canvas, which a document without a screen lacks, and a scene of seven tokens. */

import { Ramp } from "../../src/base/scale";
import { INITIAL, type State } from "../../src/base/state";
import type { HeadTensors } from "../../src/data/head-tensors";
import { Payload } from "../../src/data/payload";
import { Holdings, type Source } from "../../src/data/source";
import { labels } from "../../src/scene/labels";
import type { Actions } from "../../src/scene/level";
import { type Scene, scene } from "../../src/scene/scene";
import { bytes, type Streamed } from "../fixture";

export { WORDS } from "../fixture";

export const WIDTH = 960;
export const HEIGHT = 420;

/** Every element is as large; every method of a canvas does nothing. */
export function stage(): void {
  for (const [name, value] of [
    ["clientWidth", WIDTH],
    ["clientHeight", HEIGHT],
    ["offsetHeight", 24],
  ] as const)
    Object.defineProperty(HTMLElement.prototype, name, { configurable: true, get: () => value });
  const nothing = new Proxy({} as Record<string | symbol, unknown>, {
    get: (target, name) =>
      name === "measureText"
        ? (text: string) => ({ width: 7 * text.length })
        : name === "createImageData" || name === "getImageData"
          ? (w: number, h: number) => ({ data: new Uint8ClampedArray(4 * w * h), width: w, height: h })
          : (target[name] ?? (() => {})),
    set: (target, name, value) => {
      target[name] = value;
      return true;
    },
  });
  HTMLCanvasElement.prototype.getContext = (() => nothing) as never;
  HTMLCanvasElement.prototype.toDataURL = () => "data:image/png;base64,";
  Element.prototype.scrollIntoView = () => {};
  globalThis.Path2D ??= class {
    moveTo() {}
    lineTo() {}
    bezierCurveTo() {}
  } as never;
  globalThis.ImageData ??= class {
    constructor(
      readonly data: Uint8ClampedArray,
      readonly width: number,
    ) {}
  } as never;
}

export function source(streamed: Streamed | null = null): Source {
  const payload = new Payload(bytes(streamed));
  const holdings = new Holdings(payload.meta);
  holdings.add(payload);
  return {
    meta: payload.meta,
    live: false,
    holds: (index, head) => holdings.holds(index, head),
    head: (index, head) => holdings.head(index, head) as HeadTensors,
    octets: (name) => (payload.has(name) ? payload.octets(name) : null),
    ...(streamed && { floats: (name: string) => holdings.floats(name) }),
  };
}

export function sceneAt(of: Source, change: Partial<State> = {}): Scene {
  const state = { ...INITIAL, query: 5, ...change };
  const found = of.meta.sites.find(({ layer }) => layer === state.layer)?.index ?? 0;
  const palette = { negative: "#1d5fb4", zero: "#ecebe7", positive: "#c4500d", ink: "#1a1a1a", ground: "#ffffff" };
  const look = { ramp: new Ramp(palette), dimSpecial: false };
  return scene(of.meta, of.head(found, state.head) as HeadTensors, state, of.meta.tokens.map(labels), look);
}

/** Actions that remember what they were asked for. */
export function actions(): Actions & { asked: Partial<State>[]; said: string[] } {
  const asked: Partial<State>[] = [];
  const said: string[] = [];
  return {
    asked,
    said,
    set: (change) => asked.push(change),
    go: (change) => asked.push(change),
    say: (text) => said.push(text),
    notice: (text) => said.push(text),
  };
}

export const press = (element: Element, key: string, more: KeyboardEventInit = {}) =>
  element.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true, ...more }));
