/** Numbers to colours and whole device pixels. Every scale is linear and symmetric about zero. */

import { bend, nice as ends, niceParts } from "../generated/colours.json";
import { domainEnd } from "./format";

export interface Palette {
  negative: string;
  zero: string;
  positive: string;
  ink: string;
  ground: string;
}

type RGB = [number, number, number];

/** The next round number at or above. */
export function nice(value: number): number {
  if (!(value > 0) || !Number.isFinite(value)) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  for (const step of ends) if (value <= step * power * (1 + 1e-9)) return Number((step * power).toPrecision(3));
  return 10 * power;
}

/** Upper end of a scale of weights: 1 at every level; less where nothing that is drawn could be seen on it. */
export function nicePart(value: number): number {
  return niceParts.find((end) => value <= end) ?? 1;
}

/** The same for differences of weights, most of which are small: the next round number. */
export const niceChange = (value: number): number => Math.min(1, nice(value));

/** The domain of a scale of weights; one that other levels do not share says so. */
export const weightDomain = (end: number): string =>
  `0 … ${domainEnd(end * 100)} %${end < 1 ? ", a scale of its own" : ""}`;

/**
 * A domain that one outlier does not flatten: a high percentile of magnitudes, rounded up. What lies beyond is clipped and
 * marked: about one cell in fifty, also where a cell shows the largest of several neighbours.
 */
export function robustDomain(values: ArrayLike<number>, neighbours = 1, sample = 4096): number {
  const step = Math.max(1, Math.floor(values.length / sample));
  const sizes = new Float64Array(Math.ceil(values.length / step));
  let finite = 0;
  for (let i = 0; i < values.length; i += step) if (Number.isFinite(values[i])) sizes[finite++] = Math.abs(values[i]);
  if (finite === 0) return 1;
  const sorted = sizes.subarray(0, finite).sort();
  const percentile = sorted[Math.ceil((1 - 0.02 / neighbours) * (sorted.length - 1))];
  return nice(percentile || sorted[sorted.length - 1]);
}

/** What a cell of `n` neighbours shows: the index of the largest magnitude; a number that is not finite wins. */
export function largestIn(values: ArrayLike<number>, start: number, n: number): number {
  const end = Math.min(start + n, values.length);
  let at = Math.min(start, values.length - 1);
  for (let i = at; i < end; i++) {
    if (!Number.isFinite(values[i])) return i;
    if (Math.abs(values[i]) > Math.abs(values[at])) at = i;
  }
  return at;
}

export interface Strip {
  /** Neighbouring dimensions in one cell. */
  perCell: number;
  cells: number;
  /** Device pixels of one cell, its gap included. */
  cell: number;
  gap: number;
  /** CSS pixels of the whole strip. */
  width: number;
  ratio: number;
}

/** Whole device pixels per cell, at least 2, in at most `width` CSS pixels. */
export function stripFor(size: number, width: number, ratio: number): Strip {
  const room = Math.max(2, Math.floor(Math.min(width, 224) * ratio));
  const perCell = Math.max(1, Math.ceil((2 * size) / room));
  const cells = Math.max(1, Math.ceil(size / perCell));
  const cell = Math.max(2, Math.min(Math.floor(room / cells), Math.round(12 * ratio)));
  return { perCell, cells, cell, gap: cell >= 4 ? 1 : 0, width: (cells * cell) / ratio, ratio };
}

function rgb(hex: string): RGB {
  const n = Number.parseInt(hex.trim().slice(1), 16);
  return [(n >> 16) & 255, (n >> 8) & 255, n & 255];
}

const toLinear = (c: number) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
const toGamma = (c: number) => (c <= 0.0031308 ? c * 12.92 : 1.055 * c ** (1 / 2.4) - 0.055);

function toOklab([r, g, b]: RGB): RGB {
  const [x, y, z] = [r, g, b].map((c) => toLinear(c / 255));
  const l = Math.cbrt(0.4122214708 * x + 0.5363325363 * y + 0.0514459929 * z);
  const m = Math.cbrt(0.2119034982 * x + 0.6806995451 * y + 0.1073969566 * z);
  const s = Math.cbrt(0.0883024619 * x + 0.2817188376 * y + 0.6299787005 * z);
  return [
    0.2104542553 * l + 0.793617785 * m - 0.0040720468 * s,
    1.9779984951 * l - 2.428592205 * m + 0.4505937099 * s,
    0.0259040371 * l + 0.7827717662 * m - 0.808675766 * s,
  ];
}

function fromOklab([L, a, b]: RGB): RGB {
  const l = (L + 0.3963377774 * a + 0.2158037573 * b) ** 3;
  const m = (L - 0.1055613458 * a - 0.0638541728 * b) ** 3;
  const s = (L - 0.0894841775 * a - 1.291485548 * b) ** 3;
  const out = [
    4.0767416621 * l - 3.3077115913 * m + 0.2309699292 * s,
    -1.2684380046 * l + 2.6097574011 * m - 0.3413193965 * s,
    -0.0041960863 * l - 0.7034186147 * m + 1.707614701 * s,
  ];
  return out.map((c) => Math.round(Math.min(1, Math.max(0, toGamma(c))) * 255)) as RGB;
}

export function luminance([r, g, b]: RGB): number {
  return 0.2126 * toLinear(r / 255) + 0.7152 * toLinear(g / 255) + 0.0722 * toLinear(b / 255);
}

export function contrast(a: string | RGB, b: string | RGB): number {
  const [x, y] = [a, b].map((c) => luminance(typeof c === "string" ? rgb(c) : c)).sort((m, n) => n - m);
  return (x + 0.05) / (y + 0.05);
}

const STEPS = 128; // on each side of zero

/** A diverging ramp in OKLab from zero to each end. */
export class Ramp {
  /** Little-endian RGBA, -1 … +1. */
  readonly pixels = new Uint32Array(2 * STEPS + 1);
  readonly colours: RGB[] = [];
  readonly notch: number;
  readonly ink: number;

  constructor(readonly palette: Palette) {
    const [negative, zero, positive] = [palette.negative, palette.zero, palette.positive].map((c) => toOklab(rgb(c)));
    for (let i = -STEPS; i <= STEPS; i++) {
      const end = i < 0 ? negative : positive;
      const t = Math.abs(i) / STEPS;
      // lightness is linear in the value; colour comes a little sooner, so that small values show their sign
      const colour = fromOklab(zero.map((c, axis) => c + (end[axis] - c) * (axis === 0 ? t : t ** bend)) as RGB);
      this.colours.push(colour);
      this.pixels[i + STEPS] = packed(colour);
    }
    this.notch = packed(rgb(palette.ground));
    this.ink = packed(rgb(palette.ink));
  }

  private at(value: number, domain: number): number {
    return Math.round(Math.max(-1, Math.min(1, value / domain)) * STEPS) + STEPS;
  }

  pixel(value: number, domain: number): number {
    return this.pixels[this.at(value, domain)];
  }

  css(value: number, domain: number): string {
    const [r, g, b] = this.colours[this.at(value, domain)];
    return `rgb(${r} ${g} ${b})`;
  }

  /** Text that can be read on a cell of this value: of pure black and white one always has 4.5 : 1. */
  on(value: number, domain: number): string {
    const colour = this.colours[this.at(value, domain)];
    return contrast(colour, [0, 0, 0]) >= contrast(colour, [255, 255, 255]) ? "rgb(0 0 0)" : "rgb(255 255 255)";
  }

  gradient(): string {
    const stops = [0, 32, 64, 96, 128, 160, 192, 224, 256].map((i) => `rgb(${this.colours[i].join(" ")})`);
    return `linear-gradient(to right, ${stops.join(", ")})`;
  }
}

const packed = ([r, g, b]: RGB) => (0xff000000 | (b << 16) | (g << 8) | r) >>> 0;

let scratch: { image: ImageData; pixels: Uint32Array } | null = null;

/** One vector as a row of cells. Clipped cells carry a notch; numbers that are not finite are barred in ink. */
export function drawStrip(
  canvas: HTMLCanvasElement,
  values: ArrayLike<number>,
  strip: Strip,
  domain: number,
  ramp: Ramp,
  height: number,
): void {
  const width = strip.cells * strip.cell;
  const rows = Math.round(height * strip.ratio);
  if (canvas.width !== width || canvas.height !== rows) {
    canvas.width = width;
    canvas.height = rows;
    canvas.style.width = `${width / strip.ratio}px`;
    canvas.style.height = `${rows / strip.ratio}px`;
  }
  const context = canvas.getContext("2d", { willReadFrequently: true });
  if (!context) return;
  if (scratch?.image.width !== width || scratch.image.height !== rows) {
    const image = new ImageData(width, rows);
    scratch = { image, pixels: new Uint32Array(image.data.buffer) };
  }
  const { image, pixels } = scratch;
  pixels.fill(0);
  const { perCell, cell, gap } = strip;
  const notch = Math.max(2, Math.round(3 * strip.ratio));
  for (let start = 0, left = 0; start < values.length; start += perCell, left += cell) {
    const value = perCell === 1 ? values[start] : values[largestIn(values, start, perCell)];
    const finite = Number.isFinite(value);
    const colour = finite ? ramp.pixel(value, domain) : ramp.ink;
    const right = left + cell - gap;
    for (let y = 0; y < rows; y++) {
      // bars of ink and ground: no value has this look
      if (!finite && (Math.floor(y / Math.max(2, 2 * strip.ratio)) & 1) === 1) continue;
      pixels.fill(colour, y * width + left, y * width + right);
    }
    if (finite && Math.abs(value) > domain) {
      const middle = left + Math.floor((cell - gap) / 2);
      for (let y = 0; y < notch; y++) {
        const reach = cell < 4 ? cell : notch - 1 - y;
        pixels.fill(
          ramp.notch,
          y * width + Math.max(left, middle - reach),
          y * width + Math.min(right, middle + reach + 1),
        );
      }
    }
  }
  context.putImageData(image, 0, 0);
}

const inks = new WeakMap<Ramp, Ramp>();

/** Zero to ink in even steps of lightness. */
export function inkRamp(ramp: Ramp): Ramp {
  let ink = inks.get(ramp);
  if (!ink) {
    const { zero, ink: end } = ramp.palette;
    ink = new Ramp({ ...ramp.palette, negative: zero, positive: end });
    inks.set(ramp, ink);
  }
  return ink;
}
