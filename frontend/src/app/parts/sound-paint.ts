/** A sound on canvas: what was heard in the colour of text, and the weight of each moment as bars of ink. */

import { inkRamp } from "../../base/scale";
import type { Sound } from "../../data/metadata";
import type { Scene } from "../../scene/scene";

const HEIGHT = 64; // rows of a canvas of bars, or of a waveform
const COLUMNS = 600; // of a canvas of bars: of more moments, the largest weight of several
const FAINT = 0.75; // of the ink: what was heard is no weight

/** Bytes of base64. */
function octetsOf(text: string): Uint8Array {
  return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
}

const rgb = (css: string) => Number.parseInt(css.slice(1), 16);

function surface(canvas: HTMLCanvasElement, width: number, height: number) {
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  const context = canvas.getContext("2d");
  const image = context?.createImageData(width, height);
  return context && image ? { context, image, pixels: new Uint32Array(image.data.buffer) } : null;
}

/** `ink`: "#rrggbb", the colour of the loudest. */
export function paintHeard(canvas: HTMLCanvasElement, { kind, rows, columns, pixels }: Sound, ink: string): void {
  const octets = octetsOf(pixels);
  const waves = kind === "waveform";
  const height = waves ? HEIGHT : rows;
  const drawn = surface(canvas, Math.max(1, columns), Math.max(1, height));
  if (!drawn || octets.length !== rows * columns) return;
  const colour = rgb(ink);
  const own = ((colour & 255) << 16) | (colour & 0xff00) | (colour >> 16);
  const put = (place: number, part: number) => {
    drawn.pixels[place] = (own | (Math.round(255 * FAINT * part) << 24)) >>> 0;
  };
  if (!waves) for (let place = 0; place < octets.length; place++) put(place, octets[place] / 255);
  else
    for (let x = 0; x < columns; x++) {
      const row = (octet: number) => Math.round(((255 - octet) / 255) * (HEIGHT - 1));
      for (let y = row(octets[x]); y <= row(octets[columns + x]); y++) put(y * columns + x, 1);
    }
  drawn.context.putImageData(drawn.image, 0, 0);
}

/** The weights of the moments, in columns; in each that of the largest size. */
export function weightsOf(positions: number, { chain, aside, without }: Scene): Float32Array {
  const columns = Math.min(positions, COLUMNS);
  const largest = new Float32Array(columns);
  for (let key = 0; key < positions; key++) {
    const weight = without && aside.keys[key] ? 0 : (chain.weights[key] ?? 0);
    const x = Math.floor((key * columns) / positions);
    if (Math.abs(weight) > Math.abs(largest[x])) largest[x] = weight;
  }
  return largest;
}

/** Bars as long as the ink under a word: the weight's part of the scale, in the colour of weights. */
export function paintWeights(canvas: HTMLCanvasElement, positions: number, scene: Scene): void {
  const { weightEnd, ramp, pair } = scene;
  const largest = weightsOf(positions, scene);
  const columns = largest.length;
  const drawn = surface(canvas, columns, HEIGHT);
  if (!drawn) return;
  const ink = inkRamp(ramp);
  largest.forEach((weight, x) => {
    const part = Math.min(1, Math.abs(weight) / weightEnd);
    const colour = pair ? ramp.pixel(Math.sign(weight), 1) : ink.pixel(1, 1);
    const rows = Math.abs(weight) >= 0.0005 ? Math.max(1, Math.round(part * HEIGHT)) : 0; // a trace is still a hairline
    for (let y = HEIGHT - rows; y < HEIGHT; y++) drawn.pixels[y * columns + x] = colour;
  });
  drawn.context.putImageData(drawn.image, 0, 0);
}

/** Where seconds are written along a sound of this length: at most six. */
export function secondsOf(length: number): number[] {
  const step = [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 60, 120, 300, 600].find((one) => length / one < 6);
  const each = step ?? length;
  return Array.from({ length: Math.floor(length / each + 1e-9) + 1 }, (_, i) => Number((i * each).toFixed(2)));
}
